"""An npy file that a person gave: what is wrong with it is said in a sentence, whatever it is."""

import io
import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vadfast.data.arrays import read_array
from vadfast.errors import SourceError


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=array.dtype.hasobject)
    return file.getvalue()


WHOLE = _npy(np.arange(12, dtype=np.uint8).reshape(3, 4))


def test_what_was_stored_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(WHOLE)
    assert read_array(tmp_path / "a.npy", "labels").tolist() == np.arange(12).reshape(3, 4).tolist()


@pytest.mark.parametrize(
    "content",
    [None, b"", WHOLE[:20], WHOLE[:-3], pickle.dumps([1]), _npy(np.array([{}], object))],
    ids=["missing", "empty", "half a header", "cut short", "a pickle", "objects"],
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


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 127), st.binary(min_size=1, max_size=8))
def test_a_damaged_header_is_read_or_said(
    tmp_path_factory: pytest.TempPathFactory, at: int, put: bytes
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.npy"
    path.write_bytes(WHOLE[:at] + put + WHOLE[at + len(put) :])
    with suppress(SourceError):  # any other exception fails
        assert isinstance(read_array(path, "labels"), np.ndarray)
