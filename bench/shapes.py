"""Every shape that is measured, and the model it comes from: none is made up to flatter a kernel."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Network:
    """A frame-prediction network as it is trained and shipped; ``method`` is its module in ``vadfast.models``."""

    name: str
    method: str
    image_size: int
    width: int
    source: str

    def words(self, batch: int = 1) -> str:
        """How a row's ``shape`` names it."""
        return f"{batch}x5x{self.image_size}x{self.image_size}x3 uint8, width {self.width}"


# ADL as published: the U-Net of Liu et al. (CVPR 2018), 7,704,195 parameters.
ADL_FULL = Network("adl-256", "adl", 256, 64, "Zhou et al., TCSVT 2020; Liu et al., CVPR 2018")
# What the 30-minute Ped2 run trains on two CPU cores (docs/training.md).
ADL_SMALL = Network("adl-128", "adl", 128, 16, "docs/training.md, Ped2 on two cores")
NETWORKS = (ADL_FULL, ADL_SMALL)
APN_FULL = Network("apn-256", "apn", 256, 64, "Hu et al., the released network: 3 levels")
STD_FULL = Network("std-256", "std", 256, 32, "Chang et al., Pattern Recognition 2022: neck 32")


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of one operator call, by the letters of its docstring."""

    name: str
    sizes: dict[str, int]
    source: str

    def __getitem__(self, letter: str) -> int:
        return self.sizes[letter]

    @property
    def words(self) -> str:
        """How a row's ``shape`` names it: ``B1 C64 D8 H256 W256``."""
        return " ".join(f"{letter}{size}" for letter, size in self.sizes.items())


_APN = "Hu et al., APN: methods of the released network, level"
CRISS_CROSS = (
    Shape("apn level 3", {"B": 1, "C": 256, "D": 32, "H": 64, "W": 64}, f"{_APN} 3"),
    Shape(
        "apn 128 px level 2",
        {"B": 1, "C": 128, "D": 16, "H": 64, "W": 64},
        "Hu et al., APN at 128 pixels: level 2",
    ),
    Shape("apn level 2", {"B": 1, "C": 128, "D": 16, "H": 128, "W": 128}, f"{_APN} 2"),
    Shape("apn level 1", {"B": 1, "C": 64, "D": 8, "H": 256, "W": 256}, f"{_APN} 1"),
    Shape("ccnet", {"B": 1, "C": 512, "D": 64, "H": 97, "W": 97}, "Huang et al., ICCV 2019"),
)
STA = (
    Shape("i3d", {"B": 1, "N": 32, "C": 1024, "D": 10}, "Liu et al., ICASSP 2022, I3D-RGB"),
    Shape("i3d resnet50", {"B": 1, "N": 32, "C": 2048, "D": 10}, "Liu et al., 2022, I3D-ResNet50"),
)
_STD = "Chang et al., Pattern Recognition 2022: motion block"
VARIANCE = (
    Shape("std block 1", {"B": 8, "C": 64, "H": 128, "W": 128, "cell": 8}, f"{_STD} 1"),
    Shape("std block 2", {"B": 8, "C": 128, "H": 64, "W": 64, "cell": 4}, f"{_STD} 2"),
    Shape("std block 3", {"B": 8, "C": 256, "H": 32, "W": 32, "cell": 2}, f"{_STD} 3"),
)
PROTOTYPE = (
    Shape("apn", {"B": 1, "N": 65_536, "C": 128, "M": 10}, "Hu et al., APN: prototype unit"),
)
CLUSTER = (
    Shape(
        "std score",
        {"B": 1, "N": 1024, "C": 512, "K": 32},
        "Chang et al., 2022: one frame's 32 x 32 positions",
    ),
    Shape(
        "std training",
        {"B": 4, "N": 1024, "C": 512, "K": 32},
        "Chang et al., 2022: batch 4, 32 centres",
    ),
)
PATCH_MAX = (
    Shape(
        "mtl motion",
        {"B": 16, "C": 1, "H": 256, "W": 256, "rows": 4, "columns": 4},
        "Baradaran and Bergevin, arXiv 2210.07697, eq. 6: magnitude of motion, 16 patches; our batch",
    ),
    Shape(
        "mtl appearance",
        {"B": 16, "C": 10, "H": 256, "W": 256, "rows": 4, "columns": 4},
        "Baradaran and Bergevin, arXiv 2210.07697, eq. 6: our 9 classes and background, our batch",
    ),
)
EMBEDDING = (
    Shape(
        "i3d",
        {"B": 30, "N": 32, "C": 1024},
        "Liu et al., ICASSP 2022, I3D-RGB: 30 bags of each kind",
    ),
    Shape(
        "i3d resnet50",
        {"B": 30, "N": 32, "C": 2048},
        "Liu et al., 2022, I3D-ResNet50: 30 bags of each kind",
    ),
)
ADL_LOSS = (
    Shape("adl", {"B": 4, "H": 256, "W": 256}, "Zhou et al., TCSVT 2020: training, batch 4"),
)
PSNR = (
    Shape(
        "64 frames",
        {"B": 64, "C": 3, "H": 256, "W": 256},
        "64 frames of a film, or one of 64 cameras, a call",
    ),
    Shape("1 frame", {"B": 1, "C": 3, "H": 256, "W": 256}, "one camera, live"),
)
CAMERAS = Shape(
    "1080p NV12, 64 cameras",
    {"B": 64, "H": 1080, "W": 1920},
    "one picture of each of 64 present-day cameras, a launch",
)
FILM = Shape(
    "2,000 frames", {"B": 2000, "C": 3, "H": 128, "W": 128}, "docs/training.md: Ped2 at 128 px"
)
