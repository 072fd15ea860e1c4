"""Attention layers in the form that inference engines run well: the same formula, as products of whole lines, channels last.

An engine sees one operation after another, and pays for each by the memory it moves. The forms for the eye cost more than half of APN's
time in OpenVINO: axes moved for every product, H + W scores glued together for one softmax and cut apart again, M C numbers a position.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from vadfast_kernels.prototype_attention.op import EPS
from vadfast_kernels.prototype_attention.reference import diversity

from vadfast.fusion import criss_cross
from vadfast.layers import CrissCross, Prototypes, PrototypeUnit
from vadfast.layers.prototype_unit import as_image


@contextlib.contextmanager
def graph_forms(model: nn.Module) -> Iterator[None]:
    """Within, every layer of ``model`` that has such a form computes in it; parameters and results stay what they are.

    Known are ``PrototypeUnit``, ``CrissCross``, and the criss-cross layers of CCNet and mmcv as far as ``fuse`` knows them.
    """
    changed = [(layer, form) for layer in model.modules() if (form := _form(layer)) is not None]
    try:
        for layer, form in changed:
            layer.__dict__["forward"] = functools.partial(form, layer)
        yield
    finally:
        for layer, _ in changed:
            layer.__dict__.pop("forward", None)


def _form(layer: nn.Module) -> Callable[..., object] | None:
    if isinstance(layer, PrototypeUnit):
        return _prototype_unit
    recipe = (
        criss_cross.OURS
        if isinstance(layer, CrissCross)
        else criss_cross.PUBLISHED.get(type(layer).__name__)
    )
    if recipe is None or recipe.refusal(layer) is not None:
        return None
    return functools.partial(_criss_cross, recipe)


def _criss_cross(recipe: criss_cross.CrissCrossRecipe, layer: nn.Module, x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, H, W]; scores of rows and of columns stay apart, and share their largest and their sum alone."""
    query, key, value, gamma = recipe.parts(layer)
    x = x.permute(0, 2, 3, 1)  # [B, H, W, C]
    for _ in range(recipe.passes(layer)):
        q, k, v = (F.linear(x, w.weight.flatten(1), w.bias) for w in (query, key, value))
        if recipe.affinity_of(layer) == "cosine":
            q, k = (F.normalize(t, dim=-1, eps=1e-6) for t in (q, k))
        x = _attend(q, k, gamma * v) + x
    return x.permute(0, 3, 1, 2)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The mean of v over each position's row and column, [B, H, W, C]."""
    h, w = q.shape[1:3]
    down = [t.transpose(1, 2) for t in (q, k, v)]  # [B, W, H, .]
    own = torch.eye(h, dtype=torch.bool, device=q.device)  # the row has it already
    row = q @ k.mT  # [B, H, W, W]
    column = down[0] @ down[1].mT + torch.where(own, float("-inf"), 0.0)  # [B, W, H, H]
    top = torch.maximum(row.amax(-1, keepdim=True), column.amax(-1, keepdim=True).transpose(1, 2))
    row, column = (row - top).exp(), (column - top.transpose(1, 2)).exp()
    # Sums as products: OpenVINO in bf16 otherwise keeps all before them in float32, because no product stands between them and the
    # scores (APN, 256 px: 857 ms instead of 320).
    total = row @ row.new_ones(w, 1) + (column @ column.new_ones(h, 1)).transpose(1, 2)
    return (row @ v + (column @ down[2]).transpose(1, 2)) / total


def _prototype_unit(layer: PrototypeUnit, z: Tensor) -> Prototypes:
    """[B, C, H, W] -> y of the same shape, and what belongs to it; nothing has M C numbers a position."""
    zs = z.permute(0, 2, 3, 1).flatten(1, 2)  # [B, N, C]
    u = (zs @ layer.score.weight.T).mT.softmax(dim=-1) @ zs  # [B, M, C]
    p = u / torch.linalg.vector_norm(u, dim=-1, keepdim=True).clamp_min(EPS)
    # Scores against the mean prototype: neither softmax nor argmax changes, and 8 bits of mantissa then tell apart prototypes that are
    # much alike (APN, 64 px, in OpenVINO's bf16: feature_psnr correlates with eager's by 0.984 without, 0.999 with).
    scores = zs @ (p - p.mean(dim=1, keepdim=True)).mT  # [B, N, M]
    beta = scores.softmax(dim=-1)
    # |r| of r = beta p by the products of prototypes.
    length = ((beta @ (p @ p.mT)) * beta).sum(dim=-1, keepdim=True).clamp_min(0).sqrt()
    y = (beta / length.clamp_min(EPS)) @ p + zs
    # Differences are squared, not scores subtracted: near a prototype those cancel. The nearest is looked up and not multiplied by a 1,
    # because engines round what goes into a product.
    first = (
        p.shape[1] * torch.arange(p.shape[0], device=z.device)[:, None]
    )  # row of an image's prototype 0
    nearest = F.embedding(scores.argmax(dim=-1) + first, p.flatten(0, 1))  # [B, N, C]
    compactness = (zs - nearest).square().sum(dim=-1)
    return as_image(z, y, p, compactness, diversity(p))
