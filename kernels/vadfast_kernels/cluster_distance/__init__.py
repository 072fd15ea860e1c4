"""STD's distance to a set of cluster centres: ``op.py`` is the contract, ``reference.py`` the truth."""
