"""Each teacher: what it sees on a picture whose answer is known, and what it says where it lacks something."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from vadfast.errors import BackendError, SourceError, UsageError
from vadfast.teachers import coco, mask_rcnn
from vadfast.teachers.pictures import Pictures, TeacherCost
from vadfast.teachers.settings import (
    AnyTeacher,
    DepthMaps,
    Farneback,
    GroundPlane,
    MaskRCNN,
    Masks,
    Mog2,
    OnnxDepth,
    OnnxSegmentation,
    TeacherSettings,
)
from vadfast.teachers.teacher import open_teacher

FILM = Path("scene/testing/frames/01")
SIZE = 64


def _place(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (SIZE + 32, SIZE + 32, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (7, 7), 2)


def test_farneback_sees_how_far_a_picture_moved() -> None:
    place, flow = _place(), open_teacher(Farneback(), FILM)
    assert not flow(place[:SIZE, :SIZE], 0).any(), "the first frame has none before it"
    found = flow(place[3 : 3 + SIZE, 2 : 2 + SIZE], 1)  # what was at (x, y) is at (x - 2, y - 3)
    assert found.shape == (SIZE, SIZE, 2)
    np.testing.assert_allclose(np.median(found[16:-16, 16:-16], axis=(0, 1)), [-2, -3], atol=0.15)


def test_background_subtraction_finds_what_moves_and_nothing_in_the_first_frame() -> None:
    place, teacher = _place()[:SIZE, :SIZE], open_teacher(Mog2(), FILM)
    for t in range(6):
        image = place.copy()
        image[20:32, 10 * t : 10 * t + 10] = (250, 250, 20)
        found = teacher(image, t)
        if t == 0:
            assert not found.any()
    truth = np.zeros((SIZE, SIZE), bool)
    truth[20:32, 50:60] = True
    assert set(np.unique(found)) == {0, 1}
    assert (found[truth] == 1).mean() > 0.95
    assert found[~truth].mean() < 0.05


def test_who_is_darker_than_the_ground_is_no_shadow_in_grey_video() -> None:
    rng, teacher = np.random.default_rng(0), open_teacher(Mog2(), FILM)
    for t in range(8):
        grey = np.repeat(rng.integers(116, 124, (SIZE, SIZE, 1), dtype=np.uint8), 3, axis=2)
        if t == 7:
            grey[20:40, 20:32] = grey[20:40, 20:32] * 0.7
        found = teacher(grey, t)
    assert (found[20:40, 20:32] == 1).mean() > 0.95
    assert found.sum() < 1.1 * 20 * 12


def test_the_ground_plane_is_far_above_and_near_below() -> None:
    depth = open_teacher(GroundPlane(), FILM)(np.zeros((5, 3, 3), np.uint8), 7)
    np.testing.assert_array_equal(depth, np.repeat([[1], [0.75], [0.5], [0.25], [0]], 3, axis=1))


def test_masks_are_those_of_the_film_and_the_frame(tmp_path: Path) -> None:
    maps = np.zeros((4, 8, 8), np.uint8)
    maps[2, :4] = 3
    (tmp_path / "testing/frames").mkdir(parents=True)
    np.save(tmp_path / "testing/frames/01.npy", maps)
    np.save(tmp_path / "01.npy", maps * 0)  # the training film of the same name
    settings = Masks(folder=str(tmp_path), n_classes=4)
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    found = open_teacher(settings, FILM)(image, 2)
    np.testing.assert_array_equal(found, np.where(np.arange(SIZE)[:, None] < 32, 3, 0) + 0 * found)
    other = open_teacher(settings, Path("scene/training/frames/01"))
    assert not other(image, 2).any()
    with pytest.raises(SourceError, match="has 4 and the film a frame 4"):
        other(image, 4)
    with pytest.raises(SourceError, match="classes 0 to 1, frame 2 has 3"):
        open_teacher(Masks(folder=str(tmp_path)), FILM)(image, 2)
    np.save(tmp_path / "02.npy", maps.astype(np.float32))
    with pytest.raises(SourceError, match="must be bool or uint8, got float32"):
        open_teacher(settings, Path("02.avi"))
    (tmp_path / "03.npy").write_bytes(b"no array")
    with pytest.raises(SourceError, match="must be an npy array"):
        open_teacher(settings, Path("03"))


def test_depth_maps_hold_for_a_film_or_for_each_frame(tmp_path: Path) -> None:
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    np.save(tmp_path / "a.npy", np.full((8, 8), 0.25))
    np.save(tmp_path / "b.npy", np.full((2, 8, 8), [[[0.25]], [[0.75]]]))
    np.save(tmp_path / "c.npy", np.full((8, 8), 1.5))
    settings = DepthMaps(folder=str(tmp_path))
    assert float(open_teacher(settings, Path("a"))(image, 99).mean()) == 0.25
    assert float(open_teacher(settings, Path("b.mp4"))(image, 1).mean()) == 0.75
    with pytest.raises(SourceError, match=r"between 0 \(near\) and 1 \(far\), got 1.5"):
        open_teacher(settings, Path("c"))(image, 0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (OnnxSegmentation(path="no.onnx"), "no.onnx must be a network as ONNX.* get one from .*maskrcnn.*mog2"),
        (OnnxDepth(path="no.onnx"), "no.onnx must be a network .* get one from https://.*MiDaS.* ground plane"),
        (MaskRCNN(weights="no.pth"), "no.pth must be Mask R-CNN's weights.* get https://.*mog2"),
        (Masks(folder="no"), "no must hold 01.npy for the film .*mog2"),
        (DepthMaps(folder="no"), "no must hold 01.npy for the film .* ground plane"),
    ],
    ids=lambda x: getattr(x, "teacher", ""),
)  # fmt: skip
def test_what_is_missing_is_named_with_its_source_and_the_default(
    settings: AnyTeacher, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        open_teacher(settings, FILM)


class _FakeMaskRCNN(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        assert images[0].shape == (3, 16, 16)
        masks = torch.zeros(1, 1, 16, 16)
        masks[0, 0, :4] = self.weight
        return [{"labels": torch.tensor([1]), "scores": torch.ones(1), "masks": masks}]


def test_mask_rcnn_runs_where_torchvision_is_and_refuses_where_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "w.pth"
    torch.save({"weight": torch.ones(1)}, weights)
    monkeypatch.setitem(sys.modules, "torchvision.models.detection", None)
    mask_rcnn._open.cache_clear()
    with pytest.raises(BackendError, match=r"needs torchvision, which cannot be imported .*mog2"):
        open_teacher(MaskRCNN(weights=str(weights)), FILM)
    fake: Any = ModuleType("torchvision.models.detection")
    fake.maskrcnn_resnet50_fpn = lambda **_: _FakeMaskRCNN()
    for name in ("torchvision", "torchvision.models"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "torchvision.models.detection", fake)
    found = open_teacher(MaskRCNN(weights=str(weights)), FILM)(np.zeros((16, 16, 3), np.uint8), 0)
    assert found[:4].all()
    assert not found[4:].any()
    mask_rcnn._open.cache_clear()
    torch.save({"other": torch.ones(1)}, weights)
    with pytest.raises(UsageError, match="does not hold Mask R-CNN's weights"):
        open_teacher(MaskRCNN(weights=str(weights)), FILM)


def test_pictures_begin_anew_with_each_film_and_time_each_teacher() -> None:
    place, cost = _place(), TeacherCost()
    frames = [place[t : t + SIZE, :SIZE] for t in range(4)]

    def film() -> list[np.ndarray]:
        pictures = Pictures(TeacherSettings(), FILM, cost)
        return [pictures(image, t) for t, image in enumerate(frames)]

    first, second = film(), film()
    for a, b in zip(first, second, strict=True):
        assert a.shape == (2, SIZE, SIZE, 3)
        np.testing.assert_array_equal(a, b)
    assert first[0][0].max() == 0, "nothing has moved before the first frame"
    assert cost.n_frames == 8
    assert list(cost.seconds) == ["farneback", "mog2", "ground-plane", "coding"]
    assert all(seconds > 0 for seconds in cost.seconds.values())
    assert cost.words.startswith("farneback ")
    assert TeacherCost().words == ""


def test_settings_are_strict_and_paths_do_not_depend_on_where_one_stands(tmp_path: Path) -> None:
    short = TeacherSettings.parse({"segmentation": "mog2", "depth": "ground-plane"}, where="test")
    assert short == TeacherSettings()
    for values in (
        {"segmentation": {"teacher": "sam"}},
        {"segmentation": {"teacher": "mog2", "histroy": 5}},
        {"flow": {"pyr_scale": 1.0}},
        {"segmentation": "masks"},
    ):
        with pytest.raises(UsageError):
            TeacherSettings.parse(values, where="test")
    assert Masks(folder="here").folder == str(Path.cwd() / "here")
    again = TeacherSettings.model_validate_json(
        TeacherSettings(depth=OnnxDepth(path="d.onnx")).model_dump_json()
    )
    assert again.depth == OnnxDepth(path="d.onnx")


def test_no_teacher_of_the_default_loads_torch() -> None:
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from vadfast.teachers.pictures import Pictures\n"
        "from vadfast.teachers.settings import TeacherSettings\n"
        "Pictures(TeacherSettings(), Path('a'))(np.zeros((32, 32, 3), np.uint8), 0)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_groups_of_coco_have_a_name_each() -> None:
    n_classes = {OnnxSegmentation(path="x").n_classes, MaskRCNN(weights="x").n_classes}
    assert n_classes == {len(coco.NAMES)}
    assert coco.NAMES[coco.GROUPS[4]] == "motorcycle"
