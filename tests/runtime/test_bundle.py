"""Opening bundles: a valid one opens; no changed byte, name, link or number gets past the seal."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tiny_bundle import artefact, manifest_values, seal
from vadfast.compile.signing import open_key, sign
from vadfast.errors import BundleError
from vadfast.runtime.bundle import open_bundle


def _refused(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        open_bundle(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_a_valid_bundle_opens_and_knows_its_files(bundle: Path) -> None:
    opened = open_bundle(bundle)
    assert opened.manifest.method == "tiny"
    assert opened.file(opened.manifest.model).read_bytes() == (bundle / "model.onnx").read_bytes()


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256", "SIGNATURE", "model.onnx"])
def test_no_single_changed_byte_gets_past(bundle: Path, name: str) -> None:
    file = bundle / name
    content = file.read_bytes()
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        file.write_bytes(changed)
        assert name in _refused(bundle), position
    file.write_bytes(content)
    assert open_bundle(bundle).manifest.method == "tiny"


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_cut_inserted_or_changed_bytes_get_past(bundle: Path, data: st.DataObject) -> None:
    files = sorted(file for file in bundle.rglob("*") if file.is_file())
    file = data.draw(st.sampled_from(files))
    content = file.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    changed = content[:start] + data.draw(st.binary(max_size=8)) + content[end:]
    file.write_bytes(changed)
    try:
        if changed == content:
            assert open_bundle(bundle).manifest.method == "tiny"
        else:
            assert file.name in _refused(bundle)
    finally:
        file.write_bytes(content)


def test_nothing_there_a_file_and_an_empty_folder_are_no_bundles(tmp_path: Path) -> None:
    assert "got nothing" in _refused(tmp_path / "absent.vad")
    (tmp_path / "file.vad").write_bytes(b"x")
    assert "got a file" in _refused(tmp_path / "file.vad")
    (tmp_path / "empty.vad").mkdir()
    assert "manifest.json is missing" in _refused(tmp_path / "empty.vad")


@pytest.mark.parametrize(
    "name", ["manifest.json", "manifest.sha256", "SIGNATURE", "model.onnx", "golden/frames.npy"]
)
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    assert f"{name} is missing" in _refused(bundle)


@pytest.mark.parametrize("name", [".DS_Store", "golden/extra.npy", "a/b/c"])
def test_an_extra_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).parent.mkdir(parents=True, exist_ok=True)
    (bundle / name).write_bytes(b"")
    assert f"{name} does not belong to the bundle" in _refused(bundle)


@pytest.mark.parametrize("name", ["model.onnx", "golden", "manifest.json", "extra"])
def test_links_are_refused_even_to_the_right_content(bundle: Path, name: str) -> None:
    inside, outside = bundle / name, bundle.parent / "outside"
    if inside.exists():
        inside.rename(outside)
    inside.symlink_to(outside)
    assert f"{name} is a symbolic link" in _refused(bundle)


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/passwd", "golden/../../evil", "a\\..\\evil", "C:evil", "./model.onnx", "a//b",
     "", ".", "..", "manifest.json", "a\0b"],
)  # fmt: skip
def test_names_that_leave_the_bundle_are_refused(bundle: Path, name: str) -> None:
    (bundle.parent / "evil").write_bytes(b"")
    values = json.loads((bundle / "manifest.json").read_text())
    values["files"][name] = {"sha256": "0" * 64, "size": 0}
    seal(bundle, values)
    assert f"inside the bundle, got {name!r}" in _refused(bundle)


def test_a_newer_format_says_upgrade_whatever_else_it_holds(bundle: Path) -> None:
    seal(bundle, {"format_version": 7, "vadfast_version": "9.1.0", "new": ["things"]})
    assert (
        "written by vadfast 9.1.0 in format 7; this version reads up to format 1: upgrade"
        in _refused(bundle)
    )


def test_a_newer_minimum_runtime_says_upgrade(bundle: Path) -> None:
    seal(bundle, manifest_values(minimum_runtime="99.0.0"))
    assert "needs vadfast 99.0.0 or later" in _refused(bundle)
    seal(bundle, manifest_values(minimum_runtime="soon"))
    assert "must be a version" in _refused(bundle)


def _without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda values: values.pop(key)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_without("alert"), "alert is wrong"),
        (lambda v: v.update(surprise=1), "surprise is wrong"),
        (lambda v: v["input"].update(n_frames=0), "input.n_frames is wrong"),
        (lambda v: v["alert"].update(raise_count=4), "raise_count must not exceed raise_window"),
        (lambda v: v["alert"].update(clear_threshold=4.5), "clear_threshold must not exceed"),
        (lambda v: v["alert"].update(threshold="NaN"), "alert.threshold is wrong"),
        (lambda v: v.update(format_version="1x"), "format_version is wrong"),
        (lambda v: v.update(model="other.onnx"), "model must be one of its files"),
        (
            lambda v: v.update(artefacts=[artefact("openvino", path="../x")]),
            "artefacts.0.path must be",
        ),
        (lambda v: v.update(golden={"frames": "f", "components": "c"}), "golden.frames must be"),
    ],
)
def test_a_sealed_but_wrong_manifest_names_the_key(
    bundle: Path, change: Callable[[dict[str, Any]], None], named: str
) -> None:
    values = manifest_values()
    change(values)
    seal(bundle, values)
    assert named in _refused(bundle)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{", b"\xff\xfe", b"1", b"[" * 100_000, b'{"format_version": NaN}'],
)
def test_a_sealed_manifest_that_is_no_record_is_refused(bundle: Path, content: bytes) -> None:
    import hashlib

    (bundle / "manifest.json").write_bytes(content)
    (bundle / "manifest.sha256").write_text(
        f"{hashlib.sha256(content).hexdigest()}  manifest.json\n"
    )
    sign(bundle, content, open_key(None))
    assert "manifest.json" in _refused(bundle)
