"""Shared libraries of others in a wheel: found by its list of files on every system, and a licence never guessed."""

import hashlib
from pathlib import Path

import pytest

from tests.compile.made_package import install
from vadfast.compile.copyleft import copyleft
from vadfast.compile.shared_libraries import libraries_of, parse_name


@pytest.mark.parametrize(
    ("file", "name", "version"),
    [
        ("libx264-d6533a8d.so.165", "libx264", "165"),
        ("libgfortran-040039e1-0352e75f.so.5.0.0", "libgfortran", "5.0.0"),  # repaired twice
        ("libopenblasp-r0-59ffcd50.3.15.so", "libopenblasp", "0.3.15"),
        ("libscipy_openblas64_-fdde5778.so", "libscipy_openblas64_", None),
        ("libxcb-shape-7716c890.so.0.0.0", "libxcb-shape", "0.0.0"),
        ("libtbb.so.12", "libtbb", "12"),
        ("libx264.165.dylib", "libx264", "165"),
        ("libavcodec.62.28.102.dylib", "libavcodec", "62.28.102"),
        ("avcodec-62-0a1b2c3d4e5f60718293a4b5c6d7e8f9.dll", "avcodec", "62"),
        ("libgcc_s_seh-1.dll", "libgcc_s_seh", "1"),
    ],
)
def test_names_of_linux_macos_and_windows(file: str, name: str, version: str | None) -> None:
    assert parse_name(file) == (name, version)


@pytest.mark.parametrize(
    "file",
    ["cv2.abi3.so", "_core.cpython-311-x86_64-linux-gnu.so", "_core.cp311-win_amd64.pyd", "so.py", "README.so.md"],
)  # fmt: skip
def test_modules_of_python_are_the_packages_own(file: str) -> None:
    assert parse_name(file) is None


def test_gathered_libraries_are_all_listed_and_of_the_packages_own_files_those_that_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "made.libs/libx265-f5385bb8.so.216": b"x265",
        "made.libs/libnobody-0a1b2c3d.so.1": b"nobody",
        "made.libs/libavcodec-5e6b81c2.so.62": b"\0libavcodec license: GPL version 3 or later\0",
        "made.libs/libswscale-5e6b81c2.so.9": b"libswscale license: nonfree and unredistributable\0",
        "made.libs/libavutil-5e6b81c2.so.60": b"\0libavutil license: LGPL version 9\0",
        "made/libs/libtbb.so.12": b"tbb",
        "made/libs/libmade.so": b"own",
        "made/_core.cpython-311-x86_64-linux-gnu.so": b"own",
    }
    install(tmp_path, "made", files=files)
    monkeypatch.syspath_prepend(tmp_path)
    found = libraries_of("made")
    assert found is not None
    licences = {one.name: one.known and one.known.licence for one in found}
    assert licences == {
        "libx265": "GPL-2.0-or-later",
        "libnobody": None,
        "libavcodec": "GPL-3.0-or-later",  # what the file says of itself
        "libswscale": "LicenseRef-FFmpeg-nonfree",
        "libavutil": None,
        "libtbb": "Apache-2.0",
    }
    for one in found:
        assert one.sha256 == hashlib.sha256(files[one.path]).hexdigest()


def test_a_package_without_a_list_of_files_is_not_said_to_carry_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "made", files={})
    (tmp_path / "made-1.0.dist-info" / "RECORD").unlink()
    monkeypatch.syspath_prepend(tmp_path)
    assert libraries_of("made") is None


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("GPL-2.0-or-later", "GPL"),
        ("AGPL-3.0-only", "GPL"),
        ("MIT AND GPL-3.0-only", "GPL"),
        ("LGPL-2.1-or-later", "LGPL"),
        ("LGPL-3.0-or-later OR GPL-2.0-or-later", "LGPL"),
        ("BSD-3-Clause OR GPL-2.0-only", None),
        ("GPL-3.0-or-later WITH GCC-exception-3.1", None),
        ("Apache-2.0", None),
        ("", None),
    ],
)
def test_copyleft_is_the_least_that_a_choice_leaves(expression: str, kind: str | None) -> None:
    assert copyleft(expression) == kind
