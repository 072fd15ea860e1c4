"""What is compiled ahead of time is what an operator launches, specialised as Triton would."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from vadfast_kernels.aot import pack, recorded
from vadfast_kernels.aot.sass import counted

ROOT = Path(__file__).parents[2]
_CODE = """
import json, torch
from vadfast_kernels.aot import recorded
from vadfast_kernels.criss_cross_attention import triton_impl

def maps(channels):
    return torch.empty(1, 48, 32, channels, device="meta").movedim(-1, 1)

builds = list(recorded("here", lambda: triton_impl.forward(maps(8), maps(8), maps(24))))
print(json.dumps([
    {"name": b.name, "constants": b.constants, "multiples": sorted(b.multiples), "grid": b.grid, "scalars": b.scalars,
     "arguments": b.arguments()} for b in builds
]))
"""


def test_a_launch_is_recorded_with_its_strides_multiples_and_grid() -> None:
    environment = {"PYTHONPATH": str(ROOT / "kernels"), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", _CODE], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    row, column = json.loads(done.stdout)
    assert (row["name"], column["name"]) == ("criss_cross_fwd here", "criss_cross_fwd here column")
    assert row["scalars"]["L"] == 32
    assert column["scalars"]["L"] == 48
    # A position's log-sum-exp is next to its neighbour's: 1, and so a constant, along the line or across it.
    assert row["constants"]["lse_at"] == column["constants"]["lse_line"] == 1
    assert "lse_at" not in row["arguments"]
    # 8 channels of q are no multiple of 16, a row of 32 positions of them is.
    assert "q_line" in row["multiples"]
    assert "q_at" not in row["multiples"]
    assert {"q_ptr", "y_ptr"} <= set(row["multiples"])
    block = row["constants"]["BLOCK_Q"]
    assert row["grid"][0] == -(-32 // block)
    assert row["grid"][1] == 48


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
    build = Build("k", _Kernel, {"x_ptr": "*fp32"}, {}, frozenset(), 4, 2, (1, 1, 1), {})
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
