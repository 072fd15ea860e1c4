"""PyTorch's threads for the native core: they spin for milliseconds after an operation, and others would share their cores with them."""

import ctypes
from functools import cache
from pathlib import Path

import torch


@cache
def gomp_parallel() -> int:
    """Returns the address of GOMP_parallel in the OpenMP library of PyTorch (GNU's has it, LLVM's and Intel's too); 0 where there is none."""
    for file in sorted((Path(torch.__file__).parent / "lib").glob("lib*omp*.so*")):
        library = ctypes.CDLL(str(file))
        if hasattr(library, "GOMP_parallel"):
            return ctypes.cast(library.GOMP_parallel, ctypes.c_void_p).value or 0
    return 0
