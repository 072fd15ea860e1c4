"""The loss of the worst patch, written for the eye: the mean squared error of each patch, and the largest of each sample."""

from torch import Tensor

from vadfast_kernels._dtypes import wide


def patch_max_loss(predicted: Tensor, target: Tensor, *, rows: int = 4, columns: int = 4) -> Tensor:
    """The formula of ``op.py``; differences in the dtype of the inputs, [B, C, H, W] twice -> scalar."""
    error = (predicted - target).square()
    patches = error.unflatten(3, (columns, -1)).unflatten(
        2, (rows, -1)
    )  # [B, C, rows, h, columns, w]
    by_patch = patches.mean(dim=(1, 3, 5), dtype=wide(error)).flatten(1)  # [B, rows * columns]
    # max and not amax, which would share the gradient among equals: the first of them has all of it.
    return by_patch.max(dim=1).values.mean()
