"""A package made in a process of its own: it is the program's, a failure comes back as one sentence, and nothing is left running."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from tests.compile.tiny import SPEC, TinyScorer
from vadfast.compile.aot_package import Packaging
from vadfast.compile.backends import Workshop
from vadfast.compile.backends.inductor import InductorBackend
from vadfast.errors import BackendError
from vadfast.models.eager import EagerEngine

FRAMES = torch.zeros((1, SPEC.n_frames, SPEC.height, SPEC.width, 3), dtype=torch.uint8)


def _program() -> torch.export.ExportedProgram:
    return torch.export.export(TinyScorer().eval(), (FRAMES,))


def _workshop(folder: Path) -> Workshop:
    torch.manual_seed(0)
    return Workshop(TinyScorer(), SPEC, None, folder)


def test_what_was_begun_is_waited_for_and_says_what_eager_says(tmp_path: Path) -> None:
    workshop, backend = _workshop(tmp_path), InductorBackend()
    begun = {backend.path("fp32"): backend.begin(workshop, "fp32", 1)}
    packaging = begun[backend.path("fp32")]
    assert packaging.running
    engine = backend.build(Workshop(workshop.scorer, SPEC, None, tmp_path, begun=begun), "fp32", 1)
    assert not packaging.running
    frames = np.random.default_rng(0).integers(0, 256, FRAMES.shape, np.uint8)
    got, wanted = engine(frames), EagerEngine(workshop.scorer, SPEC)(frames)
    np.testing.assert_allclose(got.components, wanted.components, atol=1e-4)
    np.testing.assert_allclose(got.heatmap, wanted.heatmap, atol=1e-5)


def test_a_failure_there_is_a_sentence_here(tmp_path: Path) -> None:
    target = tmp_path / "absent" / "model.pt2"
    wrong = Packaging(_program(), target, configs={"no_such_option": 1}, modules=["no_such"])
    with wrong, pytest.raises(BackendError, match=r"cannot be built here: .*no_such_option"):
        wrong.finish()
    assert not target.exists()


def test_a_process_that_was_killed_says_so(tmp_path: Path) -> None:
    with Packaging(_program(), tmp_path / "a.pt2", configs={}, modules=[]) as made:
        os.kill(_children()[0].pid, 9)
        with pytest.raises(BackendError, match="its compilation ended with exit code -9"):
            made.finish()


def test_who_leaves_early_leaves_no_process(tmp_path: Path) -> None:
    packaging = Packaging(_program(), tmp_path / "a.pt2", configs={}, modules=[])
    (process,) = _children()
    with packaging:
        assert packaging.running
    assert not psutil.pid_exists(process.pid)
    assert not (tmp_path / "a.pt2").exists()


def test_what_cannot_be_exported_is_refused_before_a_process_is_started(tmp_path: Path) -> None:
    class Branching(nn.Module):
        def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            if frames.float().mean() > 3:
                return frames[:, 0, 0, 0, :1].float(), frames[:, 0, :, :, 0].float()
            return frames[:, 0, 0, 0, 1:2].float(), frames[:, 0, :, :, 1].float()

    with pytest.raises(BackendError, match="cannot be built here: "):
        InductorBackend().begin(Workshop(Branching(), SPEC, None, tmp_path), "fp32", 1)
    assert not _children()


_STOPPED = """
import sys, time
from pathlib import Path
from tests.compile.test_aot_package import _program
from vadfast.cli import run_command
from vadfast.compile.aot_package import Packaging

def command() -> None:
    with Packaging(_program(), Path(sys.argv[1]), configs={}, modules=[]):
        print("begun", flush=True)
        time.sleep(120)

run_command(command, name="compile", arguments=[])
"""


def test_a_command_that_is_stopped_takes_its_compilers_along(tmp_path: Path) -> None:
    """SIGTERM, as of systemd or CI, while C++ is compiled beside it."""
    command = [sys.executable, "-c", _STOPPED, str(tmp_path / "a.pt2")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        (child,) = psutil.Process(process.pid).children()
        process.terminate()
        assert process.wait(60) == 143
    assert not psutil.pid_exists(child.pid)


def _children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "aot_package" in " ".join(p.cmdline())]
