"""From components to scores (``native.py``), to what is normal and to events (``watch.py``); ``reference.py`` is the truth."""
