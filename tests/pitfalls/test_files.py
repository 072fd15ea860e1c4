"""Pitfalls of data on disk and of labels; numbers as in docs/methods.md."""

import json
import pickle
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

import vadfast
from tests.data.test_datasets import _frames
from tests.data.test_matlab_layouts import avenue
from tests.tiny_bundle import make_bundle
from vadfast.cli import exit_code_of
from vadfast.data import synthetic
from vadfast.data.datasets import load_dataset
from vadfast.data.labels import read_json, read_npy
from vadfast.errors import SourceError
from vadfast.evaluate.__main__ import command
from vadfast.runtime.manifest import InputSpec
from vadfast.runtime.source import FolderSource, open_source
from vadfast.runtime.window import Window

__all__ = ["avenue"]  # the fixture: Avenue as distributed

SOURCES = sorted(Path(vadfast.__file__).parent.rglob("*.py"))


def test_06_names_that_count_from_1_shift_no_frame(tmp_path: Path) -> None:
    """The frame behind a score is the one at its place in the folder, whatever number its name has."""
    for first, name in ((0, "from-0"), (1, "from-1")):
        folder = tmp_path / name
        folder.mkdir()
        for i in range(12):  # 1.png .. 12.png: natural order, not that of text
            cv2.imwrite(str(folder / f"{first + i}.png"), np.full((8, 8, 3), 10 * i, np.uint8))
        frames = list(open_source(folder))
        assert [f.index for f in frames] == list(range(12))
        assert [int(f.image[0, 0, 0]) for f in frames] == [10 * i for i in range(12)]


def test_06_the_first_score_belongs_to_the_fifth_frame(tmp_path: Path) -> None:
    window = Window(InputSpec(n_frames=5, height=2, width=2))
    seen = []
    for i in range(8):
        window.slot()[:] = i
        view = window.commit()
        seen.append(None if view is None else int(view[-1, 0, 0, 0]))
    assert seen == [None] * 4 + [4, 5, 6, 7]


def test_07_each_avenue_film_is_scaled_by_itself_and_its_label_set_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_bundle(tmp_path / "tiny.vad")
    _frames(tmp_path / "training" / "frames" / "01", 6)
    # Film 2 changes ten times as much as film 1; both change four or five times as much where they are abnormal.
    for film, step in (("01", 2), ("02", 20)):
        folder = tmp_path / "testing" / "frames" / film
        folder.mkdir(parents=True)
        for i, moved in enumerate([0, 1, 0, 1, 0, 1, 5, 0, 1, 2]):
            image = np.full((16, 24, 3), step * moved, np.uint8)
            cv2.imwrite(str(folder / f"{i:04}.png"), image)
    events = np.empty((1, 2), object)
    events[0, 0] = events[0, 1] = np.array([[7], [8]])
    savemat(tmp_path / "avenue.mat", {"gt": events})
    given = [str(bundle), "--data", str(tmp_path), "--only", "motion", "--json"]
    assert exit_code_of(command, name="evaluate", arguments=[*given, str(tmp_path / "r.json")]) == 0
    assert "labels: Avenue by listed events (3,867 abnormal frames)" in capsys.readouterr().out
    auc = json.loads((tmp_path / "r.json").read_text())["auc"]
    assert auc["micro_minmax"] == 1.0
    # As one film, the normal frames of film 2 (20) lie above the abnormal ones of film 1 (8, 10): 4 normal a film.
    assert auc["micro_globalminmax"] == auc["micro_raw"] == pytest.approx((2 * 8 + 2 * 4) / (4 * 8))


def test_07_masks_are_the_other_label_set_of_avenue(
    avenue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The first scored frame is the fifth: film 2 is abnormal in one of its scored frames.
    seen = np.zeros((16, 16), np.uint8)
    seen[4:8, 4:8] = 1
    frames = np.empty((1, 7), object)
    for t in range(7):
        frames[0, t] = seen if t == 5 else 0 * seen
    folder = avenue / "ground_truth_demo" / "testing_label_mask"
    savemat(folder / "2_label.mat", {"volLabel": frames})
    bundle = make_bundle(tmp_path / "tiny.vad")
    given = [str(bundle), "--data", str(avenue), "--only", "motion", "--json"]
    assert exit_code_of(command, name="evaluate", arguments=[*given, str(tmp_path / "r.json")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "labels: Avenue by its pixel masks (3,712 abnormal frames)" in said
    assert "avenue.mat (3,867)" in said
    assert json.loads((tmp_path / "r.json").read_text())["n_abnormal"] == 1


def test_19_only_images_are_frames_and_grey_has_three_channels(tmp_path: Path) -> None:
    folder = tmp_path / "Test001"
    folder.mkdir()
    for i in range(1, 12):
        cv2.imwrite(str(folder / f"{i:03}.tif"), np.full((6, 8), i, np.uint8))
        (folder / f"._{i:03}.tif").write_bytes(b"\x00\x05\x16\x07")
    (folder / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
    (folder / "Thumbs.db").write_bytes(b"x")
    source = FolderSource(folder)
    assert source.n_frames == 11
    images = [frame.image for frame in source]
    assert [image.shape for image in images] == [(6, 8, 3)] * 11
    assert [int(image.max()) for image in images] == list(range(1, 12))


@pytest.mark.parametrize("fps", [24, 25])
def test_19_a_training_film_gives_every_frame_whatever_its_rate(tmp_path: Path, fps: int) -> None:
    path = tmp_path / "01_001.avi"
    levels = [(40 * t) % 240 for t in range(13)]
    synthetic.write_frames(path, (np.full((16, 16, 3), v, np.uint8) for v in levels), fps)
    source = open_source(path)
    assert source.fps == pytest.approx(fps)
    found = [int(frame.image.mean()) for frame in source]
    assert len(found) == 13
    np.testing.assert_allclose(found, levels, atol=6)


def test_22_nothing_on_disk_is_executed(tmp_path: Path) -> None:
    fired = tmp_path / "fired"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (fired,))  # type: ignore[return-value]

    pickled = tmp_path / "gt_label.json"  # HF2VAD's label file is a pickle of that name
    pickled.write_bytes(pickle.dumps({"01": Trap()}))
    with pytest.raises(SourceError):
        read_json(pickled)
    array = tmp_path / "frame_labels_ped2.npy"
    np.save(array, np.array([Trap()], object), allow_pickle=True)
    with pytest.raises(SourceError):
        read_npy(array)
    assert not fired.exists()
    for file in SOURCES:
        text = file.read_text(encoding="utf-8")
        assert "allow_pickle=True" not in text, file
        for call in re.findall(r"torch\.load\([^)]*\)", text):
            assert "weights_only=True" in call, (file, call)


def test_23_no_forward_is_tied_to_a_device() -> None:
    for file in SOURCES:
        if file.parent.name in ("models", "layers"):
            text = file.read_text(encoding="utf-8")
            for banned in (".cuda()", "cdist(", 'float("-inf")', "-torch.inf"):
                assert banned not in text, (file, banned)


def test_19_a_damaged_twin_is_no_film(tmp_path: Path) -> None:
    _frames(tmp_path / "training" / "frames" / "01", 6)
    (tmp_path / "training" / "frames" / "._01").write_bytes(b"mac")
    (tmp_path / "training" / "frames" / ".DS_Store").write_bytes(b"mac")
    assert [video.name for video in load_dataset(tmp_path).train] == ["01"]
