"""Which library lends the native core PyTorch's threads."""

from pathlib import Path

import pytest
import torch
from vadfast_kernels._threads import gomp_parallel

find = gomp_parallel.__wrapped__


@pytest.mark.parametrize("name", ["libcomposite.so", "libgomp.so.1", "libomp-1a2b.so", "libiomp5.so"])  # fmt: skip
def test_a_file_that_is_no_library_is_none(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / name).write_text("not one")
    monkeypatch.setattr(torch, "__file__", str(tmp_path / "__init__.py"))
    assert find() == 0


def test_only_openmp_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is not OpenMP's would run its own start-up code here."""
    loaded: list[str] = []
    monkeypatch.setattr("ctypes.CDLL", lambda name: loaded.append(Path(name).name))
    (tmp_path / "lib").mkdir()
    names = ["libcomposite.so", "libgomp-a34b3233.so.1", "libiomp5.so", "libompi.so", "libgomp.txt"]
    for name in names:
        (tmp_path / "lib" / name).touch()
    monkeypatch.setattr(torch, "__file__", str(tmp_path / "__init__.py"))
    assert find() == 0
    assert loaded == ["libgomp-a34b3233.so.1", "libiomp5.so"]
