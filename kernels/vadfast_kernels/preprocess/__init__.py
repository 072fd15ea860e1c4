"""From a camera's picture to the model's input: ``native.py`` is the contract, ``reference.py`` the truth."""
