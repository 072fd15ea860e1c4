"""The plugins: TensorRT's own Python takes them and gives the kernels what Triton's launcher would; and who cannot take them says so."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from vadfast_kernels.aot.pack import parameter_bits

from tests.compile.tiny import SPEC, film
from tests.tensorrt.conftest import HERE, Bindings, Machine
from tests.tensorrt.crossing import Crossing
from tests.tensorrt.scores import assert_scores
from tests.tensorrt.within import assert_within
from vadfast.compile.backends import Precision, Workshop
from vadfast.compile.backends.tensorrt_plugin import TensorRTPluginBackend
from vadfast.compile.export import export_onnx
from vadfast.compile.half import write_half
from vadfast.errors import BackendError
from vadfast.runtime.engines.tensorrt import TensorRTPluginEngine, plugin_missing
from vadfast.runtime.tensorrt.gpu import Gpu
from vadfast.runtime.tensorrt.library import Library
from vadfast.runtime.tensorrt.plugins import refusal

BATCH = 3
HERE_GPU = Gpu("Fake GPU", "9.0", 13000)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crossing")
    export_onnx(Crossing().eval(), SPEC, folder / "fp32.onnx")
    write_half(folder / "fp32.onnx", folder / "fp16.onnx")
    return folder


@pytest.fixture(
    scope="module",
    params=[
        ("tensorrt-cu13-bindings==10.16.1.11", "fp32"),
        ("tensorrt-cu13-bindings==11.4.0.106", "fp16"),
    ],
    ids=lambda p: f"{p[0].partition('==')[2]}-{p[1]}",
)
def launches(
    request: pytest.FixtureRequest, bindings: Bindings, exported: Path
) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]]]:
    """The precision, what TensorRT gets of each node, and what Triton does in its place; in a process that interprets no kernels."""
    requirement, precision = request.param
    folder, libraries = bindings(requirement)
    ours = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    ours["PYTHONPATH"] = os.pathsep.join(map(str, (HERE.parents[1], HERE.parents[1] / "kernels")))
    model = exported / f"{precision}.onnx"
    done = subprocess.run(
        [sys.executable, str(HERE / "launch_plugins.py"), str(folder), str(BATCH), model, *libraries],
        capture_output=True, text=True, check=False, env=ours,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    nodes, triton = json.loads(
        done.stdout
    )  # and nothing else: TensorRT's plugins say there that they are experimental
    return precision, nodes, triton


def test_each_node_launches_what_triton_does(launches: tuple[Any, ...]) -> None:
    _, nodes, triton = launches
    assert len(nodes) == len(triton) == 4
    for node, wanted in zip(nodes, triton, strict=True):
        launch = node["launch"]
        assert [launch[f"grid_{x}"] for x in "xyz"] == wanted["grid"]
        assert [launch[f"block_{x}"] for x in "xyz"] == [wanted["n_threads"], 1, 1]
        assert launch["shared_mem"] <= 48 * 1024
        assert node["integers"] == wanted["integers"]
        assert node["integer_types"] == ["PluginArgDataType.INT32"]


def test_the_kernel_takes_inputs_integers_outputs_and_nothing_else(
    launches: tuple[Any, ...],
) -> None:
    for node, wanted in zip(launches[1], launches[2], strict=True):
        inputs = ["q_ptr", "k_ptr", "v_ptr", "acc_ptr", "acc_state_ptr"][: len(node["inputs"])]
        integers = [n for n in wanted["arguments"] if not n.endswith("_ptr")]
        order = [*inputs, *integers, "y_ptr", "state_ptr"]
        head = re.search(r"\.entry (\w+)\((.*?)\)", node["ptx"], re.S)
        assert head is not None
        assert head[1] == node["symbol"]
        places = [int(n) for n in re.findall(r"_param_(\d+)", head[2])]
        assert [wanted["arguments"][i] for i in places] == order
        assert parameter_bits(node["ptx"]) == [64 if n.endswith("_ptr") else 32 for n in order]


def test_the_instructions_are_tritons_and_assemble(launches: tuple[Any, ...]) -> None:
    for node, wanted in zip(launches[1], launches[2], strict=True):
        assert node["assembler"] == ""
        ours, theirs = (ptx[ptx.index(".reqntid") :] for ptx in (node["ptx"], wanted["ptx"]))
        assert ours.replace(node["symbol"], "_criss_cross_fwd_kernel") == theirs
    assert (
        len({node["symbol"] for node in launches[1]}) == 2
    )  # rows and columns; both passes are alike


def test_outputs_have_their_sizes_and_types(launches: tuple[Any, ...]) -> None:
    precision, nodes, _ = launches
    y = "DataType.HALF" if precision == "fp16" else "DataType.FLOAT"
    state = [[BATCH, 16, 24, 2], "DataType.FLOAT"]
    for rows, columns in (nodes[:2], nodes[2:]):
        assert rows["outputs"] == [[[BATCH, 16, 24, 6], "DataType.FLOAT"], state]
        assert columns["outputs"] == [[[BATCH, 16, 24, 6], y], state]


def _plugin(calls: list[str]) -> types.ModuleType:
    """``tensorrt.plugin``, as far as registering goes."""
    module = types.ModuleType("tensorrt.plugin")

    def decorator(name: str) -> Any:
        calls.append(name)
        return lambda function: function

    for name in ("TensorDesc", "KernelLaunchParams", "SymExprs"):
        setattr(module, name, type(name, (), {}))
    module.register = module.aot_impl = decorator  # type: ignore[attr-defined]
    return module


def test_an_engine_registers_both_once_and_scores(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setitem(sys.modules, "tensorrt.plugin", _plugin(calls))
    machine.tensorrt.module.IPluginV3QuickAOTBuild = object  # type: ignore[attr-defined]
    assert plugin_missing() is None
    for _ in range(2):
        engine = TensorRTPluginEngine.load(machine.model, precision="fp16", batch=2)
        assert engine.backend == "tensorrt-plugin"
        assert_scores(engine)
    assert calls == ["vadfast::CrissCrossRows"] * 2 + ["vadfast::CrissCrossColumns"] * 2


@pytest.mark.parametrize(
    ("module", "version", "capability", "said"),
    [
        ("tensorrt_rtx", "1.7.1", "9.0", "TensorRT-RTX 1.7.1 takes no plugins; take tensorrt"),
        ("tensorrt", "10.3.0", "8.7", "needs TensorRT 10.9 or newer for plugins compiled ahead of time, got TensorRT 10.3.0"),
        ("tensorrt_bindings", "11.4.0", "9.0", "needs the package tensorrt, whose plugins import it by that name, got tensorrt_bindings"),
        ("tensorrt", "11.4.0", "7.5", "needs a GPU of compute capability 8.0 or newer for its kernels, Fake GPU has 7.5"),
    ],
)  # fmt: skip
def test_who_cannot_take_them_says_so(
    module: str, version: str, capability: str, said: str
) -> None:
    trt: Any = types.SimpleNamespace()
    if version.startswith("11"):
        trt.IPluginV3QuickAOTBuild = object
    words = refusal(Library(trt, module, version), Gpu("Fake GPU", capability, 13000))
    assert words is not None
    assert words.startswith(said)


def test_the_real_rtx_is_refused(rtx: Library) -> None:
    assert not hasattr(rtx.trt, "IPluginV3QuickAOTBuild")
    words = refusal(rtx, HERE_GPU)
    assert words is not None
    assert "takes no plugins" in words


def test_packages_that_do_not_fit_together_are_said(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.tensorrt.module.IPluginV3QuickAOTBuild = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt.plugin", None)
    with pytest.raises(BackendError, match=r"tensorrt.plugin cannot be imported .* same version"):
        TensorRTPluginEngine.load(machine.model, precision="fp32", batch=2)


def test_the_backend_leaves_a_model_without_it_out(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.tensorrt.module.IPluginV3QuickAOTBuild = object  # type: ignore[attr-defined]
    backend = TensorRTPluginBackend()
    assert backend.can_run("fp32") is None
    assert backend.packages == ("tensorrt", "cupy")  # what runs it: no triton
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        assert "triton, which compiles its kernel, is not installed" in str(backend.can_run("fp32"))
    workshop = Workshop(torch.nn.Identity(), SPEC, None, machine.model.parent)
    with pytest.raises(BackendError, match="left out: the model has no criss-cross attention"):
        backend.build(workshop, "fp32", 1)


@pytest.mark.gpu
@pytest.mark.skipif(
    TensorRTPluginBackend().can_run("fp32") is not None,
    reason=f"tensorrt-plugin {TensorRTPluginBackend().can_run('fp32')}",
)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_on_a_gpu_the_scores_are_those_of_eager(
    exported: Path, precision: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With TensorRT's own kernels beside ours, from a batch of one and of several: a block along y is a line of one image."""
    monkeypatch.setenv("VADFAST_CACHE", str(tmp_path / "cache"))
    shutil.copyfile(exported / "fp32.onnx", tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "model.onnx", providers=["CPUExecutionProvider"]
    )
    workshop = Workshop(torch.nn.Identity(), SPEC, None, tmp_path)
    for batch in (1, BATCH):
        images = film(SPEC.n_frames + batch, seed=batch)
        frames = np.stack([images[i : i + SPEC.n_frames] for i in range(batch)])
        components, heatmap = session.run(["components", "heatmap"], {"frames": frames})
        engine = TensorRTPluginBackend().build(workshop, precision, batch)
        found = engine(frames)
        engine.close()
        assert_within(found, components, heatmap, precision)
