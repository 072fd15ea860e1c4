"""What packages say of their licences, in the forms that are about: expressions, free words, whole texts, classifiers, nothing."""

import warnings
from importlib import metadata
from pathlib import Path

import pytest
from packaging.licenses import canonicalize_license_expression

from tests.compile.made_package import install
from vadfast.compile import known_licences
from vadfast.compile.licences import licence, licence_texts, words_of
from vadfast.compile.shared_libraries import libraries_of

BSD_FAMILY = "Classifier: License :: OSI Approved :: BSD License\n"
MIT = "Classifier: License :: OSI Approved :: MIT License\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("headers", "spdx", "words"),
    [
        ("License-Expression: mit or apache-2.0\n", "MIT OR Apache-2.0", None),
        ("License-Expression: BSD-3-Clause\nLicense: something else\n", "BSD-3-Clause", None),
        (f"License: BSD-3-Clause\n{BSD_FAMILY}", "BSD-3-Clause", None),
        ("License: Apache 2.0\n", "Apache-2.0", None),
        (MIT, "MIT", None),
        # A whole text: its title may be a name, its words are none.
        (f"License: BSD 3-Clause License\n        \n        Copyright us\n{BSD_FAMILY}", "BSD-3-Clause", None),
        (f"License: Copyright us\n        All rights reserved.\n{BSD_FAMILY}", None, "BSD License"),
        # A family, two at once, and words that nobody defined are not turned into one licence.
        (BSD_FAMILY, None, "BSD License"),
        (f"License: BSD-3\n{BSD_FAMILY}", None, "BSD-3"),
        (MIT + BSD_FAMILY, None, "MIT License; BSD License"),
        ("License: Proprietary\n", None, "Proprietary"),
        ("", None, None),
    ],
)  # fmt: skip
def test_a_declared_licence(site: Path, headers: str, spdx: str | None, words: str | None) -> None:
    install(site, "made", files={}, headers=headers)
    found = licence("made")
    assert (found.spdx, found.words, found.known) == (spdx, words, None)


def test_what_mnn_says_is_not_what_its_project_says() -> None:
    found = licence("mnn")
    assert found.known is not None
    assert found.known.licence == "Apache-2.0"
    assert found.words == metadata.metadata("mnn")["License"]


def test_every_text_of_a_package_is_taken_once_and_no_code(site: Path) -> None:
    inside = "made-1.0.dist-info/licenses"
    install(
        site,
        "made",
        files={
            f"{inside}/LICENSE": b"see LICENSE.APACHE and LICENSE.BSD",
            f"{inside}/LICENSE.APACHE": b"apache",
            f"{inside}/LICENSE.BSD": b"bsd \xff",  # not everybody writes UTF-8
            f"{inside}/AUTHORS.rst": b"we",
            f"{inside}/AUTHORS.py": b"print()",
            "made/LICENSE": b"apache",
            "made/ThirdPartyNotices.txt": b"notices",
            "made/part/COPYING_PART.txt": b"part",
            "made/license.py": b"code",
            "made/empty/NOTICE": b"",
        },
    )
    assert licence_texts("made") == {
        f"{inside}/AUTHORS.rst": b"we",
        f"{inside}/LICENSE": b"see LICENSE.APACHE and LICENSE.BSD",
        f"{inside}/LICENSE.APACHE": b"apache",
        f"{inside}/LICENSE.BSD": b"bsd \xff",
        "made/ThirdPartyNotices.txt": b"notices",
        "made/part/COPYING_PART.txt": b"part",
    }
    assert b"bsd \xff" in words_of("made", "1.0", [])


def test_a_source_tree_has_the_text_beside_its_metadata(site: Path) -> None:
    (site / "made.egg-info").mkdir()
    about = "Metadata-Version: 2.4\nName: made\nVersion: 1.0\nLicense-File: LICENSE\n"
    (site / "made.egg-info" / "PKG-INFO").write_text(about)
    (site / "LICENSE").write_bytes(b"ours")
    assert licence_texts("made") == {"LICENSE": b"ours"}


def test_a_package_without_a_text_is_said_to_have_none(site: Path) -> None:
    install(site, "made", files={}, headers=MIT)
    assert (
        words_of("made", "1.0", []) == b"made 1.0 brings no licence text. Its metadata say: MIT.\n"
    )


@pytest.mark.parametrize(
    ("package", "wanted"),
    [
        ("vadfast", b"Apache License"),
        ("onnxruntime", b"MIT License"),
        ("onnxruntime", b"== onnxruntime/ThirdPartyNotices.txt =="),
        ("cryptography", b"Apache License"),
        ("cryptography", b"Redistribution and use in source and binary forms"),
        ("mnn", b"brings no licence text"),
        ("av", b": GPL-2.0-or-later (https://code.videolan.org/videolan/x264"),
    ],
)
def test_the_texts_of_what_runs_a_bundle(package: str, wanted: bytes) -> None:
    found = words_of(package, metadata.version(package), libraries_of(package) or [])
    assert wanted in found


def test_all_known_licences_are_spdx_and_have_a_source() -> None:
    tables = [*known_licences._LIBRARIES.values(), *known_licences._PACKAGES.values()]
    for known in tables:
        assert canonicalize_license_expression(known.licence) == known.licence
        assert known.source.startswith(("https://", "http://"))


def test_the_packages_whose_licence_is_concluded_bring_such_a_text() -> None:
    marks = {"BSD-3-Clause": b"Neither", "Apache-2.0": b"Apache License"}
    read = 0
    for name, known in known_licences._PACKAGES.items():
        try:
            texts = licence_texts(name)
        except metadata.PackageNotFoundError:
            warnings.warn(f"{name} is not installed", stacklevel=1)
            continue
        if texts:
            read += 1
            # Mpmath and SymPy letter their conditions, with "Neither the name of" in the third.
            assert any(marks[known.licence] in text for text in texts.values()), name
    assert read >= 5
