"""The gate lets the same scores through and stops every way of getting them wrong, each with its reason."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from tests.compile.tiny import CARD, SPEC, TinyScorer
from tests.gpu.test_cuda_engine import BOUNDS as stated
from vadfast.compile.answers import Scored, score_runs
from vadfast.compile.gate import BOUNDS, bounds_of, judge, parse_bounds
from vadfast.compile.windows import Run
from vadfast.errors import BuildError, UsageError
from vadfast.models.eager import EagerEngine
from vadfast.progress import steps
from vadfast.runtime.manifest import Component


@pytest.fixture(scope="module")
def eager(scorer: TinyScorer, runs: list[Run]) -> Scored:
    with steps("gate", sum(map(len, runs))) as bar:
        return score_runs(EagerEngine(scorer, SPEC), runs, bar)


def _moved(scored: Scored, move: object, heat: float = 1.0) -> Scored:
    assert callable(move)
    return Scored(
        [np.asarray(move(c), np.float32) for c in scored.components],
        [h * np.float32(heat) for h in scored.heatmaps],
    )


def test_the_same_scores_pass_with_zero_error(eager: Scored, runs: list[Run]) -> None:
    verdict = judge(eager, eager, runs, CARD, "fp32")
    assert verdict.faults == ()
    assert verdict.max_score_error == 0
    assert verdict.delta_auc == {"micro_minmax": 0, "micro_raw": 0, "causal": 0}
    assert verdict.correlation["psnr"] == pytest.approx(1)


def test_every_window_is_scored_in_order(
    eager: Scored, runs: list[Run], scorer: TinyScorer
) -> None:
    assert [len(c) for c in eager.components] == [22, 22, 18, 18]
    again = EagerEngine(scorer, SPEC)(runs[2].frames[None, 5:8])
    np.testing.assert_array_equal(eager.components[2][5], again.components[0])


def test_an_offset_beyond_the_bound_fails_and_says_by_how_much(
    eager: Scored, runs: list[Run]
) -> None:
    verdict = judge(_moved(eager, lambda c: c + 0.02), eager, runs, CARD, "fp32")
    assert len(verdict.faults) == 1
    assert "psnr is off by 0.02 dB, allowed 0.01" in verdict.faults[0]
    assert judge(_moved(eager, lambda c: c + 0.02), eager, runs, CARD, "bf16").faults == ()


def test_scores_that_are_not_finite_fail(eager: Scored, runs: list[Run]) -> None:
    verdict = judge(
        _moved(eager, lambda c: np.where(c == c.max(), np.nan, c)), eager, runs, CARD, "bf16"
    )
    assert verdict.faults == ("its scores or heat maps are not finite",)
    assert verdict.max_score_error is None
    verdict = judge(_moved(eager, lambda c: c, heat=np.inf), eager, runs, CARD, "bf16")
    assert verdict.faults == ("its scores or heat maps are not finite",)


def test_zeros_fail_on_the_error(eager: Scored, runs: list[Run]) -> None:
    verdict = judge(_moved(eager, np.zeros_like), eager, runs, CARD, "bf16")
    assert any("psnr is off" in fault for fault in verdict.faults)
    assert verdict.worst_delta_auc is not None


def test_a_change_of_auc_fails_even_where_each_error_is_small(runs: list[Run]) -> None:
    rng = np.random.default_rng(0)
    flat = Scored(
        [(30 + 0.1 * rng.random((len(r), 1))).astype(np.float32) for r in runs],
        [np.ones((len(r), 2, 3), np.float32) for r in runs],
    )
    labels = [np.zeros(len(r), np.uint8) if r.labels is None else r.labels for r in runs]
    better = Scored(
        [c - np.float32(0.2) * a[:, None] for c, a in zip(flat.components, labels, strict=True)],
        flat.heatmaps,
    )
    verdict = judge(better, flat, runs, CARD, "bf16")
    assert verdict.max_score_error is not None
    assert verdict.max_score_error < BOUNDS["bf16"].score_error["dB"]
    assert any("AUC micro_raw changes by +" in fault for fault in verdict.faults)


def test_a_wrong_heat_map_fails(eager: Scored, runs: list[Run]) -> None:
    verdict = judge(_moved(eager, lambda c: c, heat=1.5), eager, runs, CARD, "fp32")
    assert verdict.faults == ("its heat map is off by 0.5 of the largest value, allowed 0.001",)


def test_without_labels_there_is_no_auc_and_no_fault(eager: Scored, runs: list[Run]) -> None:
    normal = Scored(eager.components[2:], eager.heatmaps[2:])
    verdict = judge(normal, normal, runs[2:], CARD, "fp32")
    assert verdict.delta_auc == {}
    assert verdict.worst_delta_auc is None
    assert verdict.faults == ()


def test_a_unit_without_a_bound_is_an_error() -> None:
    with pytest.raises(BuildError, match=r"unit with a bound \(dB, sd\), got 'furlong'"):
        bounds_of(BOUNDS["fp32"], [Component(name="x", unit="furlong", high_is="normal")])


def test_the_bounds_follow_from_the_pixel_error_that_they_state() -> None:
    def error_db(d: float, psnr: float) -> float:
        return 20 / np.log(10) * d * 10 ** (psnr / 20)

    assert error_db(1e-5, 40) < BOUNDS["fp32"].score_error["dB"] < error_db(1.2e-5, 40)
    assert error_db(2.8e-4, 40) < BOUNDS["bf16"].score_error["dB"] < error_db(3e-4, 40)
    # The first-order formula itself, against a PSNR that is really moved.
    rng = np.random.default_rng(0)
    truth: npt.NDArray[np.float64] = rng.normal(0, 0.01, 10_000)
    moved = truth * (1 + 1e-5 / np.sqrt((truth**2).mean()))  # the worst direction
    change = 10 * np.log10((moved**2).mean() / (truth**2).mean())
    assert change == pytest.approx(error_db(1e-5, -10 * np.log10((truth**2).mean())), rel=1e-2)


def test_alerts_that_one_raises_and_the_other_not_fail(eager: Scored, runs: list[Run]) -> None:
    quiet = _moved(eager, lambda c: np.maximum(c, np.median(c)))
    verdict = judge(quiet, eager, runs, CARD, "bf16")
    n, alone = verdict.alerts
    assert n == alone > 0
    assert any(
        f"{alone} of {n} alerts have no partner within 5 frames" in fault
        for fault in verdict.faults
    )
    assert judge(eager, eager, runs, CARD, "fp32").alerts == (2 * n, 0)
    assert not verdict.near


def test_bounds_may_be_set_for_all_precisions() -> None:
    assert parse_bounds(None) == BOUNDS
    found = parse_bounds("auc=0, dB=0.5,alerts=1")
    assert set(found) == set(BOUNDS)
    for precision, b in found.items():
        usual = BOUNDS[precision]
        assert (b.auc, b.alerts, b.score_error["dB"]) == (0, 1, 0.5)
        assert (b.correlation, b.score_error["sd"]) == (usual.correlation, usual.score_error["sd"])


@pytest.mark.parametrize(
    "words",
    ["", "auc", "auc=", "auc=x", "auc=nan", "auc=-0.1", "auc=1.1", "dB=0", "dB=inf", "furlong=1", "auc=0.1,,", "score_error=1"],
)  # fmt: skip
def test_a_bound_that_is_none_is_named(words: str) -> None:
    with pytest.raises(UsageError, match=r"--gate: must be bounds like .*, got '"):
        parse_bounds(words)


def test_the_bounds_of_the_card_are_those_that_count(eager: Scored, runs: list[Run]) -> None:
    off = Scored([c + np.float32(0.1) for c in eager.components], eager.heatmaps)
    assert not judge(off, eager, runs, CARD, "bf16").faults
    strict = replace(CARD, bounds=parse_bounds("dB=0.05"))
    (fault,) = judge(off, eager, runs, strict, "bf16").faults
    assert "allowed 0.05" in fault


def test_what_a_gpu_may_be_off_by_is_what_the_gate_allows() -> None:
    """Machines that only check kernels cannot import the gate, so its bounds are stated there again."""
    of_gate = {p: (BOUNDS[p].score_error["dB"], BOUNDS[p].heatmap) for p in stated}  # type: ignore[index]
    assert stated == of_gate
