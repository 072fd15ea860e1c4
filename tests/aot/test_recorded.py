"""What is compiled ahead of time is what an operator launches, specialised as Triton would."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from vadfast_kernels.aot import pack, recorded
from vadfast_kernels.aot.sass import counted

HERE = Path(__file__).parent


def test_a_launch_is_recorded_as_triton_would_specialise_it() -> None:
    environment = {"PYTHONPATH": str(HERE.parents[1] / "kernels"), "PATH": os.environ["PATH"]}
    command = [sys.executable, str(HERE / "toy.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    rows, columns = json.loads(done.stdout)
    assert [rows["name"], columns["name"]] == ["scaled_rows 48x40", "scaled_rows 48x40 square"]
    # A stride of 1 is folded in; every other integer is passed, and is known to be a multiple of 16 or not.
    assert rows["constants"] == {"x_at": 1, "BLOCK": 64, "SQUARE": False}
    assert columns["constants"] == {"x_row": 1, "BLOCK": 64, "SQUARE": True}
    assert rows["arguments"] == ["y_ptr", "x_ptr", "scale", "N", "y_row", "x_row"]
    assert columns["arguments"] == ["y_ptr", "x_ptr", "scale", "N", "y_row", "x_at"]
    assert rows["multiples"] == ["x_ptr", "y_ptr"]  # N, y_row, x_row: 40
    assert columns["multiples"] == ["N", "x_ptr", "y_ptr", "y_row"]  # 48
    assert rows["scalars"] == {"scale": 0.5, "N": 40, "y_row": 40, "x_row": 40}
    assert [rows["grid"], columns["grid"]] == [[48, 1, 1], [40, 1, 1]]
    assert (rows["types"]["x_ptr"], rows["types"]["y_ptr"]) == ("*fp16", "*fp32")
    assert rows["n_warps"] == 2


def test_kernels_that_are_interpreted_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(RuntimeError, match=r"TRITON_INTERPRET is not set, and it is: unset it$"):
        list(recorded("here", lambda: None))


def test_instructions_are_counted_by_what_they_mean() -> None:
    found = counted("""
        /*0000*/                   LDG.E.128 R4, [R2.64] ;
        /*0010*/              @!P0 LDG.E R8, [R2.64] ;
        /*0020*/                   LDGSTS.E.BYPASS.128 [R1], [R2.64] ;
        /*0030*/                   HMMA.16816.F32 R4, R8, R10, R4 ;
        /*0040*/              @UP0 UTCHMMA gdesc[UR4], gdesc[UR6], tmem[UR8] ;
        /*0050*/                   STL [R1+0x8], R4 ;
        /*0060*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*0070*/                   FFMA R1, R2, R3, R4 ;
        /*0080*/                   RED.E.ADD.F32 [R2.64], R3 ;
        /*0090*/                   MUFU.EX2 R1, R2 ;
    .L_x_3:
    """)
    assert found.matrix == {"HMMA": 1, "UTCHMMA": 1}
    assert (found.loads, found.wide, found.copies) == (3, 2, 1)
    assert (found.spills, found.barriers, found.fma, found.atomics) == (1, 1, 1, 1)


def test_parameters_are_read_from_the_ptx() -> None:
    ptx = """
.visible .entry k(
	.param .u64 .ptr .global .align 1 k_param_0,
	.param .u32 k_param_1,
	.param .f32 k_param_2,
	.param .u64 .ptr .global .align 1 k_param_3
)
.reqntid 128
"""
    assert pack.parameter_bits(ptx) == [64, 32, 32, 64]


class _Kernel:
    arg_names = ("x_ptr",)


def _packed(**metadata: Any) -> None:
    from vadfast_kernels.aot.build import Build
    from vadfast_kernels.aot.compiled import Compiled, Resources

    said = {
        "global_scratch_size": 0,
        "profile_scratch_size": 0,
        "num_ctas": 1,
        "tensordesc_meta": [],
        "launch_pdl": False,
    }
    said |= {"launch_cooperative_grid": False} | metadata
    build = Build("k", _Kernel, {"x_ptr": "*fp32"}, {}, frozenset(), 4, 2, None, (1, 1, 1), {})
    ptx = said.pop("ptx", ".entry k(.param .u64 a, .param .u64 b, .param .u64 c)")
    compiled = Compiled(b"", ptx, said, Resources("k", 80, 1, 0, 0, 0, None))
    pack.check_can_launch(build, compiled)


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"global_scratch_size": 64}, "needs scratch memory, which launcher.py does not do"),
        ({"num_ctas": 2}, "needs clusters"),
        ({"ptx": ".entry k(.param .u64 a, .param .u64 b)"}, "passes arguments in another way"),
    ],
)
def test_what_the_launcher_does_not_do_is_not_packed(
    metadata: dict[str, Any], sentence: str
) -> None:
    _packed()
    with pytest.raises(ValueError, match=sentence):
        _packed(**metadata)
