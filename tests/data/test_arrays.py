"""npy and npz files that a person gave: what is wrong with them is said in a sentence, whatever it is."""

import io
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vadfast.arrays import read_archive, read_array
from vadfast.errors import SourceError

FUZZED = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=array.dtype.hasobject)
    return file.getvalue()


def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


WHOLE = _npy(np.arange(12, dtype=np.uint8).reshape(3, 4))
ARCHIVE = _npz(masks=np.ones((2, 3, 4), bool), other=np.zeros(2))


def test_what_was_stored_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(WHOLE)
    assert read_array(tmp_path / "a.npy", "labels").tolist() == np.arange(12).reshape(3, 4).tolist()


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        WHOLE[:20],
        WHOLE[:-3],
        pickle.dumps([1]),
        _npy(np.array([{}], object)),
        ARCHIVE,
        ARCHIVE[:50],
    ],
    ids=[
        "missing",
        "empty",
        "half a header",
        "cut short",
        "a pickle",
        "objects",
        "an archive",
        "half of one",
    ],
)
@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_what_is_no_array_is_said(tmp_path: Path, content: bytes | None, mmap_mode: str) -> None:
    path = tmp_path / "mask.npy"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        read_array(path, "a mask", mend="store it anew", mmap_mode=mmap_mode)  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{path}: must be a mask, cannot be read (")
    assert str(caught.value).endswith("; store it anew")


@FUZZED
@given(st.integers(0, 127), st.binary(min_size=1, max_size=8))
def test_a_damaged_header_is_read_or_said(tmp_path: Path, at: int, put: bytes) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(WHOLE[:at] + put + WHOLE[at + len(put) :])
    with suppress(SourceError):  # any other exception fails
        assert isinstance(read_array(path, "labels"), np.ndarray)


def _read_archive(path: Path) -> dict[str, np.ndarray]:
    return read_archive(path, ["masks"], "masks", optional=["n_frames"], mend="write it anew")


def test_an_archive_gives_what_was_asked_for_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(ARCHIVE)
    found = _read_archive(path)
    assert list(found) == ["masks"]
    assert found["masks"].all()
    path.write_bytes(_npz(masks=np.zeros(1), n_frames=np.array(3)))
    assert list(_read_archive(path)) == ["masks", "n_frames"]
    path.write_bytes(_npz(a=np.zeros(1), b=np.zeros(1)))
    with pytest.raises(SourceError, match=r"must hold an array 'masks', has a, b; write it anew$"):
        _read_archive(path)


def _zip(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [None, b"", ARCHIVE[:40], ARCHIVE[:-30], WHOLE, pickle.dumps([1]), _zip("masks", b"words"),
     _npz(masks=np.array([{}], object)), ARCHIVE.replace(b"PK\x01\x02", b"PK\x01\x03")],
    ids=["missing", "empty", "its head", "no end", "one array", "a pickle", "no array", "objects", "index"],
)  # fmt: skip
def test_what_is_no_archive_is_said(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mask.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=r"must be masks, cannot be read \(.*; write it anew$"):
        _read_archive(path)


@FUZZED
@given(st.integers(0, len(ARCHIVE) - 1), st.binary(min_size=1, max_size=8))
def test_a_damaged_archive_is_read_or_said(tmp_path: Path, at: int, put: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(ARCHIVE[:at] + put + ARCHIVE[at + len(put) :])
    with suppress(SourceError):  # any other exception fails
        assert isinstance(_read_archive(path)["masks"], np.ndarray)
