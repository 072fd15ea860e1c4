"""ShanghaiTech, and tracks, in the exact layouts that are published; what does not fit is said."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.test_datasets import _frames
from tests.data.test_matlab_layouts import _film
from vadfast.data.datasets import load_dataset
from vadfast.data.labels import read_tracks
from vadfast.data.masks import find_tracks
from vadfast.errors import SourceError

LABELS = {"01_0014": [0, 0, 1, 1, 0, 0], "01_0015": [0] * 7}


@pytest.fixture
def shanghaitech(tmp_path: Path) -> Path:
    """As distributed: training films, testing frames, a label and a mask file for each test film."""
    for name in ("01_001", "01_002", "01_010"):
        _film(tmp_path / "training" / "videos" / f"{name}.avi", 6)
    for name, values in LABELS.items():
        _frames(tmp_path / "testing" / "frames" / name, len(values), suffix=".jpg")
        for part, array in (
            ("test_frame_mask", np.array(values, np.int64)),
            ("test_pixel_mask", np.array(values, np.uint8)[:, None, None] * np.eye(8, 10, dtype=np.uint8)),
        ):  # fmt: skip
            folder = tmp_path / "testing" / part
            folder.mkdir(exist_ok=True)
            np.save(folder / f"{name}.npy", array)
    return tmp_path


def test_shanghaitech_as_distributed(shanghaitech: Path) -> None:
    loaded = load_dataset(shanghaitech)
    assert loaded.kind == "shanghaitech"
    assert [video.name for video in loaded.train] == ["01_001", "01_002", "01_010"]
    assert [video.name for video in loaded.test] == list(LABELS)
    assert [np.asarray(v.labels).tolist() for v in loaded.test] == list(LABELS.values())
    assert loaded.label_source is not None
    assert loaded.label_source.endswith("testing/test_frame_mask")
    assert loaded.test[0].masks is not None
    masks = loaded.test[0].masks()
    assert masks.dtype == bool
    assert masks.sum(axis=(1, 2)).tolist() == [0, 0, 8, 8, 0, 0]


def test_shanghaitech_of_frames_with_one_label_file(tmp_path: Path) -> None:
    _frames(tmp_path / "training" / "frames" / "01_001", 6)
    for name, values in LABELS.items():
        _frames(tmp_path / "testing" / "frames" / name, len(values))
    everything = np.concatenate([np.array(v) for v in LABELS.values()])
    np.save(tmp_path / "frame_labels_shanghai.npy", everything)  # MNAD's name and shape
    loaded = load_dataset(tmp_path, "shanghaitech")
    assert [np.asarray(v.labels).tolist() for v in loaded.test] == list(LABELS.values())


def test_labels_that_lack_or_do_not_fit_a_film_are_said(shanghaitech: Path) -> None:
    path = shanghaitech / "testing" / "test_frame_mask" / "01_0015.npy"
    np.save(path, np.zeros(5, np.int64))
    with pytest.raises(SourceError, match=r"01_0015.npy must label the film's 7 frames, got 5"):
        load_dataset(shanghaitech)
    path.unlink()
    with pytest.raises(SourceError, match=r"01_0015.npy: must be an npy array"):
        load_dataset(shanghaitech)


def test_damaged_masks_are_said_when_they_are_read(shanghaitech: Path) -> None:
    path = shanghaitech / "testing" / "test_pixel_mask" / "01_0014.npy"
    loaded = load_dataset(shanghaitech)
    np.save(path, np.zeros(6))
    assert loaded.test[0].masks is not None
    with pytest.raises(SourceError, match=r"must be numbers \[n_frames, H, W\], got float64 \[6\]"):
        loaded.test[0].masks()
    path.write_bytes(b"no array")
    with pytest.raises(SourceError, match="cannot be read"):
        loaded.test[0].masks()


def test_tracks_are_found_and_read(tmp_path: Path) -> None:
    assert find_tracks(tmp_path, "01") is None
    path = tmp_path / "testing" / "tracks" / "01.csv"
    path.parent.mkdir(parents=True)
    path.write_text("0,154,4,142,119,249\n0,155,5.0,142,120,249\n")
    found = find_tracks(tmp_path, "01")
    assert found is not None
    assert found().tolist() == [[0, 154, 4, 142, 119, 249], [0, 155, 5, 142, 120, 249]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0,1,2\n", "got 3 columns"),
        ("0,1,9,0,3,3\n", "with x1 <= x2"),
        ("0,-1,0,0,3,3\n", "first line"),
        ("track,frame\n", "cannot be read"),
    ],
)
def test_what_is_no_track_is_said(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(SourceError, match=words):
        read_tracks(path)
