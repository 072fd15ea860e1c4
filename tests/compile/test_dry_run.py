"""``--dry-run``: its estimate is of the order of what was measured, follows what was asked for, and says what it is made of."""

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vadfast.compile import dry_run
from vadfast.compile.backends import Backend, Precision
from vadfast.compile.dry_run import estimate_s, words
from vadfast.compile.plan import Options, plan_build


def _plan(n_windows: int, n_normal: int, **options: Any) -> Any:
    return SimpleNamespace(
        options=Options(**options), runs=[SimpleNamespace(n=n_windows)], n_normal_frames=n_normal
    )


@pytest.fixture
def _a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """All engines of a CPU with bf16 and 8-bit dot products, none of a GPU."""

    def refused(backend: Backend, _: Precision) -> str | None:
        here = ("eager", "inductor", "mnn", "onnxruntime", "openvino")
        return None if backend.name in here else "no GPU"

    monkeypatch.setattr(dry_run, "refusal", refused)


@pytest.mark.usefixtures("_a_cpu")
def test_the_estimate_is_near_the_run_that_docs_tell_of() -> None:
    """docs/bundles.md: 3 min 56 s with 56 windows, of a model that eager needs 611 ms for; Ped2 holds out 191 frames."""
    assert 0.7 * 236 < estimate_s(_plan(56, 191), 0.611) < 1.3 * 236


@pytest.mark.usefixtures("_a_cpu")
def test_the_estimate_follows_what_was_asked_for() -> None:
    usual = estimate_s(_plan(96, 200), 0.5)
    for more in (
        _plan(192, 200),
        _plan(96, 2000),
        _plan(96, 200, rounds=30),
        _plan(96, 200, batches=(1, 4)),
    ):
        assert estimate_s(more, 0.5) > 1.05 * usual
    assert estimate_s(_plan(96, 200, precision="fp32"), 0.5) < usual
    assert estimate_s(_plan(96, 200), 0.05) < 0.5 * usual


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
