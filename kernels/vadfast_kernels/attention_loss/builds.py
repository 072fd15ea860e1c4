"""Which attention-loss kernels are compiled ahead of time: frames of the sizes that training uses, in either memory format."""

from collections.abc import Iterator

from vadfast_kernels.aot import Build, build
from vadfast_kernels.attention_loss import triton_impl
from vadfast_kernels.attention_loss.tuned import block_sizes

SHAPES = ((4, 3, 256, 256), (8, 3, 128, 128))
# Types of the prediction, and of target and map: the last is a network under autocast.
_TYPES = (("fp32", "fp32"), ("fp16", "fp16"), ("bf16", "bf16"), ("bf16", "fp32"))
# A launch makes a constant of a stride of 1.
_UNIT_STRIDES = {
    "planes": ("grad_w", "p_w", "g_w", "a_w"),
    "channels last": ("grad_c", "p_c", "g_c", "a_c"),
}


def builds() -> Iterator[Build]:
    """Yields the kernel at each shape, memory format, edge and combination of dtypes."""
    kernel = triton_impl._attention_loss_fwd_kernel
    for b, c, h, w in SHAPES:
        blocks = block_sizes(h, w)
        for predicted, constant in _TYPES:
            types = dict.fromkeys(("grad_ptr", "p_ptr"), f"*{predicted}")
            types |= dict.fromkeys(("g_ptr", "a_ptr"), f"*{constant}")
            types |= dict.fromkeys(("content_weight", "gradient_weight", "scale"), "fp32")
            for layout, unit_strides in _UNIT_STRIDES.items():
                for edge in ("drop", "tf"):
                    constants = dict.fromkeys(unit_strides, 1) | {
                        "BLOCK_H": blocks.height, "BLOCK_W": blocks.width, "TF_EDGE": edge == "tf",
                    }  # fmt: skip
                    name = (
                        f"attention_loss_fwd {b}x{c}x{h}x{w} {predicted}/{constant} {layout} {edge}"
                    )
                    yield build(name, kernel, types, constants, blocks.n_warps, 3)
