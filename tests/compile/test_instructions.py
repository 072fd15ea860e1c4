"""What compiled code needs of a CPU: every instruction set that the compiler says it takes, and none of the kernel's words."""

import os
import re
import shutil
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tiny_bundle import manifest_values
from vadfast.compile import instructions
from vadfast.compile.backends import all_backends, compute_capability, needs
from vadfast.compile.backends.cuda_inductor import CUDAInductorBackend
from vadfast.compile.backends.inductor import InductorBackend
from vadfast.compile.backends.onnxruntime import ONNXRuntimeBackend
from vadfast.compile.gate import BOUNDS
from vadfast.compile.sealing import make_manifest
from vadfast.runtime.engine import COMPILED_WITH, ENGINES, installed_version
from vadfast.runtime.manifest import Manifest

# The compiler's name of a set, where Linux has another word for it.
_LINUX = {
    "sse3": "pni",
    "lzcnt": "abm",
    "bmi": "bmi1",
    "pclmul": "pclmulqdq",
    "sha": "sha_ni",
    "lahfsahf": "lahf_lm",
}
_SET = re.compile(
    r"__((?:S?SSE|AVX|AMX|APX|BMI|FMA|F16C|LZCNT|POPCNT|MOVBE|GFNI|V?AES|V?PCLMUL|SHA|XOP|TBM|ADX|LAHF)\w*?)__ 1"
)


def _told(monkeypatch: pytest.MonkeyPatch, features: str, machine: str) -> tuple[str, ...]:
    monkeypatch.setattr(instructions, "cpu_features", lambda: frozenset(features.split()))
    monkeypatch.setattr(instructions.platform, "machine", lambda: machine)
    return instructions.native_instructions()


def test_of_linux_words_they_are_the_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    x86 = "fpu hypervisor constant_tsc sse2 pni avx2 bmi1 abm amx_tile bf16 int8 tsc rdseed"
    assert _told(monkeypatch, x86, "x86_64") == ("abm", "amx_tile", "avx2", "bmi1", "pni", "sse2")
    arm = "fp asimd evtstrm atomics cpuid asimddp bf16 i8mm int8"
    assert _told(monkeypatch, arm, "aarch64") == (
        "asimd",
        "asimddp",
        "atomics",
        "bf16",
        "fp",
        "i8mm",
    )


@pytest.mark.skipif(instructions.platform.machine() != "x86_64", reason="the names are x86's")
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no compiler to ask")
def test_none_of_the_compilers_is_forgotten() -> None:
    command = ["g++", "-march=native", "-dM", "-E", "-x", "c++", os.devnull]
    macros = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    taken = {
        name.lower().replace("_", "") for name in _SET.findall(macros) if not name.endswith("MATH")
    }
    assert {"sse", "sse2"} <= taken
    known = {name.replace("_", "") for name in instructions.native_instructions()}
    assert {_LINUX.get(name, name).replace("_", "") for name in taken} <= known


def test_code_that_is_compiled_here_needs_this_cpu_and_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vadfast.runtime.tensorrt.gpu.gpu_capability", lambda: "9.0")
    native = instructions.native_instructions()
    assert native
    for backend in all_backends():
        compiled = backend.name in COMPILED_WITH
        assert needs(backend, "fp32") == (native if compiled else ())
        wanted = "9.0" if backend.name == "cuda-inductor" else None
        assert compute_capability(backend) == wanted
        if compiled:
            assert (
                COMPILED_WITH[backend.name] in backend.packages
            )  # so the manifest has its version
    assert set(COMPILED_WITH) < set(ENGINES)


def test_the_manifest_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vadfast.runtime.tensorrt.gpu.gpu_capability", lambda: "9.0")
    tiny = Manifest.model_validate({**manifest_values(), "files": {}})
    components = tuple(c.model_copy(update={"unit": "dB"}) for c in tiny.components)
    model: Any = SimpleNamespace(
        method="tiny",
        checkpoint_sha256="0" * 64,
        components=components,
        paper_chain=tiny.paper_chain,
        causal_chain=tiny.causal_chain,
    )
    plan: Any = SimpleNamespace(model=model, bounds=BOUNDS)
    shipped: Any = [
        SimpleNamespace(backend=b, precision="fp32", batch=1, threads=None, median_ms=1.0)
        for b in (InductorBackend(), CUDAInductorBackend(), ONNXRuntimeBackend())
    ]
    made = make_manifest(
        plan,
        spec=tiny.input,
        heatmap=tiny.heatmap,
        calibration=tiny.calibration,
        alert=tiny.alert,
        shipped=shipped,
        gate={},
        rows=(),
        load=(0.0, 0.0),
    )
    native = instructions.native_instructions()
    assert [(a.needs, a.compute_capability) for a in made.artefacts] == [
        (native, None),
        (native, "9.0"),
        ((), None),
    ]
    assert {a.versions["torch"] for a in made.artefacts[:2]} == {installed_version("torch")}
