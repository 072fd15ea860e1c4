"""What a bundle carries of its model's teachers: their networks; folders of maps stay where they are."""

from pathlib import Path
from typing import Any

from vadfast.cli import talk
from vadfast.errors import BuildError, first_line
from vadfast.runtime.manifest import InputSpec
from vadfast.teachers.settings import DepthMaps, MaskRCNN, Masks, OnnxDepth, OnnxSegmentation

FOLDER = "teachers"
_PARTS = ("segmentation", "depth")
_CARRIED = (OnnxSegmentation, OnnxDepth)


def networks_of(spec: InputSpec) -> list[Path]:
    """Returns the files of the networks that ``carry`` would write."""
    teachers = [getattr(spec.teachers, part, None) for part in _PARTS]
    return [Path(teacher.path) for teacher in teachers if isinstance(teacher, _CARRIED)]


def carry(spec: InputSpec, folder: Path) -> tuple[InputSpec, list[str]]:
    """Writes the networks of the teachers into ``folder``; returns the input as the manifest says it, and the files.

    A manifest names them by their place in the bundle, and whoever opens it finds them there (``settings.Where``).

    Raises:
        BuildError: a network cannot be read.
    """
    if spec.teachers is None:
        return spec, []
    changed: dict[str, Any] = {}
    for part in _PARTS:
        teacher = getattr(spec.teachers, part)
        if isinstance(teacher, _CARRIED):
            name = f"{FOLDER}/{part}.onnx"
            _write_network(Path(teacher.path), folder / name)
            changed[part] = teacher.model_copy(update={"path": name})
        elif isinstance(teacher, (Masks, DepthMaps, MaskRCNN)):
            stays = teacher.weights if isinstance(teacher, MaskRCNN) else teacher.folder
            talk.print(
                f"teachers: {part} comes from {stays}, which is not put into the bundle: it scores where that can be read",
                markup=False,
            )
    teachers = spec.teachers.model_copy(update=changed)
    return spec.model_copy(update={"teachers": teachers}), [t.path for t in changed.values()]


def _write_network(source: Path, target: Path) -> None:
    """As one file, whether or not its weights lay beside it."""
    import onnx

    target.parent.mkdir(exist_ok=True)
    try:
        onnx.save_model(onnx.load_model(source), target)
    # ONNX's, protobuf's and the file system's errors share no base but Exception.
    except Exception as error:
        raise BuildError(
            f"{source}: cannot be put into the bundle ({first_line(error)}); export it again as one file below 2 GB"
        ) from error
