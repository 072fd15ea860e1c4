"""APN's prototype attention: ``op.py`` is the contract, ``reference.py`` the truth."""
