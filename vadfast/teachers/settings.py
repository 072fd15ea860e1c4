"""Which teachers a model has and how they are set: part of a run and of its bundle, so that both see the same pictures."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
)

from vadfast.config import Config


def _absolute(path: str, info: ValidationInfo) -> str:
    # A run is resumed from other folders; what a bundle brings along lies in the bundle, wherever that is opened.
    bundle = (info.context or {}).get("bundle")
    if bundle and ".." in Path(path).parts:
        raise ValueError("must lie in the bundle")
    return str(Path(bundle or "", path).absolute())


def _named(value: Any) -> Any:
    """``mog2`` is short for ``{teacher = "mog2"}``."""
    return {"teacher": value} if isinstance(value, str) else value


Where = Annotated[str, AfterValidator(_absolute)]


class Farneback(Config):
    """Dense optical flow of OpenCV (Farneback, "Two-frame motion estimation based on polynomial expansion", SCIA 2003)."""

    teacher: Literal["farneback"] = "farneback"
    pyr_scale: float = Field(default=0.5, gt=0, lt=1)
    levels: PositiveInt = 3
    winsize: PositiveInt = 15
    iterations: PositiveInt = 3
    poly_n: PositiveInt = 5
    poly_sigma: PositiveFloat = 1.2


class Mog2(Config):
    """Background subtraction: what moves is class 1. Needs no download."""

    teacher: Literal["mog2"] = "mog2"
    history: PositiveInt = 500  # frames
    var_threshold: PositiveFloat = 16.0  # squared Mahalanobis distance
    open_px: NonNegativeInt = 3  # specks narrower than this are dropped; 0: none

    @property
    def n_classes(self) -> int:
        """Background and what moves."""
        return 2


class Masks(Config):
    """Class indices from disk: an npy per film, [n_frames, h, w], 0 = background."""

    teacher: Literal["masks"] = "masks"
    folder: Where
    n_classes: int = Field(default=2, ge=2, le=256)  # with the background


class OnnxSegmentation(Config):
    """An instance-segmentation network as ONNX with COCO's 91 class numbers, as torchvision exports Mask R-CNN."""

    teacher: Literal["onnx-segmentation"] = "onnx-segmentation"
    path: Where
    min_score: float = Field(default=0.5, ge=0, le=1)

    @property
    def n_classes(self) -> int:
        """The groups of ``coco.py``."""
        return 10


class MaskRCNN(Config):
    """Torchvision's Mask R-CNN (ResNet-50 FPN), with weights from a file."""

    teacher: Literal["mask-rcnn"] = "mask-rcnn"
    weights: Where
    min_score: float = Field(default=0.5, ge=0, le=1)

    @property
    def n_classes(self) -> int:
        """The groups of ``coco.py``."""
        return 10


class GroundPlane(Config):
    """Depth by row alone: 1 in the top row (far), 0 in the bottom row (near). Needs no download."""

    teacher: Literal["ground-plane"] = "ground-plane"


class DepthMaps(Config):
    """Depth from disk: an npy per film, [h, w] or [n_frames, h, w], from 0 (near) to 1 (far)."""

    teacher: Literal["depth-maps"] = "depth-maps"
    folder: Where


class OnnxDepth(Config):
    """A network of MiDaS's kind as ONNX: one picture in, relative inverse depth out."""

    teacher: Literal["onnx-depth"] = "onnx-depth"
    path: Where
    n_frames: PositiveInt = (
        5  # the camera stands still: the median of so many maps is kept, then the network rests
    )
    side_px: PositiveInt = 256  # of the network's input, where its file leaves it open
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


Segmentation = Annotated[
    Mog2 | Masks | OnnxSegmentation | MaskRCNN,
    Field(discriminator="teacher"),
    BeforeValidator(_named),
]
Depth = Annotated[
    GroundPlane | DepthMaps | OnnxDepth, Field(discriminator="teacher"), BeforeValidator(_named)
]
AnyTeacher = (
    Farneback | Mog2 | Masks | OnnxSegmentation | MaskRCNN | GroundPlane | DepthMaps | OnnxDepth
)


class TeacherSettings(Config):
    """The three teachers; their pictures follow a window's frames in this order: flow, scene (``codes.py``)."""

    flow: Farneback = Farneback()
    segmentation: Segmentation = Mog2()
    depth: Depth = GroundPlane()
    flow_max_px: PositiveFloat = 64.0  # px a frame that the code of a movement ends at
