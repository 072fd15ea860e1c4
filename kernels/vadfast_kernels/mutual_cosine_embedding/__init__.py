"""STA's mutual cosine embedding loss: ``op.py`` is the contract, ``reference.py`` the truth."""
