"""The line on GPL and LGPL code is drawn from the bill that was written, of a folder or a zipped bundle."""

import json
from pathlib import Path

import pytest

from tests.compile.test_bundle import write
from vadfast.compile.copyleft import copyleft_words
from vadfast.compile.sbom import SBOM


@pytest.mark.parametrize("name", ["tiny.vad", "tiny.vad.zip"])
def test_the_line_names_who_brings_what(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, tmp_path)
    words = copyleft_words(tmp_path / name)
    assert words is not None
    assert "GPL code (av: libx264, libx265)" in words
    assert "LGPL code (av, " in words  # numpy and scipy too, where their wheels hold libquadmath
    assert "\n" not in words


def test_permissive_code_alone_gives_no_line(tmp_path: Path) -> None:
    part = {"name": "libz", "licenses": [{"expression": "Zlib"}]}
    package = {"name": "a", "licenses": [{"license": {"name": "BSD"}}], "components": [part]}
    (tmp_path / SBOM).write_text(json.dumps({"components": [package, {"name": "model.onnx"}]}))
    assert copyleft_words(tmp_path) is None


def test_a_package_that_is_copyleft_itself_is_named(tmp_path: Path) -> None:
    package = {"name": "a", "licenses": [{"license": {"id": "GPL-3.0-only"}}]}
    (tmp_path / SBOM).write_text(json.dumps({"components": [package]}))
    assert "GPL code (a)" in str(copyleft_words(tmp_path))
