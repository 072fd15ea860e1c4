"""What the doctor advises beside the number of cameras follows from what it found."""

from pathlib import Path
from typing import Any

import pytest

from tests.tiny_bundle import artefact, manifest_values
from vadfast.doctor.bundle import Examination, Examined
from vadfast.doctor.verdict import _more
from vadfast.race import Timing
from vadfast.runtime.manifest import Artefact, Manifest


def test_auto_takes_the_first_that_runs_a_larger_batch_too() -> None:
    manifest = Manifest.model_validate(manifest_values(files={}))

    def examined(batch: int, refusal: str = "") -> Examined:
        made = Artefact.model_validate(artefact("onnxruntime", batch=batch))
        return Examined(made, refusal=refusal)

    refused, one, eight = examined(1, "why not"), examined(1), examined(8)
    assert Examination(Path("a.vad"), manifest, (refused, one, eight)).chosen is one
    assert Examination(Path("a.vad"), manifest, (refused, eight)).chosen is eight
    nothing = Examination(Path("a.vad"), manifest, (refused, examined(8, "nor this")))
    assert nothing.chosen is None
    assert "onnxruntime fp32: why not; onnxruntime fp32: nor this" in str(nothing.fault)


def test_what_else_would_help_the_engine_is_what_was_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vadfast.doctor.verdict.cpu_features", lambda: frozenset({"avx2"}))
    manifest = Manifest.model_validate(manifest_values(files={}))

    def timed(ms: float | None, **changes: Any) -> Examined:
        made = Artefact.model_validate(artefact(**{"backend": "onnxruntime"} | changes))
        if ms is None:
            return Examined(made, refusal="needs amx-2")
        return Examined(made, timing=Timing(ms, ms, ms, (ms,)))

    def more(*artefacts: Examined, threads: int | None = None) -> list[str]:
        return _more(Examination(Path("a.vad"), manifest, artefacts), 4, threads)

    assert more(timed(10)) == []
    assert more(timed(10), timed(9.5, backend="mnn")) == [], (
        "a tenth is the clock's, not the artefact's"
    )
    assert more(timed(10), timed(5, backend="mnn")) == [
        "run vadfast.score with --backend mnn, 5 ms a window here"
    ]
    assert more(timed(10), timed(5, batch=8)) == [], "no command opens another batch than the first"
    assert more(timed(10), timed(5, precision="bf16")) == [
        "compile again on this machine, where onnxruntime bf16 is faster: 5 ms a window"
    ], "--backend onnxruntime would take the first"
    assert more(timed(None), timed(10, backend="mnn"), timed(5)) == [
        "run vadfast.score with --backend onnxruntime, 5 ms a window here"
    ], "the first that can run"
    assert more(timed(None, needs=["amx-2", "avx2"]), timed(5)) == [
        "take a machine whose CPU has amx-2 instructions: the bundle is ready for it"
    ]
    assert more(timed(5), threads=1) == [
        "leave out --threads or give more (the engine had 1, there are 4 CPUs)"
    ]
    assert more(timed(5), threads=4) == []
