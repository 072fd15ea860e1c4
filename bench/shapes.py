"""Every shape that is measured, and the model it comes from: none is made up to flatter a kernel."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Network:
    """A frame-prediction network as it is trained and shipped."""

    name: str
    image_size: int
    width: int
    source: str

    @property
    def words(self) -> str:
        """How a row's ``shape`` names it."""
        return f"1x5x{self.image_size}x{self.image_size}x3 uint8, width {self.width}"


# ADL as published: the U-Net of Liu et al. (CVPR 2018), 7,704,195 parameters.
ADL_FULL = Network("adl-256", 256, 64, "Zhou et al., TCSVT 2020; Liu et al., CVPR 2018")
# What the project's Ped2 runs train on two CPU cores (docs/training.md).
ADL_SMALL = Network("adl-128", 128, 16, "docs/training.md, Ped2 on two cores")
NETWORKS = (ADL_FULL, ADL_SMALL)
