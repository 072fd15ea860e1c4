"""The layers of the five methods, in plain PyTorch; ``vadfast.fuse`` gives them their fast operators."""

from vadfast.layers.cluster_distance import ClusterDistance
from vadfast.layers.criss_cross import CrissCross
from vadfast.layers.prototype_unit import Prototypes, PrototypeUnit
from vadfast.layers.scse import SCSE
from vadfast.layers.sta_attention import STAAttention
from vadfast.layers.variance_attention import VarianceAttention

__all__ = [
    "SCSE",
    "ClusterDistance",
    "CrissCross",
    "PrototypeUnit",
    "Prototypes",
    "STAAttention",
    "VarianceAttention",
]
