"""STD's variance attention: ``op.py`` is the contract, ``gain.py`` the softmax, ``reference.py`` the truth."""
