"""Zipped bundles: the same bytes as the folder, and no archive that does more than hold them."""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tiny_bundle import manifest_values, seal
from vadfast.errors import BundleError
from vadfast.runtime import bundle
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.zipped import Archive, opened, pack


def _refused(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        open_bundle(path)
    message = str(caught.value)
    assert str(path) in message
    assert "vadfast-bundle-" not in message  # the user knows the archive, not where it was unpacked
    return message


def test_it_is_the_same_bundle_and_leaves_nothing_behind(pristine: Path, archive: Path) -> None:
    opened, plain = open_bundle(archive), open_bundle(pristine)
    assert opened.manifest == plain.manifest
    for name in plain.manifest.files:
        assert opened.file(name).read_bytes() == plain.file(name).read_bytes()
    where = opened.path
    del opened
    assert not where.exists()


def test_equal_bundles_are_equal_files(pristine: Path, archive: Path, tmp_path: Path) -> None:
    pack(pristine, tmp_path / "again.vad.zip")
    assert (tmp_path / "again.vad.zip").read_bytes() == archive.read_bytes()


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside", "a\\b", "c:x"])
def test_names_that_leave_the_bundle_are_refused(archive: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(archive, "a") as stored:
        stored.writestr(zipfile.ZipInfo(name), b"x")
    assert "leaves the bundle" in _refused(archive)
    with pytest.raises(BundleError, match="leaves the bundle"), opened(archive):
        pass
    assert {p.name for p in tmp_path.rglob("*")} == {"tiny.vad.zip"}


def test_what_zip_itself_makes_opens(pristine: Path, tmp_path: Path) -> None:
    """``zip -0 -r`` writes an entry for each folder too."""
    path = tmp_path / "tiny.vad.zip"
    with zipfile.ZipFile(path, "w") as stored:
        for entry in sorted(pristine.rglob("*")):
            stored.write(entry, entry.relative_to(pristine).as_posix())
    assert open_bundle(path).manifest == open_bundle(pristine).manifest


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model.onnx", "holds a name twice"),
        ("model.onnx/inside", "cannot be written"),
        ("x" * 300, "cannot be written"),
    ],
)
def test_names_that_cannot_be_are_refused(
    pristine: Path, tmp_path: Path, name: str, words: str
) -> None:
    """Also of a manifest that somebody signed."""
    folder, path = shutil.copytree(pristine, tmp_path / "odd.vad"), tmp_path / "odd.vad.zip"
    record = {"sha256": hashlib.sha256(b"x").hexdigest(), "size": 1}
    files = json.loads((folder / "manifest.json").read_text())["files"]
    seal(folder, manifest_values(files=files | {name: record}))
    pack(folder, path)
    with zipfile.ZipFile(path, "a") as stored:
        stored.writestr(zipfile.ZipInfo(name), b"x")
    assert words in _refused(path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"SIGNATURE": None}, "must be signed"),
        ({"SIGNATURE": b"nobody"}, "SIGNATURE must be two lines"),
        ({"manifest.json": b"{}"}, "somebody changed one"),
        ({"manifest.sha256": b"0"}, "do not belong together"),
        ({"model.onnx": bytes(1 << 20)}, "model.onnx must have"),
        ({"model.onnx": None}, "model.onnx is missing"),
        ({"more": bytes(1 << 20)}, "more does not belong to the bundle"),
    ],
)
def test_nothing_is_unpacked_before_the_seals_and_the_sizes_are_right(
    pristine: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, bytes | None],
    words: str,
) -> None:
    contents = {
        p.relative_to(pristine).as_posix(): p.read_bytes()
        for p in pristine.rglob("*")
        if p.is_file()
    }
    path = tmp_path / "tiny.vad.zip"
    with zipfile.ZipFile(path, "w") as stored:
        for name, content in (contents | changed).items():
            if content is not None:
                stored.writestr(name, content)
    monkeypatch.setattr(Archive, "unpack", lambda *_: pytest.fail("it was unpacked"))
    if "manifest.json" in changed:
        monkeypatch.setattr(bundle, "_parse", lambda *_: pytest.fail("it was parsed"))
    assert words in _refused(path)


def test_the_seals_are_not_unpacked(archive: Path) -> None:
    folder = open_bundle(archive).path
    assert not [name for name in bundle.SEALS if (folder / name).exists()]


def test_compressed_entries_are_refused(pristine: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.vad.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as stored:
        stored.writestr("model.onnx", bytes(1 << 20))
    assert "more than its own size" in _refused(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as stored:
        stored.writestr("model.onnx", b"x")
    assert "must be stored" in _refused(path)


def test_a_changed_file_is_named(pristine: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.vad.zip"
    with zipfile.ZipFile(path, "w") as stored:
        for file in sorted(p for p in pristine.rglob("*") if p.is_file()):
            content = file.read_bytes()
            if file.name == "model.onnx":
                content = content[:-1] + bytes([content[-1] ^ 1])
            stored.writestr(file.relative_to(pristine).as_posix(), content)
    assert "model.onnx was changed" in _refused(path)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_damage_does_more_than_raise(archive: Path, data: st.DataObject) -> None:
    content = archive.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["cut", "flip", "insert"]))
    byte = data.draw(st.integers(1, 255))
    if kind == "cut":
        damaged = content[:place]
    elif kind == "flip":
        damaged = content[:place] + bytes([content[place] ^ byte]) + content[place + 1 :]
    else:
        damaged = content[:place] + bytes([byte]) + content[place:]
    path = archive.with_name("damaged.vad.zip")
    path.write_bytes(damaged)
    message, opened = "", None
    try:
        opened = open_bundle(path)
    except BundleError as error:
        message = str(error)
    if opened is None:
        assert str(path) in message
    else:  # a byte that means nothing, such as a time stamp: then every file is as it was sealed
        assert opened.manifest == open_bundle(archive).manifest
