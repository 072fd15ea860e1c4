"""Fixtures of the doctor's tests: a tiny bundle that each test may spoil."""

import shutil
from pathlib import Path

import pytest

from tests.tiny_bundle import make_bundle


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny.vad")


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "tiny.vad"))
