"""PyTorch's threads for the native core: they spin for milliseconds after an operation, and others would share their cores with them."""

import ctypes
import re
from functools import cache
from pathlib import Path

import torch

# GNU's, LLVM's and Intel's, with the tag that a wheel puts into the name: libgomp-a34b3233.so.1. No other that has "omp" in it is loaded.
_OPENMP = re.compile(r"lib(gomp|omp|iomp5)(-\w+)?\.so(\.\d+)*")


@cache
def gomp_parallel() -> int:
    """Returns the address of GOMP_parallel in the OpenMP library of PyTorch; 0 where there is none, so that the core makes threads."""
    for file in sorted((Path(torch.__file__).parent / "lib").iterdir()):
        if _OPENMP.fullmatch(file.name) is None:
            continue
        try:
            library = ctypes.CDLL(str(file))
        except OSError:
            continue  # a link that leads nowhere, or a library of another machine: PyTorch does not run on it either
        if hasattr(library, "GOMP_parallel"):
            return ctypes.cast(library.GOMP_parallel, ctypes.c_void_p).value or 0
    return 0


def lent() -> dict[str, int]:
    """What the native core is lent for a call: as many threads as PyTorch would use, and PyTorch's own where it has some."""
    return {"n_threads": torch.get_num_threads(), "run": gomp_parallel()}
