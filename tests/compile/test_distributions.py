"""Which packages stand behind an import, and what they need in turn: extras, markers, circles and what is absent."""

import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.compile.made_package import install
from vadfast.compile.distributions import closure, distribution_of, version_of


def test_a_module_is_found_by_its_package_whatever_that_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert distribution_of("numpy") == "numpy"
    assert distribution_of("sklearn") == "scikit-learn"
    assert version_of("sklearn") == metadata.version("scikit-learn")
    # TensorRT of a system's own packages may have no metadata.
    monkeypatch.setitem(sys.modules, "made_module", SimpleNamespace(__version__="10.3"))
    assert distribution_of("made_module") is None
    assert version_of("made_module") == "10.3"


def test_what_packages_need_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = {
        "top": ['Mid.Dle[fast]>=1; python_version > "3"', 'never; sys_platform == "none"', 'dev; extra == "dev"'],
        "mid_dle": ['quick; extra == "fast"', 'slow; extra == "slow"', "top"],
        "quick": ["absent"],
    }  # fmt: skip
    for name, lines in needs.items():
        headers = "".join(f"Requires-Dist: {line}\n" for line in lines)
        headers += "".join(f"Provides-Extra: {extra}\n" for extra in ("dev", "fast", "slow"))
        install(tmp_path, name, files={}, headers=headers)
    monkeypatch.syspath_prepend(tmp_path)
    assert closure(["Top"]) == {
        "top": {"mid-dle"},
        "mid-dle": {"quick", "top"},
        "quick": {"absent"},
        "absent": frozenset(),
    }
