"""STA's attention: ``op.py`` is the contract, ``circle.py`` the idea, ``reference.py`` the truth."""
