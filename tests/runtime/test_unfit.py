"""Machine code in a bundle: on another CPU, GPU or library it is refused with a sentence before anything of it is loaded."""

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_bundle import artefact, manifest_values, seal
from vadfast.errors import BackendError
from vadfast.runtime import engine as engine_module
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.engine import load_artefact, open_engine

_CPUINFO = "processor : 0\nflags : fpu sse2 avx2 hypervisor\n"


@pytest.fixture
def lesser_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A CPU that has AVX2, and nothing later."""
    engine_module.cpu_features.cache_clear()
    read = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda self, *a, **k: _CPUINFO if str(self) == "/proc/cpuinfo" else read(self, *a, **k),
    )
    yield
    engine_module.cpu_features.cache_clear()


def _refused(bundle: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> str:
    """Returns why an Inductor package is not loaded; fails if its class is even looked for."""
    backend = changes.pop("backend", "inductor")
    values = {"versions": {"torch": "2.13.0"}, **changes}
    seal(bundle, manifest_values(artefacts=[artefact(backend, **values)]))
    opened = open_bundle(bundle)
    monkeypatch.setattr(engine_module, "_engine_class", lambda name: pytest.fail("it was loaded"))
    with pytest.raises(BackendError) as caught:
        load_artefact(opened, opened.manifest.artefacts[0])
    return str(caught.value)


@pytest.fixture(autouse=True)
def torch_here(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """The versions that are installed."""
    versions: dict[str, str | None] = {"torch": "2.13.0"}
    monkeypatch.setattr(engine_module, "installed_version", versions.get)
    return versions


@pytest.mark.usefixtures("lesser_cpu")
def test_code_of_a_greater_cpu_is_not_loaded(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _refused(bundle, monkeypatch, needs=["avx2", "avx512f", "avx512_bf16", "sse2"]) == (
        f"needs avx512f, avx512_bf16, which this CPU ({platform.machine()}) does not have"
    )


@pytest.mark.usefixtures("lesser_cpu")
def test_auto_takes_the_next_and_a_name_ends_with_the_reason(bundle: Path) -> None:
    compiled = artefact("inductor", needs=["avx512f"], versions={"torch": "2.13.0"})
    seal(bundle, manifest_values(artefacts=[compiled, artefact("onnxruntime")]))
    assert open_engine(open_bundle(bundle)).backend == "onnxruntime"
    with pytest.raises(
        BackendError, match=r"\(inductor fp32: needs avx512f, which this CPU .*comp"
    ):
        open_engine(open_bundle(bundle), backend="inductor")


@pytest.mark.parametrize(
    ("here", "said"),
    [
        ("2.12.1", "was compiled with torch 2.13.0, here is 2.12.1, which may not call it right"),
        (None, "needs torch 2.13.0, which is not installed"),
    ],
)
def test_a_package_of_another_torch_is_not_loaded(
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    torch_here: dict[str, str | None],
    here: str | None,
    said: str,
) -> None:
    torch_here["torch"] = here
    assert _refused(bundle, monkeypatch) == said


@pytest.mark.parametrize(
    ("here", "said"),
    [("8.6", "this machine has 8.6"), (None, "this machine tells none (no NVIDIA driver)")],
)
def test_code_of_another_gpu_is_not_loaded(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, here: str | None, said: str
) -> None:
    monkeypatch.setattr("vadfast.runtime.tensorrt.gpu.gpu_capability", lambda: here)
    monkeypatch.setattr("vadfast.runtime.tensorrt.gpu.driver_refusal", lambda: "no NVIDIA driver")
    changes = {"backend": "cuda-inductor", "compute_capability": "9.0"}
    assert _refused(bundle, monkeypatch, **changes) == (
        f"needs a GPU of compute capability 9.0, {said}"
    )


def test_what_fits_is_loaded(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same checks, met: then the class is asked, which here is none at all."""
    monkeypatch.setattr("vadfast.runtime.tensorrt.gpu.gpu_capability", lambda: "9.0")
    changes = {"compute_capability": "9.0", "versions": {"torch": "2.13.0"}}
    seal(bundle, manifest_values(artefacts=[artefact("cuda-inductor", **changes)]))
    opened = open_bundle(bundle)
    monkeypatch.setitem(engine_module.ENGINES, "cuda-inductor", "vadfast.absent:Engine")
    with pytest.raises(BackendError, match="cannot be imported"):
        load_artefact(opened, opened.manifest.artefacts[0])


def test_portable_artefacts_take_any_version(bundle: Path) -> None:
    seal(
        bundle,
        manifest_values(artefacts=[artefact("onnxruntime", versions={"onnxruntime": "0.0.1"})]),
    )
    assert open_engine(open_bundle(bundle)).backend == "onnxruntime"
