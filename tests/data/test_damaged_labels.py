"""Labels, masks and tracks that are damaged, or of another shape than they must have: one sentence each, which says what to do."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from vadfast.data.labels import read_mat, read_packed_masks, read_tracks
from vadfast.data.masks import find_masks
from vadfast.errors import SourceError


def _cell(*entries: object) -> np.ndarray:
    cell = np.empty((1, len(entries)), object)
    for i, entry in enumerate(entries):
        cell[0, i] = entry
    return cell


def _drawn(root: Path) -> None:
    (root / "01_gt").mkdir()
    cv2.imwrite(str(root / "01_gt" / "1.png"), np.zeros((4, 6), np.uint8))
    cv2.imwrite(str(root / "01_gt" / "2.png"), np.zeros((5, 6), np.uint8))


def _made(**arrays: np.ndarray) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        (root / "testing" / "masks").mkdir(parents=True)
        np.savez(root / "testing" / "masks" / "01.npz", **arrays)  # type: ignore[arg-type]

    return write


def _damaged(root: Path) -> None:
    _made(masks=np.zeros((2, 4, 6), bool))(root)
    path = root / "testing" / "masks" / "01.npz"
    path.write_bytes(path.read_bytes()[:-40])


def _volume(*frames: object) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        folder = root / "ground_truth_demo" / "testing_label_mask"
        folder.mkdir(parents=True)
        savemat(folder / "1_label.mat", {"volLabel": _cell(*frames)})

    return write


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (_drawn, r"01_gt: the mask 2.png must be numbers \[4, 6\] like the first, got bool \[5, 6\]"),
        (_damaged, r"01.npz: must be masks .* cannot be read"),
        (_made(mask=np.zeros((2, 4, 6))), r"must hold an array 'masks', has mask"),
        (_made(masks=np.zeros((4, 6))), r"must be numbers \[n_frames, H, W\], got float64 \[4, 6\]"),
        (_made(masks=np.array([[["a"]]])), r"must be numbers \[n_frames, H, W\], got <U1"),
        (_volume(np.zeros((4, 6)), np.zeros((4, 5))), r"mask frame 1 must be numbers \[4, 6\] like"),
        (_volume("a", "b"), r"mask frame 0 must be numbers \[H, W\]"),
        (_volume(), "must hold a mask for each frame, has none"),
    ],
)  # fmt: skip
def test_damaged_masks_are_said(tmp_path: Path, write: Callable[[Path], None], words: str) -> None:
    write(tmp_path)
    masks = find_masks(tmp_path, "folder", tmp_path / "01", "01")
    assert masks is not None
    with pytest.raises(SourceError, match=words) as caught:
        masks()
    assert str(caught.value).endswith("; download the masks again, or take them away to go without")


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (np.zeros((2, 4, 44), np.uint8), r"uint8 \[n_frames, H, 45\], got uint8 \[2, 4, 44\]"),
        (np.zeros((2, 4, 45)), r"got float64 \[2, 4, 45\]"),
        (np.zeros((4, 45), np.uint8), r"got uint8 \[4, 45\]"),
    ],
)
def test_packed_masks_of_another_shape_are_said(
    tmp_path: Path, packed: np.ndarray, words: str
) -> None:
    np.savez(tmp_path / "m.npz", **{"01": packed})  # type: ignore[arg-type]
    with pytest.raises(SourceError, match=words):
        read_packed_masks(tmp_path / "m.npz", "01", 360)
    with pytest.raises(SourceError, match="must hold an array '02', has 01; restore the file"):
        read_packed_masks(tmp_path / "m.npz", "02", 360)
    (tmp_path / "m.npz").write_bytes((tmp_path / "m.npz").read_bytes()[:-40])
    with pytest.raises(SourceError, match="cannot be read"):
        read_packed_masks(tmp_path / "m.npz", "01", 360)


def test_packed_masks_are_those_of_ped2_alone(tmp_path: Path) -> None:
    """Their width is not in the file: that of Ped2 would cut or pad the masks of any other data set."""
    truth = np.random.default_rng(0).random((2, 3, 360)) < 0.5
    for kind in ("ped2", "avenue"):
        path = tmp_path / f"pixel_masks_{kind}.npz"
        np.savez(path, **{"01": np.packbits(truth, axis=-1)})  # type: ignore[arg-type]
    masks = find_masks(tmp_path, "ped2", tmp_path / "01", "01")
    assert masks is not None
    np.testing.assert_array_equal(masks(), truth)
    assert find_masks(tmp_path, "avenue", tmp_path / "01", "01") is None


@pytest.mark.parametrize(
    "events",
    [np.array([[1], [2], [3]]), np.array([1.0, np.nan]), np.zeros((2, 2, 2)), np.array(["a", "b"])],
    ids=["three rows", "not a number", "three axes", "words"],
)
def test_events_that_are_no_pairs_are_said(tmp_path: Path, events: np.ndarray) -> None:
    savemat(tmp_path / "ped2.mat", {"gt": _cell(np.array([[1], [2]]), events)})
    with pytest.raises(SourceError, match=r"events of video 2 must be .* download it again$"):
        read_mat(tmp_path / "ped2.mat")
    savemat(tmp_path / "ped2.mat", {"other": np.zeros(1)})
    with pytest.raises(SourceError, match=r"variable 'gt', has \['other'\]; download it again$"):
        read_mat(tmp_path / "ped2.mat")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.integers(0, 2000), put=st.binary(min_size=1, max_size=8), n=st.integers(0, 2000))
def test_damaged_label_files_are_read_or_said(tmp_path: Path, at: int, put: bytes, n: int) -> None:
    if not (tmp_path / "whole.npz").exists():
        np.savez_compressed(tmp_path / "whole.npz", **{"01": np.zeros((2, 4, 45), np.uint8)})  # type: ignore[arg-type]
        (tmp_path / "whole.csv").write_text("1,0,2,3,4,5\n1,1,2,3,4,5\n")
    for suffix, read in (
        (".npz", lambda path: read_packed_masks(path, "01", 360)),
        (".csv", read_tracks),
    ):
        data = (tmp_path / f"whole{suffix}").read_bytes()
        start = at % len(data)
        path = tmp_path / f"damaged{suffix}"
        path.write_bytes((data[:start] + put + data[start + len(put) :])[: len(data) - n % 9])
        with suppress(SourceError):  # any other exception fails
            assert isinstance(read(path), np.ndarray)


def test_a_matlab_file_that_was_cut_is_read_or_said(tmp_path: Path) -> None:
    """Cut, not changed at random: SciPy's compiled reader takes the whole process down with some changed bytes."""
    whole = tmp_path / "whole.mat"
    savemat(whole, {"gt": _cell(np.array([[1, 7], [2, 9]]), np.zeros((0, 0)))})
    content = whole.read_bytes()
    for n in range(0, len(content), 7):
        (tmp_path / "cut.mat").write_bytes(content[:n])
        with suppress(SourceError):
            assert read_mat(tmp_path / "cut.mat") == [[(0, 1), (6, 8)], []]
