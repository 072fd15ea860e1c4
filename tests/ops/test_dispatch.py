"""Dispatch: a named backend runs or raises, ``auto`` says once what it took, and every refusal has its sentence."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from vadfast_kernels import _op, ops
from vadfast_kernels._op import Backend, Operator

ROOT = Path(__file__).parents[2]
OPERATOR = Operator(
    "thing",
    (
        Backend("fast", "json", lambda n: "takes at most 3" if n > 3 else None),
        Backend("slow", "math", lambda n: "takes at most 9" if n > 9 else None),
    ),
)


def test_auto_takes_the_first_that_can_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    _op._say_once.cache_clear()
    with caplog.at_level(logging.INFO, "vadfast"):
        names = [OPERATOR.implementation("auto", n).__name__ for n in (1, 5, 5, 6)]
    assert names == ["json", "math", "math", "math"]
    assert caplog.messages == ["thing: fast", "thing: slow (fast takes at most 3)"]


def test_nothing_fits() -> None:
    with pytest.raises(ops.BackendError, match="fast takes at most 3; slow takes at most 9"):
        OPERATOR.implementation("auto", 10)


def test_a_named_backend_is_taken_or_refused() -> None:
    assert OPERATOR.implementation("slow", 1).__name__ == "math"
    with pytest.raises(ops.BackendError, match="thing: backend 'fast' takes at most 3"):
        OPERATOR.implementation("fast", 4)
    with pytest.raises(ValueError, match="backend must be one of auto, fast, slow, got 'x'"):
        OPERATOR.implementation("x", 1)


def test_explain_has_a_verdict_for_each() -> None:
    assert [(v.backend, v.reason, v.chosen) for v in OPERATOR.explain(5)] == [
        ("fast", "takes at most 3", False),
        ("slow", "", True),
    ]


def test_importing_the_package_loads_neither_torch_nor_triton() -> None:
    code = "import sys, vadfast_kernels; print([m for m in ('torch', 'triton', 'vadfast') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT / "kernels",
    )
    assert done.stdout.strip() == "[]"


def test_the_kernels_never_import_the_product() -> None:
    for file in (ROOT / "kernels").rglob("*.py"):
        for line in file.read_text().splitlines():
            assert not line.strip().startswith(("from vadfast.", "import vadfast.")), (
                f"{file}: {line}"
            )


def test_an_unknown_operator_is_named() -> None:
    with pytest.raises(AttributeError, match=r"vadfast_kernels\.ops has no 'psnr2'"):
        ops.psnr2  # noqa: B018
