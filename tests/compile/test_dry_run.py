"""``--dry-run``: its estimates are of the order of what was measured, follow what was asked for, and say what they are made of."""

import dataclasses
import json
import re
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.compile.tiny import TinyScorer
from vadfast.cli import exit_code_of
from vadfast.compile import build as build_module
from vadfast.compile import build_bundle
from vadfast.compile.__main__ import command
from vadfast.compile.backends import INT8_MODEL, pairs_of, refusal
from vadfast.compile.disk_space import bundle_bytes, scratch_bytes
from vadfast.compile.dry_run import estimate_s, foresee, words
from vadfast.compile.plan import Options, plan_build
from vadfast.models import registry


def _plan(n_windows: int, n_normal: int, **options: Any) -> Any:
    return SimpleNamespace(
        options=Options(**options), runs=[SimpleNamespace(n=n_windows)], n_normal_frames=n_normal
    )


def _estimate_s(plan: Any, eager_s: float) -> float:
    """With all engines of a CPU with bf16 and 8-bit dot products, none of a GPU."""
    engines = pairs_of("cpu", plan.options.precision)
    return estimate_s(plan, list(engines), eager_s)


def test_the_estimate_is_near_the_run_that_docs_tell_of() -> None:
    """docs/bundles.md: 2 min 46 s with 56 windows, of a model that eager needs 612 ms for; Ped2 holds out 191 frames."""
    assert 0.8 * 166 < _estimate_s(_plan(56, 191), 0.612) < 1.2 * 166


def test_the_estimate_follows_what_was_asked_for() -> None:
    usual = _estimate_s(_plan(96, 200), 0.5)
    for more in (
        _plan(192, 200),
        _plan(96, 2000),
        _plan(96, 200, rounds=30),
        _plan(96, 200, batches=(1, 4)),
    ):
        assert _estimate_s(more, 0.5) > 1.01 * usual
    assert _estimate_s(_plan(96, 200, precision="fp32"), 0.5) < usual
    assert _estimate_s(_plan(96, 200), 0.05) < 0.5 * usual


def test_the_time_is_said_with_what_it_is_made_of(run: Path, tmp_path: Path) -> None:
    plan = plan_build(run, tmp_path / "a.vad", Options())
    (line,) = [line for line in words(foresee(plan)) if line.startswith("time:")]
    found = re.match(
        r"time: about (\d+) (s|min), an estimate: one eager call took \S+ ms here", line
    )
    assert found is not None
    assert int(found[1]) > 0
    assert "is not in it" in line
    triton = dataclasses.replace(plan, options=Options(precision="fp32", ship=("onnxruntime",)))
    assert any(line.startswith("time:") for line in words(foresee(triton)))


@pytest.fixture
def wide(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run of a network whose weights outweigh all else that a bundle holds."""
    torch.manual_seed(0)
    scorer = TinyScorer().eval()
    scorer.net = nn.Sequential(
        nn.Conv2d(6, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 256, 5, padding=2), nn.ReLU(),
        nn.Conv2d(256, 3, 3, padding=1), nn.Tanh(),
    ).eval()  # fmt: skip
    save_file(scorer.state_dict(), run / "model.safetensors")
    model = registry.load_run(run)
    monkeypatch.setattr(model, "scorer", scorer)
    return run


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


@pytest.mark.e2e
@pytest.mark.usefixtures("no_inductor")
@pytest.mark.parametrize("name", ["a.vad", "a.vad.zip"])
def test_the_room_is_about_that_of_the_bundle_that_is_built(
    name: str, wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship = ("mnn", "openvino", "onnxruntime", "eager")
    options = Options(ship=ship, rounds=3, gate_windows=24, target="cpu")
    plan = plan_build(wide, tmp_path / name, options)
    engines = [
        pair
        for pair in pairs_of("cpu", "auto")
        if refusal(*pair) is None and pair[0].name != "inductor"
    ]
    found = bundle_bytes(plan, engines, golden_ms=5)
    scratch = scratch_bytes(plan, engines, sum(found.values()))

    lay: list[int] = []
    sealed = build_module.write_sealed

    def measured(*arguments: Any) -> Any:
        lay.append(_size(Path(tempfile.gettempdir())))
        return sealed(*arguments)

    monkeypatch.setattr(build_module, "write_sealed", measured)
    build_bundle(wide, tmp_path / name, options)
    if name.endswith(".zip"):
        assert sum(found.values()) / 2 < _size(tmp_path / name) < 2 * sum(found.values())
        lay[0] += _size(tmp_path / name)  # which was made there, after that
    else:
        for part, size in found.items():
            there = tmp_path / name / part
            if there.exists() or part != INT8_MODEL:  # which the gate may stop
                assert size / 2 < _size(there) < 2 * size, part
        rest = _size(tmp_path / name) - sum(_size(tmp_path / name / part) for part in found)
        assert rest < 200_000, "nothing large is forgotten"
    assert scratch / 2 < lay[0] < 2 * scratch


def test_the_room_follows_what_was_asked_for(wide: Path, tmp_path: Path) -> None:
    def found(golden_ms: float = 5, **options: Any) -> dict[str, int]:
        plan = plan_build(wide, tmp_path / "a.vad", Options(**options))
        engines = [p for p in pairs_of("auto", plan.options.precision)]
        return bundle_bytes(plan, engines, golden_ms)

    weights = _size(wide / "model.safetensors")
    usual = found()
    assert usual["model.onnx"] == pytest.approx(weights, rel=0.02)
    assert found(ship=("openvino",)).keys() == usual.keys() - {
        "artefacts/mnn/model.mnn",
        "artefacts/tensorrt/model.fp16.onnx",
    }
    assert INT8_MODEL not in found(precision="fp32")
    assert usual["artefacts/tensorrt/model.fp16.onnx"] == pytest.approx(weights / 2, rel=0.02)
    assert found(ship=("inductor",))["artefacts/inductor/model.pt2"] > weights
    assert found(golden_ms=1000)["golden/frames.npy"] == usual["golden/frames.npy"] // 4
    triton = Options(format="triton-repository", rounds=3)
    plan = plan_build(wide, tmp_path / "models", triton)
    assert "licences" not in bundle_bytes(plan, list(pairs_of("cpu", "fp32")), 5)


def test_json_has_the_facts_of_the_lines(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(run), "--out", str(tmp_path / "a.vad"), "--dry-run", "--json"]
    assert exit_code_of(command, name="compile", arguments=[*arguments, "-"]) == 0
    captured = capsys.readouterr()
    foreseen = json.loads(captured.out)
    assert captured.err == ""
    assert foreseen["gate"]["n_windows"] > 0
    assert {c["backend"] for c in foreseen["candidates"]} >= {"eager", "mnn", "tensorrt"}
    assert sum(foreseen["disk"]["of"].values()) == foreseen["disk"]["bytes"]
    assert {p.name for p in tmp_path.iterdir()} == {"run", "scratch"}

    file = tmp_path / "plan.json"
    assert exit_code_of(command, name="compile", arguments=[*arguments, str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == list(words(json.loads(file.read_text())))
    assert {p.name for p in tmp_path.iterdir()} == {"run", "scratch", "plan.json"}


def test_a_page_of_what_was_not_run_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    arguments = [str(run), "--out", str(tmp_path / "a.vad"), "--dry-run", "--report", str(page)]
    assert exit_code_of(command, name="compile", arguments=arguments) == 2
    said = capsys.readouterr().err
    assert "error: --report: " in said
    assert "--dry-run runs nothing" in said
    assert not page.exists()
