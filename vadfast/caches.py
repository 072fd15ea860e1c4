"""Where caches lie: what is made once of files that are somewhere else, and can be made again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where caches lie: ``VADFAST_CACHE``, else the user's."""
    chosen = os.environ.get("VADFAST_CACHE")
    return (
        Path(chosen)
        if chosen
        else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vadfast"
    )
