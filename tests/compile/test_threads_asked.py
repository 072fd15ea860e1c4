"""``--threads`` reaches every engine of a CPU: those that are built for the race, and those that a bundle is opened with."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.compile.tiny import SPEC, TinyScorer, manifest
from vadfast.cli import exit_code_of
from vadfast.compile import build as build_module
from vadfast.compile.__main__ import command
from vadfast.compile.backends import Backend, Workshop, backends_of, eager, mnn
from vadfast.errors import BuildError
from vadfast.runtime import engine as engine_module
from vadfast.runtime.engine import load_artefact

ON_CPU = {backend.name: backend for backend in backends_of("cpu")}


class _Recorder:
    """Stands in for an engine, however it is made."""

    told: dict[str, Any]

    def __init__(self, *_: object, **told: Any) -> None:
        self.told = told

    @classmethod
    def load(cls, _: Path, **told: Any) -> "_Recorder":
        return cls(**told)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every engine is a recorder, and nothing is converted or compiled for it."""
    for backend in ON_CPU:
        module, _, name = engine_module.ENGINES[backend].partition(":")
        monkeypatch.setattr(f"{module}.{name}", _Recorder)
    monkeypatch.setattr(eager, "EagerEngine", _Recorder)
    monkeypatch.setattr(mnn, "convert", lambda *_: None)


def _begun(backend: Backend) -> dict[str, Any]:
    """A package that is compiled already."""
    return {backend.path("fp32"): nullcontext(SimpleNamespace(finish=lambda: None))}


def test_there_are_engines_to_ask() -> None:
    assert set(ON_CPU) == {"eager", "inductor", "mnn", "onnxruntime", "openvino"}


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("name", ON_CPU)
def test_every_engine_of_the_race_is_told(name: str, tmp_path: Path) -> None:
    backend = ON_CPU[name]
    for asked in (3, None):
        workshop = Workshop(
            TinyScorer(), SPEC, None, tmp_path, threads=asked, begun=_begun(backend)
        )
        for precision in backend.precisions:
            engine: Any = backend.build(workshop, precision, 1)
            assert engine.told["threads"] == asked, precision


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("name", ON_CPU)
def test_every_engine_of_a_bundle_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_unfit", lambda _: None)
    (artefact,) = manifest().artefacts
    artefact = artefact.model_copy(update={"backend": name})
    bundle: Any = SimpleNamespace(file=lambda path: Path(path))
    engine: Any = load_artefact(bundle, artefact, 3)
    assert engine.told["threads"] == 3


def test_the_option_is_what_engines_are_told(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int | None] = []

    def stop(_: object, workshop: Workshop, __: object) -> None:
        seen.append(workshop.threads)
        raise BuildError("far enough")

    monkeypatch.setattr(build_module, "begin_ahead", stop)
    for words, told in (([], None), (["--threads", "3"], 3)):
        arguments = [str(run), "--out", str(tmp_path / "a.vad"), *words]
        assert exit_code_of(command, name="compile", arguments=arguments) == 4
        assert seen[-1] == told
