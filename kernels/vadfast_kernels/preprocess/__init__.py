"""From a camera's picture to the model's input: ``native.py`` and ``op.py`` are the contract, ``reference.py`` the truth."""
