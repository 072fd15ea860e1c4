"""Imports point one way, and the lean doors stay lean."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("vadfast", ("torch", "numpy", "cv2", "pydantic")),
        ("vadfast.runtime.session", ("torch", "matplotlib")),
        ("vadfast.runtime.engine", ("torch", "matplotlib")),
        ("vadfast.score.__main__", ("torch", "matplotlib")),
        ("vadfast.data.datasets", ("torch",)),
    ],
)
def test_importing_loads_nothing_it_does_not_need(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def _imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize(
    ("part", "never"),
    [
        (
            "runtime",
            (
                "torch",
                "vadfast.models",
                "vadfast.train",
                "vadfast.compile",
                "vadfast.evaluate",
                "vadfast.data",
            ),
        ),
        (
            "data",
            ("torch", "vadfast.models", "vadfast.train", "vadfast.compile", "vadfast.evaluate"),
        ),
        (
            "score",
            ("torch", "vadfast.models", "vadfast.train", "vadfast.compile", "vadfast.evaluate"),
        ),
        ("doctor", ("vadfast.models", "vadfast.train", "vadfast.compile", "vadfast.evaluate")),
        ("models", ("vadfast.compile", "vadfast.evaluate", "vadfast.score")),
    ],
)
def test_imports_point_one_way(part: str, never: tuple[str, ...]) -> None:
    files = sorted((ROOT / "vadfast" / part).rglob("*.py"))
    assert files
    for file in files:
        for name in _imports(file):
            assert not any(name == n or name.startswith(f"{n}.") for n in never), f"{file}: {name}"
