"""What is no Python file must be named to be installed: a page's template that only the checkout has is found out by a user."""

from pathlib import Path

import pytest
from setuptools import Distribution

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("packages", "folder", "wanted"),
    [
        (["vadfast.compile", "vadfast"], "vadfast", {"py.typed", "report.html"}),
        (["vadfast_kernels"], "kernels/vadfast_kernels", {"py.typed"}),
    ],
)
def test_every_other_file_of_the_package_is_installed(
    packages: list[str], folder: str, wanted: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    distribution = Distribution({"packages": packages})
    distribution.parse_config_files()
    distribution.include_package_data = False  # what a manifest of sources would add: there is none
    build = distribution.get_command_obj("build_py")
    build.ensure_finalized()
    installed = {
        (Path(place) / file).resolve()
        for package, place, _, files in build.data_files
        for file in (package and files) or ()
    }
    there = {
        path
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".so")  # which CMake builds
    }
    assert {path.name for path in there} >= wanted
    assert there <= installed
