"""The Python program of docs/native.md, as it stands there (test_build.py has the one in C)."""

import subprocess
import sys
from pathlib import Path

import pytest
from vadfast_kernels import _native

ROOT = Path(__file__).resolve().parents[2]

if (reason := _native.refusal()) is not None:
    pytest.skip(f"no compiled module: it {reason}", allow_module_level=True)


def test_the_python_program_of_the_documentation_says_what_is_written_there() -> None:
    text = (ROOT / "docs" / "native.md").read_text()
    program = text.split("```python\n")[1].split("```")[0]
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT / "kernels",
    )
    events = done.stdout.splitlines()
    assert [line.split()[1] for line in events] == ["start", "end"]
    assert f"It prints `{events[0]}` and `{events[1]}`" in text
