"""The layers of the five methods, in plain PyTorch; ``vadfast.fuse`` gives them their fast operators."""

from vadfast.layers.criss_cross import CrissCross

__all__ = ["CrissCross"]
