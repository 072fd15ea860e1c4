"""``vadfast.compile --target tensorrt``: a sentence where it cannot run, and where it can a bundle whose engine is built anew elsewhere."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.compile.conftest import run, scorer
from tests.compile.tiny import TinyScorer
from tests.tensorrt.conftest import Machine
from vadfast.cli import exit_code_of
from vadfast.compile import build_bundle
from vadfast.compile.__main__ import command
from vadfast.compile.backends import INT8_MODEL
from vadfast.compile.backends.tensorrt import HALF_MODEL
from vadfast.compile.plan import Options
from vadfast.errors import BackendError, GateError, UsageError
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.engine import open_engine
from vadfast.runtime.tensorrt import gpu

__all__ = ["run", "scorer"]  # fixtures

QUICK = Options(target="tensorrt", rounds=3, gate_windows=24)


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a GPU, also where these tests run on one."""
    monkeypatch.setattr(gpu, "driver_refusal", lambda: "no NVIDIA driver")


@pytest.mark.usefixtures("no_driver")
def test_without_a_gpu_it_ends_with_one_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.vad"
    arguments = [str(run), "--out", str(out), "--target", "tensorrt"]
    assert exit_code_of(command, name="compile", arguments=arguments) == 1
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.splitlines()[-1] == (
        "error: --target: tensorrt cannot run here: no NVIDIA driver; compile on the machine that it is for, or take --target cpu"
    )
    assert not out.exists()


@pytest.mark.usefixtures("no_driver")
def test_auto_has_a_row_for_it_and_cpu_has_none(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for target, n in (("auto", 5), ("cpu", 0)):
        arguments = [str(run), "--out", str(tmp_path / "a.vad"), "--dry-run", "--target", target]
        assert exit_code_of(command, name="compile", arguments=arguments) == 0
        assert capsys.readouterr().out.count("cannot run here: no NVIDIA driver") == n


@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"ship": ("openvino",)}])
def test_what_contradicts_the_target_is_a_usage_error(
    run: Path, tmp_path: Path, options: dict[str, object]
) -> None:
    with pytest.raises(UsageError, match="--target: tensorrt needs itself in --ship, and a"):
        build_bundle(run, tmp_path / "a.vad", Options(target="tensorrt", **options))  # type: ignore[arg-type]


def _computes(machine: Machine, scorer: TinyScorer) -> None:
    """The machine's engines give what the scorer gives."""

    def scores(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            components, heatmap = scorer(torch.from_numpy(frames.copy()))
        return components.numpy(), heatmap.numpy()

    machine.tensorrt.function = scores


def test_its_bundle_holds_the_graphs_and_opens_where_there_is_a_gpu(
    machine: Machine,
    run: Path,
    tmp_path: Path,
    scorer: TinyScorer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _computes(machine, scorer)
    machine.tensorrt.float32_takes_s = 0.01  # or chance would say which of the others ship
    report = build_bundle(run, tmp_path / "a.vad", QUICK)
    assert {(row.backend, row.precision) for row in report.race} == {
        ("eager", "fp32"),
        ("tensorrt", "fp32"),
        ("tensorrt", "fp16"),
        ("tensorrt", "int8"),
        ("tensorrt-plugin", "fp32"),
        ("tensorrt-plugin", "fp16"),
    }
    refused = {row.reason for row in report.race if row.backend == "tensorrt-plugin"}
    assert len(refused) == 1  # the made-up TensorRT has no plugins
    assert "needs TensorRT 10.9 or newer for plugins" in refused.pop()
    bundle = open_bundle(tmp_path / "a.vad")
    assert {(a.precision, a.path) for a in bundle.manifest.artefacts} == {
        ("fp32", "model.onnx"),
        ("fp16", HALF_MODEL),
        ("int8", INT8_MODEL),
    }
    # By the names that they import by here, in the versions that they have here.
    assert bundle.manifest.artefacts[0].versions == {"tensorrt": "11.4.0", "cupy": "14.2.0"}
    files = {p.suffix for p in (tmp_path / "a.vad").rglob("*") if p.is_file()}
    assert ".engine" not in files  # they belong to this machine
    built = machine.tensorrt.n_built
    open_engine(bundle).close()
    assert machine.tensorrt.n_built == built  # from the cache
    monkeypatch.setattr(gpu, "driver_refusal", lambda: "no NVIDIA driver")
    gpu.find_gpu.cache_clear()
    with pytest.raises(
        BackendError, match=r"tensorrt (fp16|fp32|int8): cannot run here: no NVIDIA driver"
    ):
        open_engine(bundle)


def test_an_engine_that_returns_zeros_does_not_pass_the_gate(
    machine: Machine, run: Path, tmp_path: Path
) -> None:
    machine.tensorrt.function = lambda frames: (np.zeros((1, 1)), np.zeros((1, 2, 3)))
    with pytest.raises(GateError, match=r"tensorrt fp32: fails the gate: psnr is off by"):
        build_bundle(run, tmp_path / "a.vad", QUICK)
    assert not (tmp_path / "a.vad").exists()
