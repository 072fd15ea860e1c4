"""The CUDA backend where there is no GPU: what its float32 means."""

import pytest
import torch

from vadfast.compile.backends.cuda import exact_float32


def test_float32_is_no_tf32_and_torchs_own_settings_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with exact_float32():
            assert not torch.backends.cudnn.allow_tf32
            assert torch.backends.cudnn.enabled
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
