"""``fuse`` and ``unfuse``: the fast operators swapped into plain PyTorch models, and out again."""

from vadfast.fusion.fuse import FuseReport, fuse, unfuse

__all__ = ["FuseReport", "fuse", "unfuse"]
