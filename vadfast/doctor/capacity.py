"""How many cameras fit: arithmetic on what was measured, nothing is measured here.

The engine takes one call at a time, so scored frames wait for each other; decoding, resizing and the engine's threads share the
CPUs. With n cameras that send s frames a second, of which r are scored, at costs in seconds a frame:

    n * r * engine                                        <= utilisation              the engine's time
    n * (r * (engine_cpu + prepare_cpu) + s * decode_cpu) <= utilisation * n_cpus     the CPUs' time
    engine_mb + n * camera_mb                             <= utilisation * available  the memory

Frames between those that are scored are skipped, but a video codec writes a picture as its difference from the one before: they
must still be decoded.
"""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Literal

RATES = (1.0, 2.0, 5.0, 10.0, 25.0)  # scored frames a second
UTILISATION = 0.7  # what is left takes bursts, other work, and the operating system

Bottleneck = Literal["engine", "decode", "prepare", "memory"]


@dataclass(frozen=True, slots=True)
class Costs:
    """Milliseconds on this machine; CPU time is that of all threads together."""

    engine_ms: float  # a scored frame, on the clock
    engine_cpu_ms: float  # a scored frame
    decode_cpu_ms: float  # a frame that the camera sends
    prepare_cpu_ms: float  # a scored frame: resized, and shown to teachers where the model has any

    def __post_init__(self) -> None:
        """Raises ValueError for what no measurement gives."""
        if not all(math.isfinite(ms) and ms >= 0 for ms in astuple(self)) or self.engine_ms == 0:
            raise ValueError(
                f"Costs: milliseconds must be finite and not below 0, and engine_ms above it, got {self}"
            )


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes on this machine."""

    available_mb: float  # to a process that starts now
    engine_mb: float  # of a process with the engine, before any camera
    camera_mb: float  # of each camera: decoder, pictures, windows

    def __post_init__(self) -> None:
        """Raises ValueError for what no measurement gives."""
        if not all(math.isfinite(mb) and mb >= 0 for mb in astuple(self)) or self.camera_mb == 0:
            raise ValueError(
                f"Memory: megabytes must be finite and not below 0, and camera_mb above it, got {self}"
            )


@dataclass(frozen=True, slots=True)
class Fit:
    """The cameras that fit at one rate."""

    rate: float  # frames a second that are scored, of each camera
    sent: float  # frames a second that each camera sends
    cameras: int
    bottleneck: Bottleneck


def fit(
    costs: Costs, memory: Memory, *, rate: float, sent: float, n_cpus: int, utilisation: float
) -> Fit:
    """Returns how many cameras fit, and what keeps the next one out.

    Args:
        costs: of one frame.
        memory: of the engine and of each camera.
        rate: frames a second that are scored, above 0.
        sent: frames a second that a camera sends, at least ``rate``.
        n_cpus: CPUs that may be used.
        utilisation: the share of their time, of the engine's and of the memory that cameras may take, in (0, 1].

    Raises:
        ValueError: a number is outside these ranges.

    >>> fit(Costs(50, 90, 2, 1), Memory(4000, 300, 50), rate=5, sent=25, n_cpus=2, utilisation=0.7)
    Fit(rate=5, sent=25, cameras=2, bottleneck='engine')
    """
    if not (0 < rate <= sent and n_cpus >= 1 and 0 < utilisation <= 1):
        raise ValueError(
            f"fit: must have 0 < rate <= sent, n_cpus >= 1 and utilisation in (0, 1], got {rate}, {sent}, {n_cpus} and {utilisation}"
        )
    engine = rate * costs.engine_ms / 1e3
    parts: dict[Bottleneck, float] = {
        "engine": rate * costs.engine_cpu_ms / 1e3 / n_cpus,
        "decode": sent * costs.decode_cpu_ms / 1e3 / n_cpus,
        "prepare": rate * costs.prepare_cpu_ms / 1e3 / n_cpus,
    }
    busiest = max(engine, sum(parts.values()))
    limit: Bottleneck = "engine" if busiest == engine else max(parts, key=lambda part: parts[part])
    in_time = _whole(utilisation / busiest)
    in_memory = _whole((utilisation * memory.available_mb - memory.engine_mb) / memory.camera_mb)
    if in_memory < in_time:
        return Fit(rate, sent, in_memory, "memory")
    return Fit(rate, sent, in_time, limit)


def _whole(cameras: float) -> int:
    # The last digit of a division keeps no camera out.
    return max(math.floor(cameras * (1 + 1e-9)), 0)


def rates_of(sent: float) -> tuple[float, ...]:
    """Returns the rates to answer for, of cameras that send ``sent`` frames a second; no more can be scored."""
    return tuple(rate for rate in RATES if rate <= sent) or (sent,)


def advice(fits: Sequence[Fit], alone: Sequence[Fit], *, more: Sequence[str] = ()) -> str:
    """Returns what to do for more cameras, in one sentence.

    Args:
        fits: of one kind of camera, by rising rate.
        alone: the same where cameras send the scored frames alone.
        more: what else would help the engine on this machine.
    """
    worst = fits[-1]
    rate = f"{worst.rate:g} frames/s"
    limit = f"at {rate} {worst.cameras} cameras fit"
    if worst.bottleneck == "memory":
        return (
            f"{limit} and memory is the bottleneck: end what else uses it, take a machine with more, or the cameras' second, smaller "
            "stream, whose decoder takes less"
        )
    if worst.bottleneck == "decode":
        saved = next(
            (
                f" (at {own.rate:g}: {own.cameras} cameras, not {both.cameras})"
                for both, own in reversed(tuple(zip(fits, alone, strict=True)))
                if own.cameras > both.cameras
            ),
            "",
        )
        return (
            f"{limit} and decoding is the bottleneck: take the cameras' second, smaller stream, or let them send only the frames "
            f"that are scored{saved}"
        )
    if worst.bottleneck == "prepare":
        return (
            f"{limit} and preparing frames (resizing, teachers) is the bottleneck: let the cameras send fewer frames a second, or take "
            "their second, smaller stream"
        )
    # Every frame of a film is scored (vadfast.score), so the camera sets the rate.
    slower = next((f for f in reversed(alone[:-1]) if f.cameras > worst.cameras), None)
    lower = "let the cameras send fewer frames a second"
    if slower:
        lower += f" (at {slower.rate:g}: {slower.cameras} cameras)"
    ways = (lower, "train a smaller model (python -m vadfast.ablate --grid shows what that costs)")
    return f"{limit} and the engine is the bottleneck: {', or '.join((*ways, *more))}"
