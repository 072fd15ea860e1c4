"""The build's entry point. Everything is declared in pyproject.toml; native sources are added here when csrc/ exists."""

from setuptools import setup

setup()
