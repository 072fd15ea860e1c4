"""Zipped bundles that lie: about sizes, names, kinds and what is inside; and seals that are larger than any."""

import json
import stat
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import damaged
from tests.tiny_bundle import make_bundle
from vadfast.errors import BundleError
from vadfast.runtime.bundle import MAX_MANIFEST_BYTES, open_bundle, takes

_LOCAL, _CENTRAL = b"PK\x03\x04", b"PK\x01\x02"


def _refused(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        open_bundle(path)
    assert takes(path) == "frames"
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def _peak_mb(path: Path) -> float:
    tracemalloc.start()
    try:
        _refused(path)
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def _patched(path: Path, name: str, *, local: dict[int, bytes], central: dict[int, bytes]) -> None:
    """Puts bytes at offsets of both headers of the file ``name``."""
    content = bytearray(path.read_bytes())
    for mark, changes, length in ((_LOCAL, local, 30), (_CENTRAL, central, 46)):
        at = content.find(mark)
        while content[at + length : at + length + len(name)] != name.encode():
            at = content.index(mark, at + 1)
        for offset, new in changes.items():
            content[at + offset : at + offset + len(new)] = new
    path.write_bytes(content)


def test_cut_at_every_place_it_is_refused(archive: Path) -> None:
    content = archive.read_bytes()
    for length in [*range(0, len(content), 97), *range(len(content) - 40, len(content))]:
        archive.write_bytes(content[:length])
        _refused(archive)
    archive.write_bytes(content)
    assert open_bundle(archive).manifest.method == "tiny"


@pytest.mark.parametrize("size", [1 << 20, (1 << 32) - 2])
@pytest.mark.parametrize("which", ["file", "both"])
def test_a_declared_size_is_no_memory(archive: Path, size: int, which: str) -> None:
    said = struct.pack("<I", size)
    central = {24: said} if which == "file" else {20: said, 24: said}
    _patched(archive, "model.onnx", local={}, central=central)
    assert _peak_mb(archive) < 20


def test_what_swells_is_refused_unread(pristine: Path, archive: Path) -> None:
    """64 MB of zeros in 64 kB: as manifest.json, which is read before anybody has signed for it."""
    for name in ("manifest.json", "model.onnx"):
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as stored:
            for file in sorted(p for p in pristine.rglob("*") if p.is_file()):
                place = file.relative_to(pristine).as_posix()
                stored.writestr(place, bytes(64 << 20) if place == name else file.read_bytes())
        assert _peak_mb(archive) < 20


def test_the_same_bytes_under_many_names_do_not_fill_a_disk(archive: Path) -> None:
    """Entries of the directory that all point at one file: together they say more than the archive has."""
    content = archive.read_bytes()
    at, end = content.index(_CENTRAL), content.rindex(b"PK\x05\x06")
    with zipfile.ZipFile(archive) as stored:
        largest = max(stored.infolist(), key=lambda record: record.file_size)
    name = largest.filename.encode()
    entry = content[content.rindex(name, at, end) - 46 :][: 46 + len(name)]
    assert entry.startswith(_CENTRAL)
    n = 4 * len(content) // largest.file_size
    entries = b"".join(entry[:46] + f"{i:0{len(name)}}".encode() for i in range(n))
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, n, n, len(entries), at, 0)
    archive.write_bytes(content[:at] + entries + tail)
    assert "more than its own size" in _refused(archive)


def test_a_million_empty_files_are_not_made(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a") as stored:
        for i in range(1200):
            stored.writestr(zipfile.ZipInfo(f"empty/{i}"), b"")
    assert "1206 files, a bundle has 1000 at most" in _refused(archive)


def test_an_entry_without_a_name_is_refused(archive: Path) -> None:
    content = archive.read_bytes()
    at = content.index(_CENTRAL)
    archive.write_bytes(content[: at + 28] + b"\0\0" + content[at + 30 :])
    _refused(archive)
    with zipfile.ZipFile(archive, "w") as stored:
        stored.writestr(zipfile.ZipInfo("x"), b"")
    _patched(archive, "x", local={}, central={28: b"\0\0", 30: b"\1\0"})
    assert "holds the name ''" in _refused(archive)


def test_a_link_in_an_archive_is_no_link(pristine: Path, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    with zipfile.ZipFile(archive, "w") as stored:
        for file in sorted(p for p in pristine.rglob("*") if p.is_file()):
            name = file.relative_to(pristine).as_posix()
            record = zipfile.ZipInfo(name)
            if name == "model.onnx":
                record.external_attr = (stat.S_IFLNK | 0o777) << 16
                stored.writestr(record, str(tmp_path / "secret"))
            else:
                stored.writestr(record, file.read_bytes())
    assert "model.onnx must have" in _refused(archive)
    with zipfile.ZipFile(archive, "a") as stored:
        record = zipfile.ZipInfo("extra")
        record.external_attr = (stat.S_IFLNK | 0o777) << 16
        stored.writestr(record, "/etc/passwd")
    _refused(archive)


def test_a_list_of_contents_that_points_before_the_file_is_refused(archive: Path) -> None:
    content = archive.read_bytes()
    place = struct.unpack("<I", content[-6:-2])[0] + 1000
    archive.write_bytes(content[:-6] + struct.pack("<I", place) + content[-2:])
    assert "is not a whole zip file" in _refused(archive)


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("name", ["manifest.json", "model.onnx"])
def test_encrypted_entries_are_refused(archive: Path, local: bool, name: str) -> None:
    flag = struct.pack("<H", 1)
    _patched(archive, name, local={6: flag} if local else {}, central={8: flag})
    assert "is compressed or encrypted" in _refused(archive)


@pytest.mark.parametrize("method", [1, 8, 12, 14, 93, 99, 65535])
def test_a_method_that_only_one_header_names_is_refused_or_nothing(
    archive: Path, method: int
) -> None:
    said = struct.pack("<H", method)
    _patched(archive, "manifest.json", local={}, central={10: said})
    _refused(archive)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damage_of_the_directory_does_no_more_than_raise(
    archive: Path, data: st.DataObject
) -> None:
    content = archive.read_bytes()
    at = content.index(_CENTRAL)
    path = archive.with_name("damaged.vad.zip")
    path.write_bytes(content[:at] + data.draw(damaged(content[at:])))
    assert takes(path) == "frames"
    try:
        assert open_bundle(path).manifest.method == "tiny"
    except BundleError as error:
        assert str(path) in str(error)  # noqa: PT017 (it need not be raised)
    assert {p.name for p in path.parent.iterdir()} <= {"damaged.vad.zip", "tiny.vad.zip"}


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256", "SIGNATURE"])
def test_a_seal_larger_than_any_is_not_read(tmp_path: Path, name: str) -> None:
    bundle = make_bundle(tmp_path / "tiny.vad")
    with (bundle / name).open("wb") as file:
        file.truncate(8 << 30)  # a hole: it takes no disk
    assert _peak_mb(bundle) < 2.2 * MAX_MANIFEST_BYTES / 1e6


def test_bags_are_told_from_frames_in_an_archive_too(pristine: Path, tmp_path: Path) -> None:
    path = tmp_path / "bags.vad.zip"
    with zipfile.ZipFile(path, "w") as stored:
        stored.writestr("manifest.json", json.dumps({"takes": "bags"}))
    assert takes(path) == "bags"
