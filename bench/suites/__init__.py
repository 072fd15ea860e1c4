"""The suites; ``python -m bench run NAME`` runs ``test_NAME.py``."""
