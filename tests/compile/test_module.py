"""Somebody else's network: what is declared is checked, what cannot be compiled is named with its line, and the rest goes our way."""

import hashlib
import importlib
import itertools
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.compile.tiny import SPEC
from vadfast.cli import exit_code_of
from vadfast.compile import ModuleSpec, build_bundle
from vadfast.compile.__main__ import command
from vadfast.compile.export import example_frames, export_onnx
from vadfast.compile.module import hash_of, load_module, open_module
from vadfast.compile.plan import Options, plan_build
from vadfast.data import synthetic
from vadfast.errors import BuildError, UsageError
from vadfast.models.prediction import unit_clip
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.manifest import Component, InputSpec

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
HEAD = """import torch
from torch import nn
from vadfast.compile import ModuleSpec
from vadfast.runtime.manifest import Component, InputSpec

INPUT = InputSpec(n_frames=3, height=16, width=24)
PSNR = Component(name="psnr", unit="dB", high_is="normal")

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x):
        y = self.c(x)
"""
FIRST = len(HEAD.splitlines()) + 1  # the line of what follows
TAIL = """
def build():
    torch.manual_seed(0)
    return ModuleSpec(Net(), INPUT, score="prediction", stacked=True)
"""
_numbers = itertools.count()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a module of somebody's, and returns its name: a new one each time."""
    monkeypatch.syspath_prepend(tmp_path)

    def written(text: str) -> str:
        name = f"their_module_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return name

    return written


class _Same(nn.Module):
    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.last :].contiguous() if self.last == -3 else x[:, self.last]


def _psnr(frames: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    error = np.square((predicted - frames[:, -1].astype(np.float64)) / 255).mean((1, 2, 3))
    return -10 * np.log10(error)


@pytest.mark.parametrize("pixels", ["unit", "signed"])
@pytest.mark.parametrize("stacked", [False, True])
def test_a_prediction_is_scored_by_its_psnr(pixels: str, stacked: bool) -> None:
    spec = ModuleSpec(
        _Same(-3 if stacked else -1), SPEC, score="prediction", pixels=pixels, stacked=stacked
    )
    model = open_module(spec)
    frames = example_frames(SPEC)
    components, heatmap = model.scorer(frames)
    wanted = _psnr(frames.numpy(), frames[:, -2].numpy().astype(np.float64))
    np.testing.assert_allclose(components.numpy()[:, 0], wanted, atol=1e-4)
    assert heatmap.shape == (2, 2, 3)
    assert float(heatmap.mean()) == pytest.approx(float(np.mean(10 ** (-wanted / 10))), rel=1e-4)
    assert [c.name for c in model.components] == ["psnr"]
    assert (model.method, model.data) == ("_Same", None)


class _Darker(nn.Module):
    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * (x if self.whole else x[:, -3:] if x.ndim == 4 else x[:, -1])


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("stacked", [False, True])
def test_a_reconstruction_is_scored_by_its_last_frame(whole: bool, stacked: bool) -> None:
    spec = ModuleSpec(_Darker(whole), SPEC, score="reconstruction", stacked=stacked, name="darker")
    model = open_module(spec)
    frames = example_frames(SPEC)
    wanted = _psnr(frames.numpy(), frames[:, -1].numpy() / 2)
    np.testing.assert_allclose(model.scorer(frames)[0].numpy()[:, 0], wanted, atol=1e-4)
    assert model.method == "darker"


class _OwnScore(nn.Module):
    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        clip = unit_clip(frames)
        moved = (clip[:, -1] - clip[:, -2]).abs().mean(dim=1)
        return torch.stack([moved.mean((1, 2)), moved.amax((1, 2))], dim=1), moved


def test_components_are_taken_as_they_are() -> None:
    names = tuple(Component(name=n, unit="sd", high_is="abnormal") for n in ("mean", "most"))
    model = open_module(ModuleSpec(_OwnScore(), SPEC, score="components", components=names))
    assert model.components == names
    assert model.causal_chain.weights == {"mean": 1.0, "most": 1.0}
    assert model.scorer(example_frames(SPEC))[0].shape == (2, 2)


def test_the_hash_is_that_of_the_weights_alone() -> None:
    def made(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(6, 3, 3), nn.BatchNorm2d(3))

    assert hash_of(made(1)) == hash_of(made(1).eval())
    assert hash_of(made(1)) != hash_of(made(2))
    renamed = nn.ModuleDict({"a": made(1)[0], "b": made(1)[1]})
    assert hash_of(renamed) != hash_of(made(1))
    linear = nn.Linear(2, 1)
    with torch.no_grad():
        linear.weight[:], linear.bias[:] = torch.tensor([[1.0, 2.0]]), 3.0
    by_hand = b"bias torch.float32 [1]\n" + struct.pack("<f", 3)
    by_hand += b"weight torch.float32 [1, 2]\n" + struct.pack("<2f", 1, 2)
    assert hash_of(linear) == hashlib.sha256(by_hand).hexdigest()


def test_training_mode_is_left() -> None:
    noisy = nn.Sequential(nn.Conv2d(6, 3, 3, padding=1), nn.Dropout(0.5), nn.BatchNorm2d(3))
    model = open_module(ModuleSpec(noisy.train(), SPEC, score="prediction", stacked=True))
    assert not any(part.training for part in model.scorer.modules())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("        return y if y.mean() > 0 else -y", "data-dependent"),
        ("        return y + torch.linalg.svdvals(y)[..., None]", "No ONNX function"),
        ("        return torch.cat([self.c(x[i : i + 1]) for i in range(x.shape[0])])", "works only for 2"),
    ],
    ids=["branch", "operator", "loop"],
)  # fmt: skip
def test_what_cannot_be_exported_is_named_with_its_line(
    write, body: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = write(f"{HEAD}{body}\n{TAIL}")
    model = open_module(load_module(f"{name}:build"))
    with pytest.raises(BuildError) as caught:
        export_onnx(model.scorer, model.input, tmp_path / "model.onnx")
    message = str(caught.value)
    assert f" at {name}.py:{FIRST} ({body.strip()})" in message
    assert said in message
    assert "\n" not in message
    assert "\x1b" not in message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("body", "said", "line"),
    [
        ("        return y.reshape(2, 3, 16, 24)", "must take torch.float32 [1, 6, 16, 24], raised RuntimeError", FIRST),
        ("        return y[:, :7] + self.absent", "raised AttributeError", FIRST),
        ("        return y[:, :2]", "must return float32 [2, 3, 16, 24], got torch.float32 [2, 2, 16, 24]", FIRST - 2),
        ("        return y.double()", "got torch.float64 [2, 3, 16, 24]", FIRST - 2),
        ("        return {'frame': y}", "got dict", FIRST - 2),
        ("        return y, y", "got torch.float32 [2, 3, 16, 24] and", FIRST - 2),
        ("        return y / 0", "must return finite numbers", FIRST - 2),
        ("        return nn.functional.dropout(y)", "twice the same for the same frames", FIRST - 2),
        ("        return y - y.mean()", "the same for a window alone as in a batch", FIRST - 2),
    ],
)  # fmt: skip
def test_a_wrong_output_is_named_with_the_line_of_its_forward(
    write, body: str, said: str, line: int
) -> None:
    name = write(f"{HEAD}{body}\n{TAIL}")
    with pytest.raises(BuildError) as caught:
        open_module(load_module(f"{name}:build"))
    message = str(caught.value)
    assert said in message
    assert f" at {name}.py:{line} (" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "factory", "said"),
    [
        ("def build(:\n    pass\n", "build", "raised SyntaxError: .* at MODULE.py:1 "),
        ("x = 1\ny = x / 0\n", "build", r"raised ZeroDivisionError: .* at MODULE.py:2 \(y = x / 0\)"),
        ("import no_such_package_here\n", "build", "raised ModuleNotFoundError: .* at MODULE.py:1 "),
        ("x = 1\n", "build", "must have a function build, has none"),
        ("build = 3\n", "build", "must have a function build, has int"),
        ("def build():\n    raise OSError('no weights')\n", "build", "raised OSError: no weights at MODULE.py:2 "),
        ("def build(a):\n    return a\n", "build", "raised TypeError"),
        ("def build():\n    return 3\n", "build", r"must return a vadfast.compile.ModuleSpec, got int at MODULE.py:1 "),
    ],
)  # fmt: skip
def test_a_factory_that_gives_nothing_is_named(write, text: str, factory: str, said: str) -> None:
    name = write(text)
    with pytest.raises(UsageError, match=said.replace("MODULE", name)) as caught:
        load_module(f"{name}:{factory}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("named", ["", "a", "a:", ":b"])
def test_a_factory_must_be_module_and_function(named: str) -> None:
    with pytest.raises(UsageError, match=r"must be package\.module:factory, got"):
        load_module(named)


@pytest.mark.parametrize("named", ["no_such_module_here:b", "os.no_such_part:b"])
def test_a_module_that_is_not_there_is_named(named: str) -> None:
    with pytest.raises(UsageError, match=r"there is no .*; start in its folder"):
        load_module(named)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"module": torch.relu}, "module must be an nn.Module, got builtin_function_or_method"),
        ({"input": (3, 16, 24)}, "input must be a vadfast.runtime.manifest.InputSpec, got tuple"),
        ({"score": "psnr"}, "score must be one of prediction, reconstruction, components, got 'psnr'"),
        ({"pixels": "raw"}, "pixels must be one of unit, signed, got 'raw'"),
        ({"input": InputSpec(n_frames=1, height=16, width=24)}, "2 frames or more to predict the last, got 1"),
        ({"input": InputSpec(n_frames=3, height=4, width=24)}, "8 pixels high and wide or more, got 4 x 24"),
        ({"components": (Component(name="a", unit="dB", high_is="normal"),)}, "left out with score='prediction', got 1"),
        ({"score": "components"}, "named with score='components', got 0"),
        ({"module": nn.Conv2d(6, 3, 3).half()}, "weight of the module must be float32, got torch.float16"),
        ({"module": nn.Conv2d(6, 3, 3, device="meta")}, "must be on the CPU, is on meta"),
    ],
)  # fmt: skip
def test_fields_that_do_not_fit_are_named(changes: dict, said: str) -> None:
    values = {"module": _Same(-3), "input": SPEC, "score": "prediction", **changes}
    with pytest.raises(UsageError) as caught:
        open_module(ModuleSpec(**values))
    assert said in str(caught.value)


def test_run_or_module_never_both_and_never_neither(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, given in (([], "neither"), ([str(tmp_path), "--module", "a:b"], "both")):
        arguments += ["--out", str(tmp_path / "a.vad")]
        assert exit_code_of(command, name="compile", arguments=arguments) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert f"takes RUN or --module PACKAGE.MODULE:FACTORY, got {given}" in said


def test_what_a_network_without_a_run_lacks_is_said(tmp_path: Path) -> None:
    spec = ModuleSpec(_Same(-1), SPEC, score="prediction")
    with pytest.raises(UsageError, match="--calibrate: _Same was trained elsewhere; give normal"):
        plan_build(spec, tmp_path / "a.vad", Options())
    with pytest.raises(UsageError, match="--ship: eager reads a run directory"):
        plan_build(spec, tmp_path / "a.vad", Options(ship=("eager",), calibrate=tmp_path))
    with pytest.raises(
        UsageError, match=r"^--target: cuda reads a run directory, .* take tensorrt"
    ):
        plan_build(spec, tmp_path / "a.vad", Options(target="cuda", calibrate=tmp_path))


@pytest.mark.parametrize("extra", [[], ["--dry-run"]])
def test_a_unit_that_the_gate_does_not_know_is_said_before_any_plan(
    extra: list[str], write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = write(
        f"""{HEAD}        return y

class Own(nn.Module):
    def forward(self, frames):
        moved = frames[:, -1].float().mean(-1)
        return moved.mean((1, 2))[:, None], moved

def build():
    column = Component(name="moved", unit="furlong", high_is="abnormal")
    return ModuleSpec(Own(), INPUT, score="components", components=(column,))
"""
    )
    arguments = ["--module", f"{name}:build", "--out", str(tmp_path / "a.vad"), *extra]
    assert exit_code_of(command, name="compile", arguments=arguments) == 4
    captured = capsys.readouterr()
    assert (
        "'moved' must have a unit with a bound (dB, sd), got 'furlong'; declare dB" in captured.err
    )
    assert ".py" not in captured.err, "a next step for who has no checkout"
    assert captured.out == ""


@pytest.mark.parametrize("safe", [False, True])
def test_a_module_of_the_current_folder_is_found_by_the_console_script(
    safe: bool, tmp_path: Path
) -> None:
    """Whose folder comes first on Python's path is the script's, unless somebody sees to it."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "vadfast"
    script.write_text("import sys\nfrom vadfast.cli import main\nsys.exit(main())\n")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "part.py").write_text("SEED = 0\n")
    # What a factory imports when it is called is found, too.
    factory = TAIL.replace("def build():", "def build():\n    import part")
    (tmp_path / "here" / "mynet.py").write_text(f"{HEAD}        return y\n{factory}")
    options = ["-P"] if safe else []
    arguments = ["compile", "--module", "mynet:build", "--out", "a.vad", "--dry-run"]
    ended = subprocess.run(
        [sys.executable, *options, str(script), *arguments],
        cwd=tmp_path / "here",
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    error = ended.stderr.splitlines()[-1]
    if safe:  # nothing of the current folder is to be imported
        assert "there is no mynet; start in its folder" in error
    else:
        assert "--calibrate: Net was trained elsewhere" in error


def test_what_python_needs_is_found_in_one_place() -> None:
    import vadfast.compile
    from vadfast.compile import plan, report

    assert vadfast.compile.Options is plan.Options
    assert vadfast.compile.Report is report.Report
    assert all(hasattr(vadfast.compile, name) for name in vadfast.compile.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = vadfast.compile.nonsense
    code = "import sys, vadfast.compile; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_example_has_60_lines() -> None:
    assert len((EXAMPLES / "someone_elses_model.py").read_text().splitlines()) <= 60


@pytest.mark.e2e
def test_the_example_is_compiled_and_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    weights, bundle = tmp_path / "weights.pt", tmp_path / "theirs.vad"
    monkeypatch.setenv("WEIGHTS", str(weights))
    for name, seed in (("theirs", 0), ("ours", 1)):
        synthetic.write_dataset(tmp_path / name, seed=seed, n_training=1, n_testing=1, n_frames=140)
    import someone_elses_model

    someone_elses_model.train(tmp_path / "theirs", weights, steps=40)
    monkeypatch.setattr(
        "vadfast.compile.candidates.refusal",
        lambda b, _: None if b.name in ("eager", "onnxruntime") else "left out",
    )
    (normal,) = (tmp_path / "ours" / "training").glob("*.mp4")
    arguments = [
        *("--module", "someone_elses_model:trained", "--calibrate", str(normal), "--out", str(bundle)),
        *("--data", str(tmp_path / "ours"), "--rounds", "3", "--gate-windows", "24", "--ship", "onnxruntime"),
    ]  # fmt: skip
    assert exit_code_of(command, name="compile", arguments=arguments) == 0
    manifest = open_bundle(bundle).manifest
    spec = someone_elses_model.trained()
    assert manifest.method == "NextFrame"
    assert manifest.checkpoint_sha256 == hash_of(spec.module)
    assert manifest.calibration.n_frames == 136
    assert str(EXAMPLES).encode() not in (bundle / "model.onnx").read_bytes()
    # Neither torch nor the module is needed any more.
    (film,) = (tmp_path / "ours" / "testing").glob("*.mp4")
    lines = tmp_path / "scores.jsonl"
    blocked = "import sys; sys.modules['torch'] = None; from vadfast.score.__main__ import command; from vadfast.cli import run_command; run_command(command, name='score')"
    scored = [sys.executable, "-c", blocked, str(bundle), str(film), "--jsonl", str(lines)]
    subprocess.run(scored, check=True, capture_output=True)
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    found = [row["components"]["psnr"] for row in rows if "score" in row]
    assert len(found) == 136
    assert 15 < float(np.median(found)) < 50


@pytest.mark.e2e
def test_python_takes_the_spec_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic.write_dataset(tmp_path / "scene", n_training=1, n_testing=1, n_frames=80)
    monkeypatch.setattr(
        "vadfast.compile.candidates.refusal",
        lambda b, _: None if b.name in ("eager", "onnxruntime") else "left out",
    )
    options = Options(calibrate=tmp_path / "scene", rounds=2, gate_windows=8, ship=("onnxruntime",))
    spec = ModuleSpec(_Same(-1), SPEC, score="prediction", name="persistence")
    report = build_bundle(spec, tmp_path / "a.vad", options)
    assert open_bundle(tmp_path / "a.vad").manifest.method == "persistence"
    (eager,) = (row for row in report.race if row.backend == "eager")
    assert eager.reason == "the reference", "it can never ship"
