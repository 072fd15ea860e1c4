"""A bundle brings its teachers' networks along: it is moved, zipped and opened without the files that it was made from."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.tiny_bundle import make_bundle, manifest_values, seal
from vadfast.compile.teachers import carry
from vadfast.errors import BuildError, BundleError
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.manifest import InputSpec
from vadfast.runtime.zipped import pack
from vadfast.teachers.pictures import Pictures
from vadfast.teachers.settings import DepthMaps, OnnxDepth, TeacherSettings

SIZE = 16


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Inverse depth: a weighted mean of the channels, whose weights lie in a second file."""
    weights = numpy_helper.from_array(np.full((1, 3, SIZE, SIZE), 0.5, np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "w"], ["weighted"]),
            helper.make_node("ReduceMean", ["weighted", "axis"], ["y"], keepdims=0),
        ],
        "depth",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, SIZE, SIZE])],
        [weights, numpy_helper.from_array(np.array([1]), "axis")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "elsewhere" / "depth.onnx"
    path.parent.mkdir()
    onnx.save_model(
        model, path, save_as_external_data=True, size_threshold=100, location="depth.bin"
    )
    return path


def _spec(depth: object) -> InputSpec:
    teachers = TeacherSettings(depth=depth)  # type: ignore[arg-type]
    return InputSpec(n_frames=3, height=SIZE, width=SIZE, fps=10.0, teachers=teachers)


def _bundle(folder: Path, spec: InputSpec) -> Path:
    said, files = carry(spec, folder / "scratch")
    made = make_bundle(folder / "made.vad")
    for name in files:
        (made / name).parent.mkdir(exist_ok=True)
        (folder / "scratch" / name).rename(made / name)
    seal(made, manifest_values(input=said.model_dump(mode="json")))
    return made


@pytest.mark.parametrize("zipped", [False, True])
def test_a_moved_bundle_has_its_networks(network: Path, tmp_path: Path, zipped: bool) -> None:
    (tmp_path / "scratch").mkdir()
    spec = _spec(OnnxDepth(path=str(network), n_frames=1))
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    wanted = _pictures(spec, image)
    made = _bundle(tmp_path, spec)
    assert str(tmp_path) not in (made / "manifest.json").read_text()
    for file in network.parent.iterdir():
        file.unlink()
    moved = tmp_path / "moved" / ("a.vad.zip" if zipped else "a.vad")
    moved.parent.mkdir()
    if zipped:
        pack(made, moved)
    else:
        made.rename(moved)
    bundle = open_bundle(moved)
    found = _pictures(bundle.manifest.input, image)
    assert Path(bundle.manifest.input.teachers.depth.path).is_relative_to(bundle.path)
    np.testing.assert_array_equal(found, wanted)


def _pictures(spec: InputSpec, image: np.ndarray) -> np.ndarray:
    assert spec.teachers is not None
    return Pictures(spec.teachers, Path("a.mp4"))(image, 0)


def test_what_is_on_disk_stays_there_and_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = _spec(DepthMaps(folder=str(tmp_path / "maps")))
    assert carry(spec, tmp_path) == (spec, [])
    assert f"depth comes from {tmp_path / 'maps'}" in " ".join(capsys.readouterr().err.split())
    assert carry(InputSpec(n_frames=5, height=8, width=8), tmp_path)[1] == []


def test_a_network_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "depth.onnx"
    path.write_bytes(b"no network")
    with pytest.raises(BuildError, match=r"cannot be put into the bundle .* export it again"):
        carry(_spec(OnnxDepth(path=str(path))), tmp_path)


def test_a_manifest_that_reaches_out_of_the_bundle_is_refused(tmp_path: Path) -> None:
    made = make_bundle(tmp_path / "made.vad")
    values = _spec(OnnxDepth(path="x.onnx")).model_dump(mode="json")
    values["teachers"]["depth"]["path"] = "../x.onnx"
    seal(made, manifest_values(input=values))
    assert "../x.onnx" in json.dumps(json.loads((made / "manifest.json").read_text()))
    with pytest.raises(BundleError, match="must lie in the bundle"):
        open_bundle(made)
