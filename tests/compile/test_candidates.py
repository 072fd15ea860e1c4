"""Which candidates ship, and how each is reported: what is lossy only where it is faster than the same engine in float32."""

from types import SimpleNamespace

import pytest

from vadfast.compile.candidates import Candidate, choose, row_of, slower_than_eager
from vadfast.compile.gate import Verdict
from vadfast.race import summarise
from vadfast.runtime.manifest import Threads


def _candidate(
    name: str, ms: float, *, batch: int = 1, faults: tuple[str, ...] = (), may_ship: bool = True
) -> Candidate:
    backend, precision = name.split()
    made = Candidate(SimpleNamespace(name=backend, packages=()), precision, batch, may_ship)  # type: ignore[arg-type]
    made.timing = summarise([ms] * 3)
    made.verdict = Verdict({}, {}, {}, 0.0, (0, 0), faults)
    return made


def _shipped(*candidates: Candidate) -> list[str]:
    return [f"{c.backend.name} {c.precision} {c.batch}" for c in choose(candidates)]


@pytest.mark.parametrize("lossy", ["bf16", "fp16", "int8", "int8-bf16"])
def test_what_is_lossy_ships_only_where_it_is_faster_than_its_backend_in_float32(
    lossy: str,
) -> None:
    exact = _candidate("openvino fp32", 5)
    fast, even, slow = (_candidate(f"openvino {lossy}", ms) for ms in (4.9, 5, 5.1))
    assert _shipped(exact, fast) == [f"openvino {lossy} 1", "openvino fp32 1"]
    assert _shipped(exact, even) == ["openvino fp32 1"], "digits lost for nothing"
    assert _shipped(slow, exact) == ["openvino fp32 1"]
    row = row_of(slow, choose([slow, exact]))
    assert row.reason == "slower than openvino fp32, so it would lose digits for nothing"
    assert not row.shipped
    assert row.median_ms == 5.1, "a loser's numbers stay in the table"


def test_another_backend_or_batch_or_one_that_failed_keeps_nothing_lossy_out() -> None:
    lossy = _candidate("openvino int8", 5)
    others = (
        _candidate("mnn fp32", 1),
        _candidate("openvino fp32", 1, batch=4),
        _candidate("openvino fp32", 1, faults=("psnr is off",)),
        _candidate("openvino bf16", 1),
    )
    assert _shipped(*others, lossy) == [
        "mnn fp32 1",
        "openvino bf16 1",
        "openvino int8 1",
        "openvino fp32 4",
    ]
    assert row_of(lossy, choose([*others, lossy])).reason.startswith("ships as choice 3")


def test_a_float32_engine_ships_however_slow_it_is() -> None:
    fast, slow = _candidate("openvino int8", 1), _candidate("openvino fp32", 9)
    assert _shipped(slow, fast) == ["openvino int8 1", "openvino fp32 1"]


def test_what_ships_slower_than_eager_says_so_of_each_batch() -> None:
    eager = [_candidate("eager fp32", 6 * b, batch=b, may_ship=False) for b in (1, 4)]
    slow = _candidate("mnn fp32", 8)
    near = _candidate("openvino fp32", 28, batch=4)
    near.timing = summarise([23.0, 28.0, 33.0])
    found = [*eager, slow, near]
    assert slower_than_eager(found, choose(found)) == (
        "slower than eager float32: mnn fp32, batch 1, takes 8 ms a window and eager 6; --ship eager ships PyTorch itself",
        "slower than eager float32: openvino fp32, batch 4, takes 7 ms a window and eager 6; their 95 % intervals overlap; "
        "--ship eager ships PyTorch itself",
    )
    for e in eager:
        e.shippable = False  # somebody else's network
    assert slower_than_eager(found, choose(found))[0].endswith("and eager 6")
    faster = _candidate("onnxruntime fp32", 6)
    assert slower_than_eager([eager[0], slow, faster], choose([slow, faster])) == ()
    assert slower_than_eager(found, []) == (), "nothing ships"


def test_a_row_has_its_rounds_and_what_it_was_told() -> None:
    told = _candidate("openvino fp32", 5)
    told.timing = summarise([1.0, 2.0, 3.0, 4.0, 15.0])
    told.threads = Threads(n=2, pinned=False, cpus=4)
    row = row_of(told, [told])
    assert (row.n_rounds, row.median_ms, row.max_ms, row.p99_ms) == (5, 3, 15, None)
    assert row.p90_ms == pytest.approx(4 + 0.6 * 11)
    assert (row.threads, row.pinned) == (2, False)
    alone = row_of(_candidate("mnn fp32", 5), [])
    assert (alone.threads, alone.pinned) == (None, None)
