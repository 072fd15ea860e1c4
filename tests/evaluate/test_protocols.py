"""The AUC variants against pairs counted by hand, invariances, and the label facts of Ped2."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vadfast.errors import SourceError
from vadfast.evaluate.globalminmax import global_minmax
from vadfast.evaluate.protocols import (
    Evaluation,
    VideoScores,
    equal_error_rate,
    evaluate,
    match_labels,
    metrics,
)
from vadfast.runtime.manifest import Chain, Component, MinMax
from vadfast.runtime.score import run_chain

MINMAX = Chain(steps=(MinMax(),), weights={"x": 1.0})
RAW = Chain(steps=(), weights={"x": 1.0})
PSNR = (Component(name="x", unit="dB", high_is="normal"),)
DISTANCE = (Component(name="x", unit="1", high_is="abnormal"),)


def scored(
    labels: Sequence[int],
    values: Sequence[float],
    name: str = "v",
    spec: tuple[Component, ...] = DISTANCE,
) -> VideoScores:
    components = np.array(values, np.float32)[:, None]
    return VideoScores(
        name=name,
        n_frames=len(labels) + 4,
        labels=np.array(labels, np.uint8),
        components=components,
        scores={
            "micro_minmax": run_chain(MINMAX, spec, components),
            "micro_raw": run_chain(RAW, spec, components),
        },
    )


def counted(labels: NDArray[np.uint8], scores: NDArray[np.float64]) -> float:
    """The AUC by its meaning: how often an abnormal frame scores above a normal one, ties half."""
    abnormal, normal = scores[labels == 1][:, None], scores[labels == 0][None]
    return float(((abnormal > normal) + 0.5 * (abnormal == normal)).mean())


def aucs(videos: Sequence[VideoScores]) -> dict[str, float]:
    return {name: m.auc for name, m in evaluate(videos).pooled.items()}


# A few videos of whole-number scores: exact in float32, so that equal means equal.
video = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 1), min_size=n, max_size=n),
        st.lists(st.integers(-50, 50), min_size=n, max_size=n),
    )
)
test_sets = st.lists(video, min_size=1, max_size=5).filter(
    lambda videos: len({label for labels, _ in videos for label in labels}) == 2
)


def test_micro_minmax_is_the_hand_computation() -> None:
    # PSNR, high = normal.  a: 30 40 20 -> score (40 - x) / 20 = .5 0 1;  b: 60 50 -> 0 1
    videos = [scored([0, 0, 1], [30, 40, 20], "a", PSNR), scored([1, 0], [60, 50], "b", PSNR)]
    np.testing.assert_array_equal(videos[0].scores["micro_minmax"], [0.5, 0, 1])
    np.testing.assert_array_equal(videos[1].scores["micro_minmax"], [0, 1])
    # abnormal {1, 0} against normal {.5, 0, 1}: wins 2 + 0, ties 1 + 1 -> (2 + 2 / 2) / 6
    # raw: abnormal {-20, -60} against normal {-30, -40, -50}: wins 3 + 0 -> 3 / 6
    assert aucs(videos) == {"micro_minmax": pytest.approx(3 / 6), "micro_raw": pytest.approx(3 / 6)}
    apart = [videos[0], scored([1, 0], [45, 35], "b", PSNR), scored([1, 0], [10, 5], "c", PSNR)]
    # minmax: abnormal {1, 0, 0} against {.5, 0, 1, 1}: wins 2, ties 2 + 1 + 1 -> 4 / 12
    # raw: abnormal {-20, -45, -10} against {-30, -40, -35, -5}: 3 + 0 + 3 -> 6 / 12
    assert aucs(apart) == {
        "micro_minmax": pytest.approx(4 / 12),
        "micro_raw": pytest.approx(6 / 12),
    }


@settings(max_examples=40, deadline=None)
@given(test_sets)
def test_every_auc_is_the_count_of_pairs(videos: list[tuple[list[int], list[int]]]) -> None:
    made = [scored(*v, name=str(i)) for i, v in enumerate(videos)]
    result = evaluate(made)
    labels = np.concatenate([v.labels for v in made])
    for name, m in result.pooled.items():
        assert m.auc == pytest.approx(
            counted(labels, np.concatenate([v.scores[name] for v in made]))
        )
    mixed = [v for v in made if 0 < v.labels.sum() < len(v.labels)]
    assert result.skipped == tuple(v.name for v in made if v not in mixed)
    if mixed:
        by_hand = np.mean([counted(v.labels, v.scores["micro_raw"]) for v in mixed])
        assert result.macro == pytest.approx(by_hand)
    else:
        assert result.macro is None


@settings(max_examples=40, deadline=None)
@given(
    test_sets,
    st.sampled_from([lambda x: 3.0 * x + 7, lambda x: float(x) ** 3, lambda x: np.exp(x / 8)]),
)
def test_micro_raw_is_invariant_under_one_monotone_map(
    videos: list[tuple[list[int], list[int]]], monotone: Callable[[float], float]
) -> None:
    before = [scored(*v) for v in videos]
    after = [scored(labels, [monotone(x) for x in values]) for labels, values in videos]
    assert aucs(before)["micro_raw"] == pytest.approx(aucs(after)["micro_raw"], abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(test_sets, st.data())
def test_micro_minmax_is_invariant_under_an_affine_map_per_video(
    videos: list[tuple[list[int], list[int]]], data: st.DataObject
) -> None:
    before, after = [], []
    for labels, values in videos:
        gain = data.draw(st.sampled_from([0.5, 1.0, 4.0]))
        offset = data.draw(st.integers(-1000, 1000))
        before.append(scored(labels, values))
        after.append(scored(labels, [gain * x + offset for x in values]))
    assert aucs(before)["micro_minmax"] == aucs(after)["micro_minmax"]


@settings(max_examples=40, deadline=None)
@given(test_sets)
def test_one_minmax_over_the_whole_set_is_micro_raw_of_a_single_score(
    videos: list[tuple[list[int], list[int]]],
) -> None:
    raw = [scored(*v, spec=PSNR) for v in videos]
    whole = global_minmax(MINMAX, PSNR, [v.components for v in raw])
    ends = [bound for v in whole for bound in (v.min(), v.max())]
    assert (min(ends), max(ends)) in ((0, 1), (0, 0))
    with_it = [
        replace(v, scores={**v.scores, "micro_globalminmax": scores})
        for v, scores in zip(raw, whole, strict=True)
    ]
    found = aucs(with_it)
    assert found["micro_globalminmax"] == pytest.approx(found["micro_raw"], abs=1e-12)


def test_one_minmax_over_the_whole_set_of_two_scores_by_hand() -> None:
    # near: 0..10 over both videos, high = abnormal; psnr: 20..40, high = normal, so 40 -> 0 and 20 -> 1.
    near, psnr = replace_name(DISTANCE[0], "near"), replace_name(PSNR[0], "psnr")
    chain = Chain(steps=(MinMax(),), weights={"near": 0.5, "psnr": 0.5})
    a = np.array([[0, 40], [5, 30]], np.float32)
    b = np.array([[10, 25], [2, 20]], np.float32)
    first, second = global_minmax(chain, (near, psnr), [a, b])
    np.testing.assert_allclose(first, [0, 0.5 * 0.5 + 0.5 * 0.5])
    np.testing.assert_allclose(second, [0.5 * 1 + 0.5 * 0.75, 0.5 * 0.2 + 0.5 * 1])


def replace_name(component: Component, name: str) -> Component:
    return component.model_copy(update={"name": name})


def test_macro_pad_gives_a_video_of_one_class_an_extreme_of_each() -> None:
    mixed = scored([0, 1, 0, 1], [0, 1, 2, 3], "mixed")  # 3 of 4 pairs
    # minmax 0 .5 1 and an abnormal 1, against a normal 0: wins 3, ties 1 -> 3.5 / 4
    abnormal = scored([1, 1, 1], [4, 5, 6], "abnormal")
    # an abnormal 1 against 0 .5 1 and a normal 0: wins 3, ties 1
    normal = scored([0, 0, 0], [4, 5, 6], "normal")
    result = evaluate([mixed, abnormal, normal])
    assert result.macro == pytest.approx(0.75)
    assert result.skipped == ("abnormal", "normal")
    assert result.macro_pad == pytest.approx((0.75 + 3.5 / 4 + 3.5 / 4) / 3)
    assert evaluate([mixed]).macro_pad == pytest.approx(0.75)


@settings(max_examples=40, deadline=None)
@given(test_sets)
def test_turning_the_score_turns_the_numbers(videos: list[tuple[list[int], list[int]]]) -> None:
    labels = np.concatenate([np.array(v[0], np.uint8) for v in videos])
    scores = np.concatenate([np.array(v[1], np.float64) for v in videos])
    up, down = metrics(labels, scores), metrics(labels, -scores)
    assert up.auc == pytest.approx(1 - down.auc)
    assert up.eer == pytest.approx(1 - down.eer)
    assert up.gap == pytest.approx(-down.gap)
    assert 0 <= up.eer <= 1


def test_equal_error_rate_of_known_curves() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1], np.uint8)

    def eer(*values: float) -> float:
        return equal_error_rate(labels, np.array(values))

    assert eer(1, 2, 3, 4, 5, 6, 7, 8) == 0.0
    assert eer(5, 6, 7, 8, 1, 2, 3, 4) == 1.0
    assert eer(1, 1, 1, 1, 1, 1, 1, 1) == 0.5
    # At threshold 5: one false alarm of 4, one miss of 4.
    assert eer(1, 2, 3, 5, 4, 6, 7, 8) == 0.25
    # Corners of the ROC (0, 0) (0, 1/2) (1, 1): misses meet false alarms on the last line, at 1/3.
    assert eer(1, 1, 1, 1, 1, 1, 2, 2) == pytest.approx(1 / 3)


def test_average_precision_and_gap_by_hand() -> None:
    m = metrics(np.array([1, 0, 1, 0], np.uint8), np.array([4.0, 3.0, 2.0, 1.0]))
    assert m.ap == pytest.approx((1 / 1 + 2 / 3) / 2)  # precision at each of the two hits
    assert m.gap == pytest.approx(3.0 - 2.0)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_no_auc_and_one_sentence_says_so(label: int) -> None:
    with pytest.raises(
        SourceError, match=f"all 6 scored frames are labelled {['normal', 'abnormal'][label]}"
    ):
        evaluate([scored([label] * 3, [1, 2, 3], "a"), scored([label] * 3, [4, 5, 6], "b")])


def test_macro_leaves_out_videos_of_one_class_and_names_them() -> None:
    result = evaluate(
        [
            scored([0, 1], [1, 2], "good"),
            scored([1, 1], [1, 2], "abnormal"),
            scored([0, 0], [1, 2], "normal"),
        ]
    )
    assert result.macro == 1.0
    assert result.skipped == ("abnormal", "normal")
    assert result.video_auc == {"good": 1.0, "abnormal": None, "normal": None}


def test_macro_is_none_where_every_video_has_one_class() -> None:
    result = evaluate([scored([1, 1], [1, 2], "a"), scored([0, 0], [1, 2], "b")])
    assert isinstance(result, Evaluation)
    assert result.macro is None
    assert result.pooled["micro_raw"].auc == 0.5


def test_the_first_frames_carry_no_score_and_lose_their_labels() -> None:
    labels = np.array([1, 1, 1, 1, 0, 1, 0], np.uint8)
    np.testing.assert_array_equal(match_labels(labels, 3, 5, name="v"), [0, 1, 0])
    np.testing.assert_array_equal(match_labels(labels, 7, 1, name="v"), labels)


@pytest.mark.parametrize("n_scores", [0, 2, 4, 7])
def test_labels_that_do_not_fit_are_refused_with_both_numbers(n_scores: int) -> None:
    with pytest.raises(SourceError, match=f"v has 7 labels but {n_scores + 4} decoded frames"):
        match_labels(np.zeros(7, np.uint8), n_scores, 5, name="v")


def test_labels_off_by_one_frame_change_the_auc() -> None:
    """A pairing that is one frame off must show: a perfect score stops being perfect."""
    labels = np.zeros(64, np.uint8)
    labels[20:40] = 1
    perfect = labels[4:].astype(np.float64)  # one score per frame from the fifth on
    right = match_labels(labels, len(perfect), 5, name="v")
    assert aucs([scored(list(right), list(perfect))])["micro_raw"] == 1.0
    for wrong in (labels[3:-1], np.roll(labels, -1)[4:]):
        assert aucs([scored(list(wrong), list(perfect))])["micro_raw"] < 1.0


def test_label_facts_of_ped2(ped2_root: Path) -> None:
    from vadfast.data.datasets import load_dataset

    dataset = load_dataset(ped2_root, "ped2")
    labels = {v.name: np.asarray(v.labels) for v in dataset.test}
    assert [len(of) for of in labels.values()] == [
        180,
        180,
        150,
        180,
        150,
        180,
        180,
        180,
        120,
        150,
        180,
        180,
    ]
    everything = np.concatenate(list(labels.values()))
    assert (len(everything), everything.sum()) == (2010, 1648)
    cut = {name: match_labels(of, len(of) - 4, 5, name=name) for name, of in labels.items()}
    assert (sum(map(len, cut.values())), sum(int(of.sum()) for of in cut.values())) == (1962, 1620)
    result = evaluate([scored(list(of), list(range(len(of))), name) for name, of in cut.items()])
    assert [int(name[-2:]) for name in result.skipped] == [8, 9, 10, 11]
    assert (result.n_scores, result.n_abnormal) == (1962, 1620)
    intervals = json.loads((ped2_root / "labels/gt_intervals.json").read_text())
    for name, of in labels.items():
        (first, last), *others = intervals[name[-2:]]["anomalous_1based_inclusive"]
        assert not others
        np.testing.assert_array_equal(np.flatnonzero(of), np.arange(first - 1, last))
