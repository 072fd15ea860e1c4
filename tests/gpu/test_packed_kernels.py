"""A packed kernel, launched by the driver alone, computes what its operator computes, bit for bit."""

import json
from pathlib import Path

import pytest
import torch
from vadfast_kernels import ops
from vadfast_kernels.aot.__main__ import main
from vadfast_kernels.aot.compiled import ARCHITECTURES
from vadfast_kernels.launcher import Pack

from tests.ops.inputs import criss_cross_inputs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU"),
]

ROW = "criss_cross_fwd L9 D8 C16 fp16"


def test_criss_cross_from_a_pack_equals_the_operator(tmp_path: Path) -> None:
    major, minor = torch.cuda.get_device_capability()
    if (architecture := 10 * major + minor) not in ARCHITECTURES:
        pytest.skip(f"nothing is compiled for sm_{architecture}")
    assert main(["-k", ROW, "--arch", str(architecture), "--out", str(tmp_path)]) == 0
    entries = json.loads((tmp_path / "manifest.json").read_text())["kernels"]

    q, k, v = (
        x.to("cuda", torch.float16).contiguous(memory_format=torch.channels_last)
        for x in criss_cross_inputs((2, 8, 16, 9, 9))
    )
    shapes = ((2, 9, 9, 16), (2, 9, 9, 2), (2, 9, 9, 2))
    acc, acc_state, state = (torch.empty(shape, device="cuda") for shape in shapes)
    y = torch.empty((2, 9, 9, 16), dtype=torch.float16, device="cuda")
    inputs = {"q_ptr": q, "k_ptr": k, "v_ptr": v, "acc_ptr": acc, "acc_state_ptr": acc_state}
    outputs = {
        ROW: {"y_ptr": acc, "state_ptr": acc_state},
        f"{ROW} column": {"y_ptr": y, "state_ptr": state},
    }
    kernels, stream = Pack(tmp_path), torch.cuda.current_stream().cuda_stream
    for entry in entries:  # rows, then columns
        pointers = {n: x.data_ptr() for n, x in (inputs | outputs[entry["name"]]).items()}
        values = pointers | entry["scalars"]
        kernels[entry["name"]](*(values[a["name"]] for a in entry["arguments"]), stream=stream)
    wanted = ops.criss_cross_attention(q, k, v, backend="triton")
    assert torch.equal(y.movedim(-1, 1), wanted)
