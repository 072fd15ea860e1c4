"""``python -m vadfast_kernels.aot``: kernels compile for GPUs that are not here, and what does not fit fails."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from vadfast_kernels import aot
from vadfast_kernels.aot import __main__ as command
from vadfast_kernels.aot.compiled import ARCHITECTURES, Resources
from vadfast_kernels.aot.sass import Facts
from vadfast_kernels.aot.table import table

FACTS = Facts(matrix={"HMMA": 8}, fma=0, loads=4, wide=3, copies=2, spills=0, barriers=1, atomics=0)


def _resources(build: str, architecture: int, registers: int = 64, **changed: Any) -> Resources:
    found = {"spill_bytes": 0, "shared_bytes": 2048, "cubin_bytes": 1, "facts": FACTS}
    return Resources(build, architecture, registers, **(found | changed))


@pytest.mark.e2e
def test_a_shape_of_apn_fits_every_architecture(aot: Any, tmp_path: Path) -> None:
    file = tmp_path / "table.md"
    done = aot(
        "--check", "--json", "-k", "fwd L128 D16 C128 bf16 column", "--table", str(file)
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["architecture"] for row in rows] == list(ARCHITECTURES)
    assert len({row["build"] for row in rows}) == 1
    for row in rows:
        assert row["registers"] > 0
        assert row["spill_bytes"] == row["facts"]["spills"] == row["facts"]["atomics"] == 0
        # Its products run on tensor cores, and its tiles come in wide loads that the arithmetic does not wait for.
        assert row["facts"]["matrix"]
        assert row["facts"]["wide"] > 0
        assert row["facts"]["copies"] > 0
    assert file.read_text().count("| L128 D16 C128 bf16 column |") == 1


def test_a_spill_and_too_much_shared_memory_are_faults() -> None:
    assert _resources("k", 86, 255, shared_bytes=99 * 1024).faults() == []
    wrong = _resources("k", 86, 255, spill_bytes=8, shared_bytes=99 * 1024 + 1)
    assert wrong.faults() == [
        "spills 8 bytes of registers",
        f"needs {99 * 1024 + 1} bytes of shared memory, {99 * 1024} are there",
    ]


@pytest.mark.parametrize(
    ("arguments", "spill_bytes", "status"), [([], 8, 0), (["--check"], 8, 1), (["--check"], 0, 0)]
)
def test_a_fault_fails_where_it_was_asked_to(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], spill_bytes: int, status: int
) -> None:
    compiled = type("Compiled", (), {"resources": _resources("k", 90, spill_bytes=spill_bytes)})
    monkeypatch.setattr(command, "compile_all", lambda *_: iter([(None, compiled)]))
    monkeypatch.setattr(command, "builds", lambda: iter([_build("k")]))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert command.main(arguments) == status


@pytest.mark.parametrize("arguments", [["--check", "-k", "typo"], ["--check"]])
def test_what_would_check_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """A name that no kernel has; and a process in which kernels are interpreted."""
    interpreted = "-k" not in arguments
    monkeypatch.setattr(command, "builds", lambda: iter([_build("k")]))
    monkeypatch.setenv("TRITON_INTERPRET", "1" if interpreted else "0")
    assert command.main(arguments) == 2
    sentence = "unset it" if interpreted else "no kernel's name contains 'typo'"
    assert sentence in capsys.readouterr().err


def _build(name: str, **changed: Any) -> aot.Build:
    kernel = type("Kernel", (), {"__name__": "k", "arg_names": ("x_ptr", "N")})()
    described = {"types": {"x_ptr": "*fp32", "N": "i32"}, "constants": {}, "multiples": frozenset()}
    described |= {
        "n_warps": 4,
        "n_stages": 2,
        "max_registers": None,
        "grid": (1, 1, 1),
        "scalars": {"N": 3},
    }
    return aot.Build(name, kernel, **(described | changed))


def test_builds_that_triton_does_not_tell_apart_are_compiled_once() -> None:
    kinds = [_build("a"), _build("b", scalars={"N": 5}), _build("c", n_warps=8)]
    assert [build.name for build in aot.distinct(kinds)] == ["a", "c"]


def test_the_table_has_a_row_a_kernel_and_names_faults_and_differences() -> None:
    hopper = Facts({"HGMMA": 2}, fma=0, loads=4, wide=4, copies=2, spills=0, barriers=1, atomics=0)
    rows = [
        _resources("op_fwd L9 fp16", 80, 60),
        _resources("op_fwd L9 fp16", 86, 64),
        _resources("op_fwd L9 fp16", 90, 62, facts=hopper),
        _resources("op_bwd L9 fp16", 86, 255, spill_bytes=16),
    ]
    text = table(rows)
    assert "| L9 fp16 | 60-64 | 2 | 0 | HMMA; HGMMA on 90 | 0 | 3-4 of 4 | 2 | 1 |" in text
    assert "## op_fwd" in text
    assert "## op_bwd" in text
    assert "with 1 faults" in text
    assert "- `op_bwd L9 fp16` on sm_86 spills 16 bytes of registers" in text


@pytest.mark.e2e
def test_packing_twice_gives_the_same_bytes(
    aot: Any, pack: Path, pack_arguments: tuple[str, ...], tmp_path: Path
) -> None:
    """From an empty cache, in another folder for temporary files: nothing of the first pack is reused."""
    (tmp_path / "tmp").mkdir()
    again = tmp_path / "again"
    done = aot(
        *pack_arguments, "--out", str(again), TRITON_CACHE_DIR=str(tmp_path / "cache"), TMPDIR=str(tmp_path / "tmp"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = (
        {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
        for folder in (pack, again)
    )
    assert first == second
    assert len(first) == 6  # 2 kernels for 2 architectures, manifest, launcher


@pytest.mark.e2e
def test_a_pack_says_what_a_launch_needs_and_names_no_path_of_this_machine(pack: Path) -> None:
    manifest = json.loads((pack / "manifest.json").read_text())
    assert manifest["format"] == 1
    assert [k["architecture"] for k in manifest["kernels"]] == [80, 90, 80, 90]
    for kernel in manifest["kernels"]:
        cubin = (pack / kernel["file"]).read_bytes()
        assert cubin.startswith(b"\x7fELF")
        assert hashlib.sha256(cubin).hexdigest() == kernel["sha256"]
        assert kernel["symbol"].encode() in cubin
        assert not any(part in cubin for part in (b".py", b".ptx", b"/tmp", b"/home"))
        names = {a["name"] for a in kernel["arguments"]}
        assert not names & set(kernel["constants"])
        assert set(kernel["scalars"]) < names
        assert kernel["constants"]["BLOCK_D"] == 16


def test_a_folder_that_holds_something_is_refused_before_anything_is_compiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(command, "builds", lambda: iter([_build("k")]))
    monkeypatch.setattr(command, "compile_all", None)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    (tmp_path / "mine").write_text("keep")
    assert command.main(["--out", str(tmp_path)]) == 2
    assert "must be a new or empty folder" in capsys.readouterr().err
