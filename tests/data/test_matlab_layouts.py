"""Avenue as distributed and ano_pred's ``.mat`` files, in the exact layouts that their authors publish."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from tests.data.test_datasets import _frames
from vadfast.data import synthetic
from vadfast.data.datasets import load_dataset
from vadfast.errors import SourceError

SIDE = 16


def _film(path: Path, n: int) -> None:
    frames = (np.full((SIDE, SIDE, 3), 40 * (t % 5), np.uint8) for t in range(n))
    synthetic.write_frames(path, frames, 25)


def _cell(*values: np.ndarray) -> np.ndarray:
    """A MATLAB cell row."""
    cell = np.empty((1, len(values)), object)
    for i, value in enumerate(values):
        cell[0, i] = value
    return cell


@pytest.fixture
def avenue(tmp_path: Path) -> Path:
    """Two test videos; the second is abnormal in frames 2 and 3."""
    for i, n in ((1, 6), (2, 7)):
        _film(tmp_path / "training_videos" / f"{i:02}.avi", 6)
        _film(tmp_path / "testing_videos" / f"{i:02}.avi", n)
    folder = tmp_path / "ground_truth_demo" / "testing_label_mask"
    folder.mkdir(parents=True)
    seen = np.zeros((SIDE, SIDE), np.uint8)
    seen[4:8, 4:8] = 1
    none = np.zeros_like(seen)
    savemat(folder / "1_label.mat", {"volLabel": _cell(*[none] * 6)})
    savemat(folder / "2_label.mat", {"volLabel": _cell(none, none, seen, seen, none, none, none)})
    return tmp_path


def test_avenue_as_distributed_takes_its_labels_from_the_masks(avenue: Path) -> None:
    loaded = load_dataset(avenue)
    assert loaded.kind == "avenue"
    assert [video.name for video in loaded.train] == ["01", "02"]
    assert [np.asarray(video.labels).tolist() for video in loaded.test] == [
        [0] * 6,
        [0, 0, 1, 1, 0, 0, 0],
    ]
    assert loaded.label_source is not None
    assert "masks" in loaded.label_source
    assert loaded.test[1].masks is not None
    masks = loaded.test[1].masks()
    assert masks.shape == (7, SIDE, SIDE)
    assert masks.sum(axis=(1, 2)).tolist() == [0, 0, 16, 16, 0, 0, 0]


def test_a_mask_volume_of_another_length_names_the_film_and_both_numbers(avenue: Path) -> None:
    folder = avenue / "ground_truth_demo" / "testing_label_mask"
    savemat(folder / "1_label.mat", {"volLabel": _cell(*[np.zeros((SIDE, SIDE))] * 5)})
    with pytest.raises(SourceError, match=r"masks of 01 must cover 6 frames, got 5"):
        load_dataset(avenue)


def _ano_pred(root: Path, lengths: tuple[int, ...]) -> None:
    _frames(root / "training" / "frames" / "01", 6)
    for i, n in enumerate(lengths, 1):
        _frames(root / "testing" / "frames" / f"{i:02}", n)


@pytest.mark.parametrize("kind", ["ped1", "ped2", "avenue"])
def test_ano_pred_events_are_one_based_and_inclusive(tmp_path: Path, kind: str) -> None:
    _ano_pred(tmp_path, (8, 6, 5))
    two = np.array([[2, 6], [3, 8]], np.float64)  # frames 2 to 3 and 6 to 8
    one = np.array([[1], [6]], np.float64)
    savemat(tmp_path / f"{kind}.mat", {"gt": _cell(two, one, np.zeros((2, 0)))})
    loaded = load_dataset(tmp_path)
    assert loaded.kind == kind
    assert [np.asarray(video.labels).tolist() for video in loaded.test] == [
        [0, 1, 1, 0, 0, 1, 1, 1],
        [1] * 6,
        [0] * 5,
    ]


@pytest.mark.parametrize(
    "saved",
    [
        _cell(np.array([2, 3]), np.array([1, 6])),  # a single event, squeezed
        np.stack([[[2.0], [3.0]], [[1.0], [6.0]]], axis=-1),  # equal counts, squeezed to 3-D
    ],
    ids=["single events", "3-D"],
)
def test_squeezed_forms_mean_the_same(tmp_path: Path, saved: np.ndarray) -> None:
    _ano_pred(tmp_path, (8, 6))
    savemat(tmp_path / "ped2.mat", {"gt": saved})
    assert [np.asarray(video.labels).tolist() for video in load_dataset(tmp_path).test] == [
        [0, 1, 1, 0, 0, 0, 0, 0],
        [1] * 6,
    ]


def test_an_event_beyond_the_film_is_an_error(tmp_path: Path) -> None:
    _ano_pred(tmp_path, (8,))
    savemat(tmp_path / "ped2.mat", {"gt": _cell(np.array([[2], [9]]))})
    with pytest.raises(SourceError, match="frames 0 to 7, got 1 to 8"):
        load_dataset(tmp_path)
