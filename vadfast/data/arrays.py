"""An npy file that a person gave, read with one sentence for whatever is wrong with it."""

from pathlib import Path
from tokenize import TokenError
from typing import Literal

import numpy as np

from vadfast.errors import SourceError

# NumPy reads the header as Python: what a damaged one meets is a tokenizer, a parser, and a shape that no memory holds.
_OF_A_HEADER = (SyntaxError, TokenError, TypeError, MemoryError, OverflowError)


def read_array(
    path: Path, wanted: str, *, mend: str = "", mmap_mode: Literal["r"] | None = None
) -> np.ndarray:
    """The array of ``path``; nothing in the file is run.

    Args:
        path: the file.
        wanted: what it must hold, for the sentence that says it does not.
        mend: what to do then; empty: nothing is advised.
        mmap_mode: "r" leaves the numbers on disk until they are looked at.

    Raises:
        SourceError: there is no such file, or it is no npy array.
    """
    try:
        return np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except (OSError, ValueError, EOFError, *_OF_A_HEADER) as error:
        advice = f"; {mend}" if mend else ""
        raise SourceError(f"{path}: must be {wanted}, cannot be read ({error}){advice}") from error
