"""What a call must cost at least, and what share of this device's measured rates a time amounts to (roofline).

The rates are measured once a session by the same torch that runs the providers: a copy of 256 MB that no cache holds, and a
square float32 matrix product. So 100 % is what the machine showed it can do, not what its data sheet says.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

from bench.device import device, wait_for_device

_COPY_MB = 256
_MATRIX = 2048
_ROUNDS = 7


@dataclass(frozen=True, slots=True)
class Cost:
    """The least work and traffic of one call: inputs read once, outputs written once, no intermediate result."""

    gflop: float
    mbyte: float

    def values(self, median_ms: float) -> dict[str, float]:
        """Returns the costs, the rates and the ``roofline`` share of a row that took ``median_ms``."""
        copy, matrix = rates()
        least_ms = max(self.gflop / matrix, self.mbyte / copy) * 1e3
        return {
            "gflop": float(f"{self.gflop:.4g}"),
            "mbyte": float(f"{self.mbyte:.4g}"),
            "roofline": float(f"{least_ms / median_ms:.3g}"),
            "copy_gb_s": float(f"{copy / 1e3:.4g}"),
            "matrix_gflop_s": float(f"{matrix:.4g}"),
        }


@cache
def rates() -> tuple[float, float]:
    """Returns the measured copy rate in MB/s (read plus written) and the float32 matrix rate in GFLOP/s."""
    n = _COPY_MB * 2**20 // 8
    source, target = torch.ones(n, device=device()), torch.empty(n, device=device())
    a = torch.randn(_MATRIX, _MATRIX, device=device())
    out = torch.empty_like(a)
    copy_s = _best(lambda: target.copy_(source))
    matrix_s = _best(lambda: torch.mm(a, a, out=out))
    return 2 * n * 4 / 1e6 / copy_s, 2 * _MATRIX**3 / 1e9 / matrix_s


def _best(work: Callable[[], object]) -> float:
    """The shortest of a few rounds: the rate is a limit, and load only hides it."""
    times = []
    for _ in range(_ROUNDS + 1):
        start = time.perf_counter()
        work()
        wait_for_device()
        times.append(time.perf_counter() - start)
    return min(times[1:])
