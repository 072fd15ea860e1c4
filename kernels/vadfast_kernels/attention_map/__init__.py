"""ADL's attention map of a clip: ``op.py`` is the contract, ``reference.py`` the truth."""
