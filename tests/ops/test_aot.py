"""Kernels compile for GPUs that are not here, and none spills: in a process of its own, because this one interprets them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from vadfast_kernels import aot

ROOT = Path(__file__).parents[2]


def _aot(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = str(ROOT / "kernels")
    command = [sys.executable, "-m", "vadfast_kernels.aot", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.e2e
def test_a_shape_of_apn_fits_every_architecture() -> None:
    done = _aot("--json", "-k", "L128 D16 C128 bf16 column")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {row["architecture"] for row in rows} == set(aot.ARCHITECTURES)
    assert len({row["build"] for row in rows}) == 4  # forward, dq, dk, dv
    assert all(row["registers"] > 0 and row["spill_bytes"] == 0 for row in rows)


def test_a_spill_and_too_much_shared_memory_are_faults() -> None:
    fits = aot.Resources("k", 86, 255, 0, 99 * 1024, 1)
    assert fits.faults() == []
    wrong = aot.Resources("k", 86, 255, 8, 99 * 1024 + 1, 1)
    assert wrong.faults() == [
        "spills 8 bytes of registers",
        f"needs {99 * 1024 + 1} bytes of shared memory, {99 * 1024} are there",
    ]
