"""MTL's training loss over the worst patch: ``op.py`` is the contract, ``reference.py`` the truth."""
