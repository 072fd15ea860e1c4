"""``fuse(model)``: layers whose formula has a fast operator get it; nothing else of the model changes, and ``unfuse`` undoes it.

A fused layer becomes an instance of a subclass of its class that differs in ``forward`` alone. Parameters, buffers, hooks, names and
``state_dict`` stay what they were, so a fused model trains, saves, loads, pickles and copies like the plain one.
"""

import functools
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from vadfast_kernels import ops

from vadfast.errors import BackendError
from vadfast.fusion import criss_cross, folded
from vadfast.fusion.cluster_distance import ClusterDistanceRecipe
from vadfast.fusion.prototype_unit import PrototypeUnitRecipe
from vadfast.fusion.recipe import Recipe
from vadfast.fusion.sta_attention import STAAttentionRecipe
from vadfast.fusion.variance_attention import VarianceAttentionRecipe
from vadfast.layers import (
    ClusterDistance,
    CrissCross,
    PrototypeUnit,
    STAAttention,
    VarianceAttention,
)

Mode = Literal["train", "infer"]
_OPTIONS = "_vadfast_fused"  # on a fused layer: its backend and mode
_PLAIN = "_vadfast_plain"  # on the class of fused layers: the class that they came from

_RECIPES: dict[type[nn.Module], Recipe] = {
    ClusterDistance: ClusterDistanceRecipe(),
    CrissCross: criss_cross.OURS,
    PrototypeUnit: PrototypeUnitRecipe(),
    STAAttention: STAAttentionRecipe(),
    VarianceAttention: VarianceAttentionRecipe(),
}


@dataclass(frozen=True, slots=True)
class Fused:
    """What became of one layer: ``runs`` names the operator, or is empty where the layer stayed plain.

    ``reason`` says why it stayed plain; of a fused layer, why no backend faster than the one chosen runs where the layer is now.
    """

    layer: str
    kind: str
    runs: str
    reason: str

    def __str__(self) -> str:
        if not self.runs:
            return f"stays plain: {self.reason}"
        return f"runs {self.runs}" + (f"; {self.reason}" if self.reason else "")


@dataclass(frozen=True, slots=True)
class FuseReport:
    """What ``fuse`` did, layer by layer; ``print(report)`` shows it."""

    mode: Mode
    layers: tuple[Fused, ...]

    @property
    def n_fused(self) -> int:
        """How many layers run a fast operator now."""
        return sum(bool(layer.runs) for layer in self.layers)

    def __str__(self) -> str:
        if not self.layers:
            return "no layer of this model has a fast operator"
        width = max(len(layer.layer) for layer in self.layers)
        words = "training" if self.mode == "train" else "inference"
        lines = [f"{self.n_fused} of {len(self.layers)} layers fused for {words}"]
        lines += [f"  {x.layer:<{width}}  {x.kind}  {x}" for x in self.layers]
        return "\n".join(lines)


def fuse(
    model: nn.Module, mode: Mode = "train", *, backend: str = "auto", strict: bool = True
) -> FuseReport:
    """Gives every layer of ``model`` that has one its fast operator, in place; a fused layer takes over a new mode and backend.

    Args:
        model: any module; layers are known by their class (``vadfast.layers``, CCNet's and mmcv's criss-cross attention).
        mode: ``"train"`` passes gradients on as the plain model does. ``"infer"`` lets criss-cross layers keep their folded weights
            between calls until a parameter changes, and makes it an error to ask them for a gradient; other layers do the same in both.
        backend: of the operators; ``auto`` chooses at each call, a named one runs or raises there.
        strict: raise where a known layer cannot be fused; False: leave it plain, and say so in the report.

    Returns:
        A line for every layer that has an operator.

    Raises:
        ValueError: ``mode`` is neither.
        BackendError: ``strict``, and a known layer is not what its class's formula needs, or the named backend cannot run where the
            layer is. The model is then unchanged.

    Example:
        >>> from vadfast.layers import PrototypeUnit
        >>> print(fuse(nn.Sequential(nn.Conv2d(3, 16, 1), PrototypeUnit(16)), backend="torch"))
        1 of 1 layers fused for training
          1  PrototypeUnit  runs prototype_attention on torch
    """
    if mode not in ("train", "infer"):
        raise ValueError(f"fuse: mode must be train or infer, got {mode!r}")
    known = [(n, m, r) for n, m in model.named_modules() if (r := _recipe(_plain(type(m))))]
    report = tuple(_judge(name, m, recipe, mode, backend) for name, m, recipe in known)
    refused = [f"{x.layer} ({x.reason})" for x in report if not x.runs]
    if strict and refused:
        raise BackendError(
            f"fuse: every known layer must be able to run its operator, not so: {'; '.join(refused)}; "
            "strict=False leaves those plain"
        )
    for (_, layer, _), verdict in zip(known, report, strict=True):
        _unfuse_layer(layer)
        if verdict.runs:
            layer.__class__ = _fused_class(_plain(type(layer)))
            layer.__dict__[_OPTIONS] = {"backend": backend, "mode": mode}
    return FuseReport(mode, report)


def unfuse(model: nn.Module) -> int:
    """Gives fused layers their own class back; returns how many there were."""
    return sum(_unfuse_layer(layer) for layer in model.modules())


def _recipe(kind: type[nn.Module]) -> Recipe | None:
    return _RECIPES.get(kind) or criss_cross.PUBLISHED.get(kind.__name__)


def _judge(name: str, layer: nn.Module, recipe: Recipe, mode: Mode, backend: str) -> Fused:
    name, kind = name or "the model itself", _plain(type(layer)).__name__
    reason = recipe.refusal(layer)
    if reason:
        return Fused(name, kind, "", reason)
    verdicts = {v.backend: v for v in ops.explain(recipe.operator, *recipe.arguments(layer))}
    if backend not in ("auto", *verdicts):
        raise ValueError(
            f"fuse: backend must be one of auto, {', '.join(verdicts)} for {recipe.operator}, got {backend!r}"
        )
    refused = "; ".join(f"{v.backend} {v.reason}" for v in verdicts.values() if v.reason)
    taken = [v.backend for v in verdicts.values() if v.chosen]
    if backend != "auto":
        taken = [] if verdicts[backend].reason else [backend]
        refused = f"{backend} {verdicts[backend].reason}" if verdicts[backend].reason else ""
    if not taken:
        return Fused(name, kind, "", refused)
    extra = f", {recipe.infer}" if mode == "infer" and recipe.infer else ""
    return Fused(name, kind, f"{recipe.operator} on {taken[0]}{extra}", refused)


@functools.cache
def _fused_class(plain: Any) -> type[nn.Module]:
    """Returns the subclass of ``plain`` that fused layers belong to.

    A class, and not a ``forward`` put on the instance: copies, pickles and replicas then run on their own parameters.
    """
    recipe = _recipe(plain)
    assert recipe is not None

    def forward(self: nn.Module, x: Any) -> Any:
        return recipe.forward(self, x, **self.__dict__[_OPTIONS])

    def reduce(self: nn.Module, _: Any) -> tuple[Any, ...]:
        return _new_fused, (plain,), self.__dict__

    members = {"forward": forward, "__reduce_ex__": reduce, _PLAIN: plain}
    return type(f"Fused{plain.__name__}", (plain,), members)


def _new_fused(plain: Any) -> nn.Module:
    kind = _fused_class(plain)
    return kind.__new__(kind)


def _plain(kind: type[nn.Module]) -> Any:
    """Returns the class that ``kind`` was made from, or ``kind``."""
    return vars(kind).get(_PLAIN, kind)


def _unfuse_layer(layer: nn.Module) -> bool:
    plain = _plain(type(layer))
    if plain is type(layer):
        return False
    layer.__class__ = plain
    del layer.__dict__[_OPTIONS]
    folded.forget(layer)
    return True
