"""Triton's model repository: its configuration is Triton's, its model the one that was judged, and the threshold travels with it."""

import dataclasses
import errno
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.compile.tiny import SPEC, TinyScorer, manifest
from tests.compile.triton_config import checked, parse
from vadfast.cli import exit_code_of
from vadfast.compile import ModuleSpec, build_bundle
from vadfast.compile.__main__ import command
from vadfast.compile.bundle import GoldenWindows
from vadfast.compile.dry_run import foresee, words
from vadfast.compile.export import export_onnx
from vadfast.compile.plan import Options, plan_build
from vadfast.compile.sbom import SBOM
from vadfast.compile.signing import open_key
from vadfast.compile.triton_repository import USUAL_BATCHES, config_text, model_folder, write_model
from vadfast.data import synthetic
from vadfast.errors import BundleError, GateError, UsageError
from vadfast.runtime.manifest import AlertRule, Calibration, Chain, Component, Manifest
from vadfast.runtime.signature import Trust

TYPES = {onnx.TensorProto.UINT8: 2, onnx.TensorProto.FLOAT: 11}  # ONNX's number -> Triton's


@pytest.fixture(scope="module")
def exported(
    scorer: TinyScorer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, GoldenWindows]:
    folder = tmp_path_factory.mktemp("exported")
    export_onnx(scorer, SPEC, folder / "model.onnx")
    frames = np.random.default_rng(0).integers(0, 256, (3, 3, 16, 24, 3), np.uint8)
    with torch.inference_mode():
        components = scorer(torch.from_numpy(frames))[0].numpy()
    return folder, GoldenWindows(frames, components)


def _write(target: Path, exported: tuple[Path, GoldenWindows], **changes: object) -> Manifest:
    folder, golden = exported
    values = manifest().model_copy(update=changes)
    key = open_key(None)
    return write_model(target, values, folder=folder, files=["model.onnx"], golden=golden, key=key)


def test_the_configuration_is_tritons_and_fits_the_model(
    exported: tuple[Path, GoldenWindows], tmp_path: Path
) -> None:
    _write(tmp_path / "cam_1", exported)
    config = parse((tmp_path / "cam_1" / "config.pbtxt").read_text())
    checked(config, "cam_1")
    assert (config.backend, config.max_batch_size) == ("onnxruntime", 16)
    assert [int(p.name) for p in (tmp_path / "cam_1").iterdir() if p.name.isdigit()] == [1]
    graph = onnx.load(tmp_path / "cam_1" / "1" / "model.onnx").graph
    for declared, found in ((config.input, graph.input), (config.output, graph.output)):
        assert [t.name for t in declared] == [t.name for t in found]
        for ours, theirs in zip(declared, found, strict=True):
            batch, *dims = theirs.type.tensor_type.shape.dim
            assert batch.dim_param, "Triton's batch is the open first dimension"
            assert list(ours.dims) == [d.dim_value for d in dims]
            assert ours.data_type == TYPES[theirs.type.tensor_type.elem_type]


def test_every_batch_that_triton_may_make_gives_the_golden_components(
    exported: tuple[Path, GoldenWindows], tmp_path: Path
) -> None:
    _write(tmp_path / "cam", exported)
    config = parse((tmp_path / "cam" / "config.pbtxt").read_text())
    session = onnxruntime.InferenceSession(tmp_path / "cam" / "1" / "model.onnx")
    frames = np.load(tmp_path / "cam" / "golden" / "frames.npy")
    wanted = np.load(tmp_path / "cam" / "golden" / "components.npy")
    for n in (1, *config.dynamic_batching.preferred_batch_size, config.max_batch_size):
        batch = np.resize(frames, (n, *frames.shape[1:]))
        got = session.run([t.name for t in config.output], {config.input[0].name: batch})[0]
        np.testing.assert_allclose(got, np.resize(wanted, (n, 1)), atol=1e-3)


def test_the_model_has_operators_of_onnx_alone(exported: tuple[Path, GoldenWindows]) -> None:
    model = onnx.load(exported[0] / "model.onnx")
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert not model.functions


def test_manifest_signature_and_threshold_travel(
    exported: tuple[Path, GoldenWindows], tmp_path: Path
) -> None:
    sealed = _write(tmp_path / "cam", exported)
    model = tmp_path / "cam"
    content = (model / "manifest.json").read_bytes()
    Trust().check(model, content, (model / "SIGNATURE").read_bytes())
    with pytest.raises(BundleError, match="do not belong together"):
        Trust().check(model, content + b" ", (model / "SIGNATURE").read_bytes())
    assert Manifest.model_validate_json(content) == sealed
    served = hashlib.sha256((model / "1" / "model.onnx").read_bytes()).hexdigest()
    assert sealed.files["model.onnx"].sha256 == served
    found = checked(parse((model / "config.pbtxt").read_text()), "cam")
    assert found["vadfast_manifest_sha256"] == hashlib.sha256(content).hexdigest()
    assert float(found["vadfast_threshold"]) == sealed.alert.threshold
    assert AlertRule.model_validate_json(found["vadfast_alert"]) == sealed.alert
    assert Calibration.model_validate_json(found["vadfast_calibration"]) == sealed.calibration
    assert Chain.model_validate_json(found["vadfast_causal_chain"]) == sealed.causal_chain
    columns = [Component.model_validate(c) for c in json.loads(found["vadfast_components"])]
    assert tuple(columns) == sealed.components


def test_the_bill_lists_the_model_where_it_lies_and_no_package_of_the_server(
    exported: tuple[Path, GoldenWindows], tmp_path: Path
) -> None:
    _write(tmp_path / "cam", exported)
    (found,) = json.loads((tmp_path / "cam" / SBOM).read_text())["components"]
    served = hashlib.sha256((tmp_path / "cam" / found["name"]).read_bytes()).hexdigest()
    assert found["hashes"] == [{"alg": "SHA-256", "content": served}]
    assert not (tmp_path / "cam" / "licences").exists()


@given(text=st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_name_survives_the_text_format(text: str) -> None:
    config = parse(config_text("cam", manifest().model_copy(update={"method": text}), "0" * 64))
    assert checked(config, "cam")["vadfast_method"] == text


@pytest.mark.parametrize(
    ("raced", "most", "preferred"),
    [((1,), 16, [*USUAL_BATCHES]), ((1, 2, 8), 8, [2, 8]), ((3,), 3, [3]), ((1, 32), 32, [32])],
)
def test_what_is_joined_is_what_was_judged(
    raced: tuple[int, ...], most: int, preferred: list[int]
) -> None:
    (artefact,) = manifest().artefacts
    shipped = tuple(artefact.model_copy(update={"batch": n}) for n in raced)
    config = parse(config_text("cam", manifest().model_copy(update={"artefacts": shipped}), "0"))
    checked(config, "cam")
    assert config.max_batch_size == most
    assert list(config.dynamic_batching.preferred_batch_size) == preferred


def test_threads_are_told_to_the_server_where_they_were_asked_for() -> None:
    for threads, told in ((None, None), (3, "3")):
        config = parse(config_text("cam", manifest(), "0", threads=threads))
        assert checked(config, "cam").get("intra_op_thread_count") == told


@pytest.mark.parametrize(
    "broken",
    ["surprise: 1\n", "backend: 3\n", 'name: "b"\n', "max_batch_size: 1.5\n", "input { kind: KIND_CPU }\n",
     "instance_group { kind: KIND_TOASTER }\n", "parameters { key: 1 }\n", "}"],
)  # fmt: skip
def test_the_checker_itself_refuses_what_triton_would(broken: str) -> None:
    text = config_text("cam", manifest(), "0" * 64)
    with pytest.raises(text_format.ParseError):
        parse(text + broken)


def test_a_model_is_replaced_whole_and_its_neighbours_stay(
    exported: tuple[Path, GoldenWindows], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "cam", exported)
    _write(tmp_path / "other", exported)
    (tmp_path / "cam" / "stray").write_text("old")
    assert model_folder(tmp_path, "cam") == tmp_path / "cam"
    _write(tmp_path / "cam", exported, method="newer")
    assert {p.name for p in tmp_path.iterdir()} == {"cam", "other"}
    assert not (tmp_path / "cam" / "stray").exists()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(OSError, match="No space left"):
        _write(tmp_path / "cam", exported)
    assert {p.name for p in tmp_path.iterdir()} == {"cam", "other"}
    assert json.loads((tmp_path / "cam" / "manifest.json").read_text())["method"] == "newer"


@pytest.mark.parametrize("name", ["", "a b", "a.vad", "-a", "ä", "a/b", ".."])
def test_a_name_that_is_none_for_a_model_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="letters, digits, _ and - alone, got"):
        model_folder(tmp_path, name)


def test_what_is_no_model_of_ours_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "cam").mkdir()
    (tmp_path / "cam" / "config.pbtxt").write_text("somebody's")
    with pytest.raises(UsageError, match=r"is no model that vadfast\.compile wrote"):
        model_folder(tmp_path, "cam")
    (tmp_path / "film.mp4").write_text("film")
    with pytest.raises(UsageError, match="got a file at"):
        model_folder(tmp_path / "film.mp4", "cam")


class _Last(nn.Module):
    def forward(self, clip: Tensor) -> Tensor:
        return clip[:, -1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(ship=("mnn", "openvino")), "needs --ship with onnxruntime, got --ship mnn,openvino"),
        (Options(precision="bf16"), "needs --precision fp32, got bf16"),
        (Options(), None),
    ],
)  # fmt: skip
def test_only_the_engine_that_triton_has_may_ship(
    options: Options, said: str | None, tmp_path: Path
) -> None:
    synthetic.write_dataset(tmp_path / "scene", n_training=1, n_testing=1, n_frames=70)
    chosen = dataclasses.replace(options, format="triton-repository", calibrate=tmp_path / "scene")
    spec = ModuleSpec(_Last(), SPEC, score="prediction", name="last")
    if said is None:
        plan = plan_build(spec, tmp_path / "models", chosen)
        assert plan.options.ship == ("onnxruntime",)
        assert plan.out == tmp_path / "models" / "last"
        assert next(words(foresee(plan))).startswith(f"would write the Triton model {plan.out}")
    else:
        with pytest.raises(UsageError, match=said):
            plan_build(spec, tmp_path / "models", chosen)


@pytest.mark.e2e
def test_the_command_writes_a_repository_after_the_same_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    synthetic.write_dataset(tmp_path / "scene", n_training=1, n_testing=1, n_frames=80)
    monkeypatch.setattr(
        "vadfast.compile.candidates.refusal",
        lambda b, _: None if b.name in ("eager", "onnxruntime") else "left out",
    )
    spec = ModuleSpec(_Last(), SPEC, score="prediction", name="last")
    monkeypatch.setattr("vadfast.compile.module.load_module", lambda _: spec)
    arguments = ["--module", "a:b", "--out", str(tmp_path / "models"), "--gate-windows", "24"]
    arguments += ["--calibrate", str(tmp_path / "scene"), "--rounds", "3"]
    arguments += ["--format", "triton-repository", "--batch", "1,2", "--threads", "1"]
    assert exit_code_of(command, name="compile", arguments=arguments) == 0
    assert f"tritonserver --model-repository {tmp_path / 'models'}" in capsys.readouterr().out
    model = tmp_path / "models" / "last"
    config = parse((model / "config.pbtxt").read_text())
    assert checked(config, "last")["intra_op_thread_count"] == "1"
    assert config.max_batch_size == 2
    sealed = Manifest.model_validate_json((model / "manifest.json").read_bytes())
    assert [(a.backend, a.batch) for a in sealed.artefacts] == [
        ("onnxruntime", 1),
        ("onnxruntime", 2),
    ]
    assert sealed.gate["n_windows"]


@pytest.mark.e2e
def test_where_onnx_runtime_fails_the_gate_there_is_no_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vadfast.compile import judging

    synthetic.write_dataset(tmp_path / "scene", n_training=1, n_testing=1, n_frames=80)
    monkeypatch.setattr(
        "vadfast.compile.candidates.refusal",
        lambda b, _: None if b.name in ("eager", "onnxruntime", "mnn") else "left out",
    )
    score_runs: Callable = judging.score_runs

    def spoilt(engine, *rest):  # type: ignore[no-untyped-def]
        scored = score_runs(engine, *rest)
        if engine.backend == "onnxruntime":
            scored.components[:] = [c + np.float32(1) for c in scored.components]
        return scored

    monkeypatch.setattr(judging, "score_runs", spoilt)
    options = Options(calibrate=tmp_path / "scene", rounds=3, gate_windows=24, format="triton-repository")  # fmt: skip
    spec = ModuleSpec(_Last(), SPEC, score="prediction", name="last")
    with pytest.raises(GateError, match="onnxruntime fp32: fails the gate"):
        build_bundle(spec, tmp_path / "models", options)
    assert not (tmp_path / "models").exists()
