"""UCSD Ped1, and the layouts that popular repositories put UCSD and Avenue into."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from tests.data.test_datasets import _frames
from vadfast.data.datasets import load_dataset


def _masks(folder: Path, abnormal: list[int]) -> None:
    folder.mkdir(parents=True)
    for i, value in enumerate(abnormal, 1):
        mask = np.zeros((8, 10), np.uint8)
        mask[2:4, 2:5] = 255 * value
        cv2.imwrite(str(folder / f"{i:03}.bmp"), mask)


def test_ped1_as_distributed_has_masks_for_some_films_and_labels_for_all(tmp_path: Path) -> None:
    _frames(tmp_path / "Train" / "Train001", 6, suffix=".tif", first=1)
    for number in ("001", "002", "010"):
        _frames(tmp_path / "Test" / f"Test{number}", 6, suffix=".tif", first=1)
    _masks(tmp_path / "Test" / "Test002_gt", [0, 0, 0, 1, 1, 1])
    # As published: a line for each film by its number, the tenth with two spans.
    lines = [f"TestVideoFile{{end+1}}.gt_frame = [{span}];" for span in ["2:3", "4:6", *["1:1"] * 7, "1:2, 6:6"]]  # fmt: skip
    (tmp_path / "Test" / "UCSDped1.m").write_text("TestVideoFile = {};\n" + "\n".join(lines))
    loaded = load_dataset(tmp_path)
    assert loaded.kind == "ped1"
    assert {v.name: np.asarray(v.labels).tolist() for v in loaded.test} == {
        "Test001": [0, 1, 1, 0, 0, 0],
        "Test002": [0, 0, 0, 1, 1, 1],
        "Test010": [1, 1, 0, 0, 0, 1],
    }
    assert [v.masks is not None for v in loaded.test] == [False, True, False]
    masks = loaded.test[1].masks
    assert masks is not None
    assert masks().sum(axis=(1, 2)).tolist() == [0, 0, 0, 6, 6, 6]


@pytest.mark.parametrize("shape", [(1, 13), (13,)], ids=["ped2's and avenue's", "ped1's"])
@pytest.mark.parametrize("kind", ["ped1", "ped2", "avenue"])
def test_mnads_arrays_of_either_shape(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    _frames(tmp_path / "training" / "frames" / "01", 6)
    for name, n in (("01", 6), ("02", 7)):
        _frames(tmp_path / "testing" / "frames" / name, n)
    values = np.array([0, 0, 1, 1, 0, 0] + [1] * 7, np.int8)
    np.save(tmp_path / f"frame_labels_{kind}.npy", values.reshape(shape))
    loaded = load_dataset(tmp_path)
    assert loaded.kind == kind
    assert [np.asarray(v.labels).tolist() for v in loaded.test] == [[0, 0, 1, 1, 0, 0], [1] * 7]


def test_hf2vads_frames_lie_beside_their_masks(tmp_path: Path) -> None:
    _frames(tmp_path / "training" / "frames" / "Train001", 6)
    _frames(tmp_path / "testing" / "frames" / "Test001", 6)
    _masks(tmp_path / "testing" / "frames" / "Test001_gt", [0, 0, 1, 1, 0, 0])
    loaded = load_dataset(tmp_path, "ped2")
    assert [v.name for v in loaded.test] == ["Test001"]
    assert np.asarray(loaded.test[0].labels).tolist() == [0, 0, 1, 1, 0, 0]
    assert loaded.label_source is not None
    assert loaded.label_source.endswith("pixel masks")


def test_films_without_a_frames_folder_between(tmp_path: Path) -> None:
    for name in ("01", "02", "10"):  # feiyuhuahuo's
        _frames(tmp_path / "training" / name, 6, suffix=".jpg")
    _frames(tmp_path / "testing" / "01", 6, suffix=".jpg")
    savemat(tmp_path / "ped2.mat", {"gt": np.array([[2], [3]])})
    loaded = load_dataset(tmp_path)
    assert loaded.kind == "ped2"
    assert [v.name for v in loaded.train] == ["01", "02", "10"]
    assert np.asarray(loaded.test[0].labels).tolist() == [0, 1, 1, 0, 0, 0]
