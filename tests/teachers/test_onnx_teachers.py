"""Teachers that are ONNX networks: fed at their own size, refused before the first picture where they take none."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vadfast.errors import BackendError
from vadfast.teachers import coco
from vadfast.teachers.settings import OnnxDepth, OnnxSegmentation
from vadfast.teachers.teacher import open_teacher

FILM = Path("scene/testing/frames/01")
SIZE = 64


def _model(
    path: Path,
    nodes: list[Any],
    outputs: list[Any],
    constants: list[Any],
    shape: tuple[int | str, ...] = (1, 3, 16, 16),
    kind: int = TensorProto.FLOAT,
) -> str:
    """Writes an ONNX model whose input is ``x``."""
    x = helper.make_tensor_value_info("x", kind, shape)
    graph = helper.make_graph(nodes, "made", [x], outputs, constants)
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return str(path)


def _constants(**values: np.ndarray) -> tuple[list[Any], list[Any]]:
    kinds = {"f": TensorProto.FLOAT, "i": TensorProto.INT64}
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
        for name, value in values.items()
    ]
    outputs = [
        helper.make_tensor_value_info(name, kinds[value.dtype.kind], value.shape)
        for name, value in values.items()
    ]
    return nodes, outputs


def test_an_onnx_segmentation_is_painted_surest_last(tmp_path: Path) -> None:
    masks = np.zeros((3, 1, 16, 16), np.float32)
    masks[0, 0, :8], masks[1, 0, 4:12], masks[2, 0, 12:] = 0.9, 0.9, 0.9
    nodes, outputs = _constants(
        boxes=np.zeros((3, 4), np.float32),
        labels=np.array([1, 3, 62]),  # person, car, chair
        scores=np.array([0.9, 0.6, 0.4], np.float32),
        masks=masks,
    )
    path = _model(tmp_path / "m.onnx", nodes, outputs, [])
    image = np.zeros((16, 16, 3), np.uint8)
    found = open_teacher(OnnxSegmentation(path=path), FILM)(image, 0)
    rows = [1] * 8 + [4] * 4 + [0] * 4  # person over car; the chair is not sure enough
    np.testing.assert_array_equal(found, np.repeat(np.array(rows)[:, None], 16, axis=1))
    low = open_teacher(OnnxSegmentation(path=path, min_score=0.3), FILM)(image, 0)
    assert low[15, 0] == coco.NAMES.index("other")
    nodes, outputs = _constants(labels=np.array([1]), scores=np.ones(1, np.float32))
    path = _model(tmp_path / "bad.onnx", nodes, outputs, [])
    with pytest.raises(BackendError, match=r"must return labels .* got int64 \[1\], float32 \[1\]"):
        open_teacher(OnnxSegmentation(path=path), FILM)(image, 0)


def test_an_onnx_depth_is_taken_once_a_scene(tmp_path: Path) -> None:
    """The model's inverse depth is the mean of the channels."""
    path = _model(
        tmp_path / "d.onnx",
        [helper.make_node("ReduceMean", ["x", "axis"], ["y"], keepdims=0)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16, 16])],
        [numpy_helper.from_array(np.array([1]), "axis")],
    )
    settings = OnnxDepth(path=path, n_frames=2, mean=(0, 0, 0), std=(1, 1, 1))
    teacher = open_teacher(settings, FILM)
    image = np.repeat(np.linspace(0, 255, 16).astype(np.uint8)[:, None, None], 16, axis=1)
    image = np.repeat(image, 3, axis=2)
    depth = teacher(image, 0)
    assert depth[0].min() == 1  # dark: a small inverse depth is far
    assert depth[-1].max() == 0
    assert (np.diff(depth[:, 0]) <= 0).all()
    teacher(image, 1)
    np.testing.assert_array_equal(teacher(255 - image, 2), depth)  # two frames were enough
    flat = open_teacher(settings, FILM)(np.full((16, 16, 3), 9, np.uint8), 0)
    assert not flat.any()


def _bright(path: Path, *shape: int | str) -> str:
    """A segmentation whose only instance, a person, is where the red of its input [(1,) 3, h, w] is above one half."""
    red = [helper.make_node("Gather", ["x", "zero"], ["red"], axis=len(shape) - 3)]
    if len(shape) == 3:
        red.append(helper.make_node("Unsqueeze", ["red", "axis"], ["masks"]))
    else:
        red.append(helper.make_node("Identity", ["red"], ["masks"]))
    nodes, outputs = _constants(labels=np.array([1]), scores=np.ones(1, np.float32))
    outputs.append(helper.make_tensor_value_info("masks", TensorProto.FLOAT, [1, "h", "w"]))
    constants = [numpy_helper.from_array(np.array(v), n) for n, v in (("zero", 0), ("axis", [0]))]
    return _model(path, [*nodes, *red], outputs, constants, shape)


@pytest.mark.parametrize("shape", [(1, 3, 16, 8), ("n", 3, "h", "w"), (3, 16, 8), (3, None, None)])
def test_a_segmentation_of_a_size_of_its_own_gets_that_size(
    tmp_path: Path, shape: tuple[Any, ...]
) -> None:
    teacher = open_teacher(OnnxSegmentation(path=_bright(tmp_path / "s.onnx", *shape)), FILM)
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[: SIZE // 2, : SIZE // 4, 0] = 255
    np.testing.assert_array_equal(teacher(image, 0), (image[..., 0] > 0).astype(np.uint8))


@pytest.mark.parametrize(
    ("shape", "kind", "takes"),
    [
        ((1, 16, 16, 3), TensorProto.FLOAT, r"tensor\(float\) \[1, 16, 16, 3\]"),
        ((1, 3, 16, 16), TensorProto.UINT8, r"tensor\(uint8\) \[1, 3, 16, 16\]"),
        ((2, 3, 16, 16), TensorProto.FLOAT, r"tensor\(float\) \[2, 3, 16, 16\]"),
        ((16, 16), TensorProto.FLOAT, r"tensor\(float\) \[16, 16\]"),
    ],
)
@pytest.mark.parametrize("settings", [OnnxSegmentation, OnnxDepth])
def test_a_network_that_takes_no_picture_is_refused_before_the_first(
    tmp_path: Path, settings: Any, shape: tuple[int, ...], kind: int, takes: str
) -> None:
    nodes, outputs = _constants(y=np.zeros((1, 16, 16), np.float32))
    path = _model(tmp_path / "x.onnx", nodes, outputs, [], shape, kind)
    words = rf"x.onnx: must take one float32 picture \[1, 3, h, w\] or \[3, h, w\], takes {takes}; get one from .* leave"
    with pytest.raises(BackendError, match=words):
        open_teacher(settings(path=path), FILM)


def test_a_network_that_fails_on_a_picture_is_said(tmp_path: Path) -> None:
    """Its file leaves the sides open, but one of its nodes wants 16 x 16."""
    nodes, outputs = _constants(labels=np.array([1]), scores=np.ones(1, np.float32))
    nodes.append(helper.make_node("Reshape", ["x", "shape"], ["masks"]))
    outputs.append(helper.make_tensor_value_info("masks", TensorProto.FLOAT, [3, 1, 16, 16]))
    shape = numpy_helper.from_array(np.array([3, 1, 16, 16]), "shape")
    path = _model(tmp_path / "s.onnx", nodes, outputs, [shape], (1, 3, "h", "w"))
    teacher = open_teacher(OnnxSegmentation(path=path), FILM)
    with pytest.raises(BackendError, match=r"cannot run on \[1, 3, 64, 64\] \(.*\); export it for"):
        teacher(np.zeros((SIZE, SIZE, 3), np.uint8), 0)


def test_a_damaged_network_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"x")
    with pytest.raises(BackendError, match=r"x.onnx: ONNX Runtime cannot read it"):
        open_teacher(OnnxDepth(path=str(tmp_path / "x.onnx")), FILM)
