"""``--dry-run``: its estimate is of the order of what was measured, follows what was asked for, and says what it is made of."""

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vadfast.compile.backends import pairs_of
from vadfast.compile.dry_run import estimate_s, words
from vadfast.compile.plan import Options, plan_build


def _plan(n_windows: int, n_normal: int, **options: Any) -> Any:
    return SimpleNamespace(
        options=Options(**options), runs=[SimpleNamespace(n=n_windows)], n_normal_frames=n_normal
    )


def _estimate_s(plan: Any, eager_s: float) -> float:
    """With all engines of a CPU with bf16 and 8-bit dot products, none of a GPU."""
    engines = pairs_of("cpu", plan.options.precision)
    return estimate_s(plan, list(engines), eager_s)


def test_the_estimate_is_near_the_run_that_docs_tell_of() -> None:
    """docs/bundles.md: 2 min 46 s with 56 windows, of a model that eager needs 612 ms for; Ped2 holds out 191 frames."""
    assert 0.8 * 166 < _estimate_s(_plan(56, 191), 0.612) < 1.2 * 166


def test_the_estimate_follows_what_was_asked_for() -> None:
    usual = _estimate_s(_plan(96, 200), 0.5)
    for more in (
        _plan(192, 200),
        _plan(96, 2000),
        _plan(96, 200, rounds=30),
        _plan(96, 200, batches=(1, 4)),
    ):
        assert _estimate_s(more, 0.5) > 1.01 * usual
    assert _estimate_s(_plan(96, 200, precision="fp32"), 0.5) < usual
    assert _estimate_s(_plan(96, 200), 0.05) < 0.5 * usual


def test_the_time_is_said_with_what_it_is_made_of(run: Path, tmp_path: Path) -> None:
    plan = plan_build(run, tmp_path / "a.vad", Options())
    (line,) = [line for line in words(plan) if line.startswith("time:")]
    found = re.match(
        r"time: about (\d+) (s|min), an estimate: one eager call took \S+ ms here", line
    )
    assert found is not None
    assert int(found[1]) > 0
    assert "is not in it" in line
    triton = dataclasses.replace(plan, options=Options(precision="fp32", ship=("onnxruntime",)))
    assert any(line.startswith("time:") for line in words(triton))
