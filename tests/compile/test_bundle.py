"""Writing a bundle: sealed so that the runtime's reader accepts it, whole or not at all, never over something else."""

import errno
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.compile.tiny import SPEC, manifest
from vadfast.compile.bundle import GoldenWindows, check_target, choose_golden, seal, write_bundle
from vadfast.compile.signing import open_key
from vadfast.compile.windows import Run
from vadfast.errors import UsageError
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.manifest import Manifest


def _golden() -> GoldenWindows:
    return GoldenWindows(np.zeros((2, 3, 16, 24, 3), np.uint8), np.zeros((2, 1), np.float32))


def write(out: Path, folder: Path, content: bytes = b"model") -> Manifest:
    (folder / "model.onnx").write_bytes(content)
    return write_bundle(
        out, manifest(), folder=folder, files=["model.onnx"], golden=_golden(), key=open_key(None)
    )


def test_the_reader_accepts_what_the_writer_seals(tmp_path: Path) -> None:
    sealed = write(tmp_path / "a.vad", tmp_path)
    bundle = open_bundle(tmp_path / "a.vad")
    assert bundle.manifest == sealed
    told = {name for name in sealed.files if not name.startswith("licences/")}
    assert told == {"model.onnx", "golden/frames.npy", "golden/components.npy", "sbom.cdx.json"}
    assert sealed.files["model.onnx"].sha256 == hashlib.sha256(b"model").hexdigest()


def test_sealing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a.vad", tmp_path)
    before = (tmp_path / "a.vad" / "manifest.json").read_bytes()
    seal(tmp_path / "a.vad", manifest(), open_key(None))
    assert (tmp_path / "a.vad" / "manifest.json").read_bytes() == before


def test_an_existing_bundle_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "a.vad", tmp_path)
    (tmp_path / "a.vad" / "stray").write_text("old")
    write(tmp_path / "a.vad", tmp_path, b"new model")
    assert open_bundle(tmp_path / "a.vad").file("model.onnx").read_bytes() == b"new model"
    assert {p.name for p in tmp_path.iterdir()} == {"a.vad", "model.onnx"}


def test_a_full_disk_leaves_the_old_bundle_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.vad", tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "a.vad", tmp_path, b"new model")
    assert open_bundle(tmp_path / "a.vad").file("model.onnx").read_bytes() == b"model"
    assert {p.name for p in tmp_path.iterdir()} == {"a.vad", "model.onnx"}


def test_a_target_that_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_text("film")
    with pytest.raises(UsageError, match="got a file"):
        check_target(tmp_path / "film.mp4")
    (tmp_path / "films").mkdir()
    shutil.copy(tmp_path / "film.mp4", tmp_path / "films")
    with pytest.raises(UsageError, match="is not a bundle, so it is not replaced"):
        check_target(tmp_path / "films")
    with pytest.raises(UsageError, match="must be a folder that can be written to"):
        check_target(tmp_path / "film.mp4" / "a.vad")
    write(tmp_path / "a.vad", tmp_path)
    check_target(tmp_path / "a.vad")
    check_target(tmp_path / "new" / "b.vad")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("median_ms", "n"), [(0.5, 8), (150.0, 5), (5000.0, 2)])
def test_golden_windows_are_normal_distinct_and_quick_to_check(
    runs: list[Run], median_ms: float, n: int
) -> None:
    components = [
        np.arange(100 * r, 100 * r + len(run), dtype=np.float32)[:, None]
        for r, run in enumerate(runs)
    ]
    golden = choose_golden(runs, components, median_ms=median_ms)
    assert golden.frames.shape == (n, 3, 16, 24, 3)
    chosen = [divmod(int(c), 100) for c in golden.components[:, 0]]
    assert len(set(chosen)) == n
    assert {r for r, _ in chosen} == {2, 3}  # both normal runs, no labelled one
    for frames, (r, i) in zip(golden.frames, chosen, strict=True):
        np.testing.assert_array_equal(frames, runs[r].frames[i : i + SPEC.n_frames])
