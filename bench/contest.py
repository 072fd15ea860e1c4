"""A contest: several providers of one result, each verified against a reference and only then timed, in alternating rounds.

A suite adds a case with one decorated function::

    @contest(case="adl-256 batch 1", shape="...", reference="eager", providers=("eager", "openvino"))
    def test_adl(stack: ExitStack) -> Field:
        return Field({"eager": Provider(...), "openvino": Provider(...)}, check=...)

It becomes one pytest test per provider, so ``-k`` selects and pytest-benchmark's table, JSON and comparison work; the times
that pytest-benchmark is shown are those of the alternating rounds, replayed.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from bench.cost import Cost
from bench.device import clock, is_tiny
from bench.machine import StealMeter, is_busy, load_average, this_machine
from bench.results import Row
from vadfast.progress import steps
from vadfast.race import Timing, alternate, ratio, wall_clock

BUDGET_S, FEWEST_ROUNDS = 60.0, 5


@dataclass(frozen=True, slots=True)
class Provider:
    """One way to the result: ``call(i)`` computes it for the i-th input."""

    call: Callable[[int], Any]
    dtype: str = "fp32"
    note: str = ""
    result: Callable[[int], Any] | None = None  # what is checked, where the timed call returns less
    peak_mb: Callable[[], float] | None = None  # of one call; on the CPU in a process of its own


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
    """What a case opens: its providers, those that cannot run here with the reason, the check of every result, the least work."""

    providers: dict[str, Provider]
    check: Callable[[str, Any], Check]
    refused: dict[str, str] = field(default_factory=dict)
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A provider must be ``at_least`` times as fast as the reference, and ``ahead`` times as fast as any of ``rivals``, within the noise.

    ``at_least`` 0: only the rivals count.
    """

    at_least: float
    rivals: tuple[str, ...]
    ahead: float = 1.0

    def words(self, reference: str) -> str:
        """How rows say it."""
        wanted = f">= {self.ahead:g}x" if self.ahead > 1 else "not slower than"
        rivals = f"{wanted} {' or '.join(self.rivals)}" if self.rivals else ""
        factor = f">= {self.at_least:g}x {reference}" if self.at_least else ""
        return ", ".join(filter(None, (factor, rivals)))

    def judge(self, name: str, reference: str, timings: Mapping[str, Timing]) -> dict[str, Any]:
        """Returns the ``target``, ``met`` and ``note`` of the provider's row."""
        factor, _, _ = ratio(timings[reference], timings[name])
        against = {rival: ratio(timings[rival], timings[name]) for rival in self.rivals}
        return {
            "target": self.words(reference),
            "met": bool(
                factor >= self.at_least and all(hi >= self.ahead for _, _, hi in against.values())
            ),
            "note": "; ".join(
                f"{middle:.2f}x [{lo:.2f}, {hi:.2f}] {rival}"
                for rival, (middle, lo, hi) in against.items()
            ),
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
    device: Callable[[], str] = lambda: "cpu"  # "cuda" where the providers run on the GPU
    long: bool = False  # takes minutes: not in a quick run

    def run(self, rounds: int, *, memory: bool = False, command: str = "") -> "Results":
        """Verifies and times all providers, and with ``memory`` measures the peak of those that can.

        A provider that is wrong, or raises, gets a row without a time and with the reason; its target counts as missed.
        """
        here = this_machine()
        origin: dict[str, Any] = {
            "suite": self.suite,
            "case": self.case,
            "shape": "dry run" if is_tiny() else self.shape,
            "kind": "dry run" if is_tiny() else "measured",
            "device": here.device(self.device()),
            "date": here.date,
            "commit": here.commit,
            "load": load_average(),
            "command": command or f"python -m bench run {self.suite}",
        }
        busy = is_busy()
        with ExitStack() as stack:
            opened = self.open(stack)
            failed = dict(opened.refused)
            checks: dict[str, Check] = {}
            began = time.perf_counter()
            for name, provider in opened.providers.items():
                try:
                    checks[name] = opened.check(name, (provider.result or provider.call)(0))
                except Exception as error:  # a row with its reason, not the end of the case
                    failed[name] = f"failed: {type(error).__name__}: {error}".splitlines()[0][:200]
                    continue
                if not checks[name].passed:
                    failed[name] = f"wrong, so not timed: {checks[name].words()}"
            racing = {n: p for n, p in opened.providers.items() if n not in failed}
            # The checks were a round and more; a case of seconds a call has fewer rounds rather than an hour.
            round_s = time.perf_counter() - began
            rounds = min(rounds, max(FEWEST_ROUNDS, int(BUDGET_S / round_s)))
            rounds = 1 if is_tiny() else rounds
            with steps(self.case, len(racing) * (rounds + 1)) as bar:
                turn = clock() if self.device() == "cuda" else wall_clock
                meter = StealMeter()
                timed = alternate(
                    [p.call for p in racing.values()], rounds=rounds, steps=bar, clock=turn
                )
                steal = meter.share()
        timings = dict(zip(racing, timed, strict=True))
        results: Results = {}
        for name, reason in failed.items():
            target = self.targets.get(name)
            values: dict[str, Any] = {"note": reason}
            if target is not None:
                values["target"] = target.words(self.reference)
                values["met"] = None if name in opened.refused else False
            results[name] = Row(provider=name, **origin, **values), None
        for name, provider in racing.items():
            values = self._values(name, timings, opened.cost) | {"steal": steal}
            if memory and provider.peak_mb is not None:
                values["peak_mb"] = round(provider.peak_mb(), 1)
            notes = [provider.note, "on a busy machine" if busy else "", values.pop("note", "")]
            values["note"] = "; ".join(filter(None, notes))
            values |= {"dtype": provider.dtype, "verified": checks[name].words(), "rounds": rounds}
            results[name] = Row(provider=name, **origin, **values), timings[name]
        return results

    def _values(
        self, name: str, timings: Mapping[str, Timing], cost: Cost | None
    ) -> dict[str, Any]:
        values = _values(timings[name], timings.get(self.reference), self.reference)
        target = self.targets.get(name)
        if target is not None and {*target.rivals, self.reference} <= timings.keys():
            values |= target.judge(name, self.reference, timings)
        if cost is not None and not is_tiny():
            values |= cost.values(timings[name].median_ms)
        return values


Results = dict[str, tuple[Row, Timing | None]]


def contest(
    *,
    case: str,
    shape: str,
    reference: str,
    providers: Sequence[str],
    targets: Mapping[str, Target] | None = None,
    device: Callable[[], str] = lambda: "cpu",
    long: bool = False,
) -> Callable[[Callable[[ExitStack], Field]], Callable[..., None]]:
    """Makes a test per provider of the function that opens the case; its suite is the file it stands in."""

    def decorate(open_: Callable[[ExitStack], Field]) -> Callable[..., None]:
        suite = open_.__module__.rpartition(".")[2].removeprefix("test_")
        one = Contest(
            suite,
            case,
            shape,
            reference,
            tuple(providers),
            open_,
            targets or {},
            device,
            long,
        )

        @pytest.mark.parametrize("provider", one.providers)
        def test(provider: str, contest_desk: Any, benchmark: Any) -> None:
            contest_desk.show(one, provider, benchmark)

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
