"""The doctor tells the truth about this machine, to people and to scripts."""

import json
import sys
from pathlib import Path

import pytest
import torch
from vadfast_kernels import _native, ops

from vadfast import machine as machine_module
from vadfast.cli import exit_code_of
from vadfast.doctor.__main__ import command


def _doctor(*arguments: object) -> int:
    return exit_code_of(command, name="doctor", arguments=[str(a) for a in arguments])


def test_every_operator_has_a_backend_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _doctor("--json", tmp_path / "doctor.json") == 0
    document = json.loads((tmp_path / "doctor.json").read_text())
    assert set(document["operators"]) == set(ops.operators())
    for name, verdicts in document["operators"].items():
        assert sum(v["chosen"] for v in verdicts) == 1, name
        assert all(v["can_run"] != bool(v["reason"]) for v in verdicts), name
    assert document["machine"]["torch"] == torch.__version__
    assert document["bundle"] == {}
    said = capsys.readouterr()
    assert "would run" in said.out
    assert "would run" not in said.err


def test_without_torch_it_says_what_works_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert _doctor() == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "the table of operators needs torch, which cannot be imported" in said
    assert "python -m vadfast.doctor NAME.vad" in said


def test_a_refusal_has_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert _doctor("--dtype", "float64", "--json", "-") == 0
    verdicts = json.loads(capsys.readouterr().out)["operators"]["criss_cross_attention"]
    assert verdicts[0]["reason"] == "computes in float32, float16 and bfloat16, got torch.float64"


def test_a_call_of_given_shapes_is_judged(capsys: pytest.CaptureFixture[str]) -> None:
    wide = ("--shape", "1x200x64x64")
    value = ("--shape", "1x8x64x64")
    assert _doctor("--operator", "criss_cross_attention", *wide, *wide, *value, "--json", "-") == 0
    found = json.loads(capsys.readouterr().out)["operators"]
    assert list(found) == ["criss_cross_attention"]
    triton, native, torch = found["criss_cross_attention"]
    assert triton["reason"] == "takes at most 128 query channels, got 200"
    assert [native["chosen"], torch["chosen"]] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("preprocess", "--dtype", "float16"), "picture must be uint8, got torch.float16"),
        (("preprocess", "--shape", "1x4x4x4"), "picture must be [B, H, W, 3] and not empty"),
        (("criss_cross_attention", "--shape", "1x8x9x9"), "criss_cross_attention: "),
        (("sta_attention", "--dtype", "float16"), "f must be float32 or float64"),
        (("variance_attention", "--shape", "1x2x5x4"), "cell must divide H and W, 5 and 4"),
    ],
)
def test_what_the_call_would_raise_is_what_it_says(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _doctor("--operator", *arguments, "--json", "-") == 0
    (verdicts,) = json.loads(capsys.readouterr().out)["operators"].values()
    assert all(words in v["reason"] and not v["can_run"] and not v["chosen"] for v in verdicts)


def test_it_says_which_variant_of_the_core_this_cpu_takes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    v3 = frozenset(["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"])
    levels = ["x86-64-v4", "x86-64-v3", "x86-64"]
    for features, level in (
        (frozenset(), levels[2]),
        (v3, levels[1]),
        (v3 | {"avx512f"}, levels[1]),
    ):
        monkeypatch.setattr(machine_module, "cpu_features", lambda has=features: has)
        assert machine_module._level(levels) == level


def test_it_says_what_the_native_core_was_built_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _doctor("--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["machine"]["native"]["abi"] == 1
    monkeypatch.setattr(_native, "refusal", lambda: "cannot be imported (why)")
    assert _doctor() == 0
    assert "native core: none: it cannot be imported (why)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--operator", "criss"), "--operator: must be one of attention_loss,"),
        (("--shape", "1x2"), "--shape: needs --operator"),
        (
            ("--operator", "sta_attention", "--shape", "1x0x3"),
            "must be 3 sizes above 0 as in 1x32x8, got '1x0x3'",
        ),
        (
            ("--operator", "variance_attention", "--shape", "1x2x4x4", "--shape", "4"),
            "must come at most 1 times for variance_attention, came 2 times",
        ),
        (("--dtype", "int8"), "--dtype: must be one of"),
        (("--device", "tpu9x"), "--device: must be"),
        (("--json", "/proc/x/y.json"), "--json: must be a file that can be written, got"),
    ],
)
def test_wrong_words_are_usage_errors(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _doctor(*arguments) == 2
    assert words in " ".join(capsys.readouterr().err.split())
