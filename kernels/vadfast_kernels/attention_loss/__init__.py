"""The attention-weighted losses of ADL: ``op.py`` is the contract, ``reference.py`` the truth."""
