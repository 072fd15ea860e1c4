"""Criss-cross attention: ``op.py`` is the contract, ``reference.py`` the truth."""
