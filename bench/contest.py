"""A contest: several providers of one result, each verified against a reference and only then timed, in alternating rounds.

A suite adds a case with one decorated function::

    @contest(case="adl-256 batch 1", shape="...", reference="eager", providers=("eager", "openvino"))
    def test_adl(stack: ExitStack) -> Field:
        return Field({"eager": Provider(...), "openvino": Provider(...)}, check=...)

It becomes one pytest test per provider, so ``-k`` selects and pytest-benchmark's table, JSON and comparison work; the times
that pytest-benchmark is shown are those of the alternating rounds, replayed.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from bench.cost import Cost
from bench.device import is_tiny
from bench.machine import is_busy, load_average, this_machine
from bench.results import Row
from vadfast.compile.race import Timing, alternate, ratio
from vadfast.progress import steps


@dataclass(frozen=True, slots=True)
class Provider:
    """One way to the result: ``call(i)`` computes it for the i-th input."""

    call: Callable[[int], Any]
    dtype: str = "fp32"
    note: str = ""
    peak_mb: Callable[[], float] | None = (
        None  # measures the memory of one call, in a process of its own
    )


@dataclass(frozen=True, slots=True)
class Check:
    """How far a provider's result is from the reference, and how far it may be."""

    error: float
    bound: float
    unit: str

    @property
    def passed(self) -> bool:
        """NaN is never within a bound."""
        return self.error <= self.bound

    def words(self) -> str:
        """For the row: ``error 1.2e-06 dB of 0.01 dB allowed``."""
        return f"error {self.error:.2g} {self.unit} of {self.bound:.2g} {self.unit} allowed"


@dataclass(frozen=True, slots=True)
class Field:
    """What a case opens: its providers, those that cannot run here with the reason, and the check of every result."""

    providers: dict[str, Provider]
    check: Callable[[str, Any], Check]
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """A provider must be ``at_least`` times as fast as the reference, and not slower than ``rival`` beyond the noise."""

    at_least: float
    rival: str

    def judge(self, name: str, reference: str, timings: Mapping[str, Timing]) -> dict[str, Any]:
        """Returns the ``target``, ``met`` and ``note`` of the provider's row."""
        factor, _, _ = ratio(timings[reference], timings[name])
        middle, lo, hi = ratio(timings[self.rival], timings[name])
        return {
            "target": f">= {self.at_least:g}x {reference}, not slower than {self.rival}",
            "met": bool(factor >= self.at_least and hi >= 1),
            "note": f"{middle:.2f}x [{lo:.2f}, {hi:.2f}] {self.rival}",
        }


@dataclass(frozen=True, slots=True)
class Contest:
    """One case of a suite before it is opened."""

    suite: str
    case: str
    shape: str
    reference: str
    providers: tuple[str, ...]
    open: Callable[[ExitStack], Field]
    targets: Mapping[str, "Target"]
    cost: Cost | None = None

    def run(self, rounds: int, *, memory: bool = False) -> dict[str, tuple[Row, Timing | None]]:
        """Verifies and times all providers, and with ``memory`` measures the peak of those that can.

        A provider that is wrong gets a row without a time, and its reason.
        """
        here = this_machine()
        load, busy = load_average(), is_busy()

        def row(provider: str, dtype: str = "", **values: Any) -> Row:
            return Row(
                suite=self.suite,
                case=self.case,
                provider=provider,
                shape="dry run" if is_tiny() else self.shape,
                dtype=dtype,
                device=here.device,
                date=here.date,
                commit=here.commit,
                load=load,
                command=f"python -m bench run {self.suite}",
                **values,
            )

        with ExitStack() as stack:
            opened = self.open(stack)
            checks = {n: opened.check(n, p.call(0)) for n, p in opened.providers.items()}
            racing = {n: p for n, p in opened.providers.items() if checks[n].passed}
            with steps(self.case, len(racing) * (rounds + 1)) as bar:
                timed = alternate([p.call for p in racing.values()], rounds=rounds, steps=bar)
        timings = dict(zip(racing, timed, strict=True))
        results: dict[str, tuple[Row, Timing | None]] = {
            name: (row(name, note=reason), None) for name, reason in opened.refused.items()
        }
        for name, provider in opened.providers.items():
            if name not in timings:
                note = f"wrong, so not timed: {checks[name].words()}"
                results[name] = row(name, provider.dtype, note=note), None
                continue
            values = _values(timings[name], timings.get(self.reference), self.reference)
            notes = [provider.note, "on a busy machine" if busy else ""]
            target = self.targets.get(name)
            if target is not None and {target.rival, self.reference} <= timings.keys():
                judged = target.judge(name, self.reference, timings)
                notes.append(judged.pop("note"))
                values |= judged
            if self.cost is not None and not is_tiny():
                values |= self.cost.values(timings[name].median_ms)
            if memory and provider.peak_mb is not None:
                values["peak_mb"] = round(provider.peak_mb(), 1)
            values |= {"verified": checks[name].words(), "note": "; ".join(filter(None, notes))}
            results[name] = row(name, provider.dtype, **values), timings[name]
        return results


def contest(
    *,
    case: str,
    shape: str,
    reference: str,
    providers: Sequence[str],
    targets: Mapping[str, Target] | None = None,
    cost: Cost | None = None,
) -> Callable[[Callable[[ExitStack], Field]], Callable[..., None]]:
    """Makes a test per provider of the function that opens the case; its suite is the file it stands in."""

    def decorate(open_: Callable[[ExitStack], Field]) -> Callable[..., None]:
        suite = open_.__module__.rpartition(".")[2].removeprefix("test_")
        one = Contest(suite, case, shape, reference, tuple(providers), open_, targets or {}, cost)

        @pytest.mark.parametrize("provider", one.providers)
        def test(provider: str, desk: Any, benchmark: Any) -> None:
            desk.show(one, provider, benchmark)

        test.__doc__ = open_.__doc__
        return test

    return decorate


def _values(timing: Timing, reference: Timing | None, name: str) -> dict[str, Any]:
    q20, q80 = np.quantile(timing.round_ms, [0.2, 0.8])
    values: dict[str, Any] = {
        "median_ms": _figures(timing.median_ms),
        "q20_ms": _figures(q20),
        "q80_ms": _figures(q80),
    }
    if reference is not None:
        middle, lo, hi = ratio(reference, timing)
        values |= {
            "ratio": _figures(middle),
            "ratio_lo": _figures(lo),
            "ratio_hi": _figures(hi),
            "reference": name,
        }
    return values


def _figures(value: float) -> float:
    """Four significant figures: more would claim what no timing has."""
    return float(f"{value:.4g}")
