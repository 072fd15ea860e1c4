"""``fuse(model)``: layers whose formula has a fast operator get it; nothing else of the model changes, and ``unfuse`` undoes it.

Only ``forward`` of the instances is replaced. Parameters, buffers, names and ``state_dict`` stay what they were, so a fused model
trains, saves and loads like the plain one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from vadfast.errors import BackendError
from vadfast.fusion import criss_cross

_MARK = "_vadfast_fused"  # on a fused layer: what runs there


@dataclass(frozen=True, slots=True)
class Fused:
    """What became of one layer: ``runs`` names the operator, or is empty where the layer stayed plain for ``reason``."""

    layer: str
    kind: str
    runs: str
    reason: str


@dataclass(frozen=True, slots=True)
class FuseReport:
    """What ``fuse`` did, layer by layer; ``print(report)`` shows it."""

    layers: tuple[Fused, ...]

    @property
    def n_fused(self) -> int:
        """How many layers run a fast operator now."""
        return sum(bool(layer.runs) for layer in self.layers)

    def __str__(self) -> str:
        if not self.layers:
            return "no layer of this model has a fast operator"
        width = max(len(layer.layer) for layer in self.layers)
        lines = [f"{self.n_fused} of {len(self.layers)} layers fused"]
        for layer in self.layers:
            words = f"runs {layer.runs}" if layer.runs else f"stays plain: {layer.reason}"
            lines.append(f"  {layer.layer:<{width}}  {layer.kind}  {words}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Recipe:
    operator: str
    refusal: Callable[[nn.Module], str | None]
    forward: Callable[[nn.Module, str], Callable[..., Any]]


_RECIPES = {
    name: _Recipe("criss_cross_attention", criss_cross.refusal, criss_cross.fused_forward)
    for name in criss_cross.LAYOUTS
}


def fuse(model: nn.Module, *, backend: str = "auto", strict: bool = True) -> FuseReport:
    """Gives every layer of ``model`` that has one its fast operator, in place; fusing twice changes nothing more.

    Args:
        model: any module; layers are known by their class (``vadfast.layers``, CCNet's and mmcv's criss-cross attention).
        backend: of the operators; ``auto`` chooses at each call, a named one runs or raises there.
        strict: raise where a known layer cannot be fused; False: leave it plain, and say so in the report.

    Returns:
        A line for every layer that has an operator.

    Raises:
        BackendError: ``strict``, and a known layer is not what its class's formula needs. The model is then unchanged.

    Example:
        >>> from vadfast.layers import CrissCross
        >>> print(fuse(nn.Sequential(nn.Conv2d(3, 16, 1), CrissCross(16))))
        1 of 1 layers fused
          1  CrissCross  runs criss_cross_attention (auto)
    """
    known = [(n, m) for n, m in model.named_modules() if type(m).__name__ in _RECIPES]
    reasons = {name: _RECIPES[type(layer).__name__].refusal(layer) for name, layer in known}
    refused = [f"{name} ({reason})" for name, reason in reasons.items() if reason]
    if strict and refused:
        raise BackendError(
            f"fuse: every known layer must be of its published form, not so: {'; '.join(refused)}; "
            "strict=False leaves those plain"
        )
    report = []
    for name, layer in known:
        reason, kind = reasons[name], type(layer).__name__
        recipe = _RECIPES[kind]
        runs = "" if reason else f"{recipe.operator} ({backend})"
        if not reason:
            object.__setattr__(layer, "forward", recipe.forward(layer, backend))
            object.__setattr__(layer, _MARK, runs)
        report.append(Fused(name or "the model itself", kind, runs, reason or ""))
    return FuseReport(tuple(report))


def unfuse(model: nn.Module) -> int:
    """Gives fused layers their own ``forward`` back; returns how many there were."""
    fused = [m for m in model.modules() if _MARK in vars(m)]
    for layer in fused:
        del layer.__dict__["forward"], layer.__dict__[_MARK]
    return len(fused)
