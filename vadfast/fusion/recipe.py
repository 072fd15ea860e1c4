"""What ``fuse`` must know of a kind of layer: the one contract between it and the files of the layers."""

from typing import Any, ClassVar, Protocol


class Recipe(Protocol):
    """How layers of one formula run on a fast operator."""

    operator: ClassVar[str]  # by its name in ``vadfast_kernels.ops``
    infer: ClassVar[
        str
    ]  # what mode "infer" does that "train" does not, in words; empty: they are the same

    def refusal(self, layer: Any) -> str | None:
        """Returns why ``layer``, of a known class, cannot be fused, or None."""

    def arguments(self, layer: Any) -> tuple[Any, ...]:
        """Returns a small call's arguments, with the layer's own channels, device and dtype: what backends judge."""

    def forward(self, layer: Any, x: Any, *, backend: str, mode: str) -> Any:
        """Computes what ``layer.forward`` does, from the layer's own parameters."""
