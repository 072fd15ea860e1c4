"""TensorRT-RTX itself reads and builds the graph of every method, in float32, float16 and 8 bits: it does so without a GPU."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tests.tensorrt.within import assert_within
from vadfast.compile.backends import Precision
from vadfast.compile.backends.tensorrt import TensorRTBackend
from vadfast.compile.bag_scorer import BagScorer
from vadfast.compile.export import export_onnx, write_onnx
from vadfast.compile.half import write_half
from vadfast.compile.quantise import Quantiser
from vadfast.errors import BackendError
from vadfast.methods import model_module
from vadfast.models import sta
from vadfast.progress import Steps
from vadfast.runtime.engines.tensorrt import TensorRTEngine
from vadfast.runtime.manifest import InputSpec
from vadfast.runtime.tensorrt import gpu
from vadfast.runtime.tensorrt.builder import build
from vadfast.runtime.tensorrt.library import Library, Messages

TINY: dict[str, dict[str, Any]] = {
    "adl": {"image_size": 32, "width": 4},
    "apn": {"image_size": 16, "width": 8},
    "std": {"image_size": 128, "neck": 4},
    "mtl": {"image_size": 64, "width": 4},
}
SOME_GPU = gpu.Gpu("some GPU", "8.9", 13000)


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the graph of a method, tiny; each is exported once."""

    @cache
    def exported(method: str) -> Path:
        module = model_module(method)
        options = module.Options.parse(TINY[method], where="test")
        torch.manual_seed(0)
        scorer = module.Scorer(module.Network(options)).eval()
        size = options.image_size
        teachers = getattr(options, "teachers", None)
        spec = InputSpec(n_frames=module.N_FRAMES, height=size, width=size, teachers=teachers)
        path: Path = tmp_path_factory.mktemp(method) / f"{method}.onnx"
        export_onnx(scorer, spec, path)
        return path

    return exported


@pytest.fixture(params=TINY)
def exported(request: pytest.FixtureRequest, export: Callable[[str], Path]) -> Path:
    """Each of them."""
    return export(request.param)


@pytest.fixture
def small(export: Callable[[str], Path]) -> Path:
    """The smallest."""
    return export("adl")


def _read(rtx: Library, model: Path, messages: Messages) -> tuple[Any, Any]:
    """The builder and the network; fails with TensorRT's own words."""
    builder: Any = rtx.trt.Builder(messages.logger)
    network = builder.create_network(1 << int(rtx.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = rtx.trt.OnnxParser(network, messages.logger)
    assert parser.parse_from_file(str(model)), [
        parser.get_error(i).desc() for i in range(parser.num_errors)
    ]
    return builder, network


def _build_any_batch(rtx: Library, model: Path) -> None:
    messages = Messages(rtx)
    builder, network = _read(rtx, model, messages)
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    taken = network.get_input(0)
    sizes = tuple(taken.shape)
    assert sizes[0] == -1
    profile.set_shape(taken.name, *((n, *sizes[1:]) for n in (1, 2, 4)))
    assert config.add_optimization_profile(profile) == 0
    plan = builder.build_serialized_network(network, config)
    assert plan is not None, messages.reason()
    assert plan.nbytes > 10_000


def test_every_method_builds(rtx: Library, exported: Path, tmp_path: Path) -> None:
    """All of it in one test: exporting takes longer than the rest."""
    write_half(exported, tmp_path / "half.onnx")
    for model in (exported, tmp_path / "half.onnx"):
        built = build(rtx, model, batch=2)
        assert len(built.plan) > 10_000
        assert built.timings == b""  # RTX measures nothing
        _build_any_batch(rtx, model)
        _assert_batch_is_fixed_throughout(rtx, model)


def _assert_batch_is_fixed_throughout(rtx: Library, model: Path) -> None:
    _, network = _read(rtx, model, Messages(rtx))
    frames = network.get_input(0)
    assert frames.dtype == rtx.trt.DataType.UINT8
    frames.shape = (3, *tuple(frames.shape)[1:])
    for output in (network.get_output(i) for i in range(2)):
        assert output.dtype == rtx.trt.DataType.FLOAT
        sizes = tuple(output.shape)
        assert sizes[0] == 3
        assert -1 not in sizes


def test_bags_build_too(rtx: Library, tmp_path: Path) -> None:
    options = sta.Options.parse({"n_segments": 8, "n_features": 16}, where="test")
    torch.manual_seed(0)
    scorer = BagScorer(sta.Network(options).eval()).eval()
    write_onnx(scorer, torch.zeros(2, 8, 16), tmp_path / "a.onnx", takes="bags", returns=["scores"])
    _build_any_batch(rtx, tmp_path / "a.onnx")


def _write_8_bits(exported: Path, folder: Path) -> tuple[Path, int]:
    """The graph with all its convolutions but one in 8 bits, as TensorRT takes it, and how many those are."""
    sizes = onnx.load(exported).graph.input[0].type.tensor_type.shape.dim
    shape = (1, *(size.dim_value for size in sizes[1:]))
    random = np.random.default_rng(0)
    windows = [random.integers(0, 256, shape, np.uint8) for _ in range(4)]
    quantiser = Quantiser.calibrate(exported, windows, folder, symmetric=True)
    quantiser.write(folder / "8bits.onnx", kept=quantiser.layers[-1:])
    return folder / "8bits.onnx", len(quantiser.layers) - 1


def test_every_method_in_8_bits_builds(rtx: Library, exported: Path, tmp_path: Path) -> None:
    """With biases in float and symmetric ranges."""
    model, n_layers = _write_8_bits(exported, tmp_path)
    nodes = onnx.load(model).graph.node
    made_by = {output: node.op_type for node in nodes for output in node.output}
    weights = {n.input[1] for n in nodes if n.op_type in ("Conv", "ConvTranspose")}
    assert sum(made_by.get(w) == "DequantizeLinear" for w in weights) == n_layers > 3
    assert len(build(rtx, model, batch=1).plan) > 10_000
    _build_any_batch(rtx, model)


def test_a_graph_that_computes_on_uint8_is_refused_in_one_sentence(
    rtx: Library, tmp_path: Path
) -> None:
    node = helper.make_node("Add", ["frames", "frames"], ["components"])
    values = [
        helper.make_tensor_value_info(n, TensorProto.UINT8, ["b", 4])
        for n in ("frames", "components")
    ]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9),
        tmp_path / "a.onnx",
    )
    with pytest.raises(
        BackendError, match=r"TensorRT-RTX [\d.]+ cannot (read|build an engine of) .*a.onnx: .*\w"
    ):
        build(rtx, tmp_path / "a.onnx", batch=1)


def test_progress_rises_to_the_end_and_an_interruption_leaves_at_once(
    rtx: Library, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[int] = []

    def update(self: Steps, done: int, *, total: int | None = None, detail: str = "") -> None:
        assert detail
        said.append(done)
        if interrupt and len(said) > 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(Steps, "update", update)
    interrupt = False
    build(rtx, small, batch=1)
    assert said == sorted(said)
    assert 0 < said[-1] <= 100
    interrupt, n_all = True, len(said)
    said.clear()
    with pytest.raises(KeyboardInterrupt):
        build(rtx, small, batch=1)
    assert len(said) < n_all


@pytest.mark.skipif(gpu.driver_refusal() is None, reason="there is a GPU: the engine would open")
def test_without_a_gpu_the_built_engine_is_refused_and_not_kept(
    rtx: Library, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VADFAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("vadfast.runtime.engines.tensorrt.find_gpu", lambda: SOME_GPU)
    monkeypatch.setattr("vadfast.runtime.engines.tensorrt.find_library", lambda: rtx)
    with pytest.raises(
        BackendError,
        match=r"TensorRT-RTX [\d.]+ refuses the engine that it has just built for some GPU: .*\w",
    ):
        TensorRTEngine.load(small, precision="fp32", batch=1)
    assert not (tmp_path / "cache").exists()


@pytest.mark.gpu
@pytest.mark.skipif(
    TensorRTBackend().can_run("fp32") is not None,
    reason=f"tensorrt {TensorRTBackend().can_run('fp32')}",
)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_on_a_gpu_the_scores_are_those_of_the_graph(
    exported: Path, precision: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    monkeypatch.setenv("VADFAST_CACHE", str(tmp_path / "cache"))
    model = exported
    if precision == "fp16":
        model = tmp_path / "half.onnx"
        write_half(exported, model)
    # What 8 bits lose of random weights is no matter of TensorRT: there both run the graph in 8 bits.
    wanted = exported
    if precision == "int8":
        wanted = model = _write_8_bits(exported, tmp_path)[0]
    session = onnxruntime.InferenceSession(str(wanted), providers=["CPUExecutionProvider"])
    shape = (2, *session.get_inputs()[0].shape[1:])
    frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    components, heatmap = session.run(["components", "heatmap"], {"frames": frames})
    for _ in range(2):  # built, then from the cache
        engine = TensorRTEngine.load(model, precision=precision, batch=2)
        found = engine(frames)
        unit = "sd" if exported.stem == "mtl" else "dB"
        assert_within(found, components, heatmap, precision, unit=unit)
        engine.close()
