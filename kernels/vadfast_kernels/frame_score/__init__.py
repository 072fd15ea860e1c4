"""How far predicted frames are from the true ones: ``op.py`` is the contract, ``reference.py`` the truth."""
