"""MTL's teachers beside its students, on one frame at 256 px: what a frame costs before and apart from the model.

Only teachers that need no download are here. Each is verified on a picture whose answer is known, the students by eager PyTorch.
"""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from bench.contest import Check, Field, Provider, contest
from bench.device import is_tiny
from vadfast.compile.export import export_onnx
from vadfast.compile.gate import BOUNDS
from vadfast.data import synthetic
from vadfast.models import mtl
from vadfast.models.eager import EagerEngine
from vadfast.runtime.engine import Outputs
from vadfast.runtime.engines.openvino import OpenVINOEngine
from vadfast.runtime.manifest import InputSpec
from vadfast.teachers.codes import flow_picture, magnitude_of, scene_picture
from vadfast.teachers.pictures import Pictures
from vadfast.teachers.settings import Farneback, GroundPlane, Mog2
from vadfast.teachers.teacher import open_teacher

SIDE, WIDTH = 256, 64
N_IMAGES = 16
FILM = Path("made")
SHIFT_PX = 3


def _images(n: int) -> list[np.ndarray]:
    """Frames of the made scene at the model's size."""
    return [cv2.resize(made.image, (SIDE, SIDE)) for made in synthetic.film(5, n)]


def _farneback_sees_a_shift() -> Check:
    place = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 256, (SIDE, SIDE + SHIFT_PX, 3)).astype(np.uint8), (7, 7), 2
    )  # fmt: skip
    teacher = open_teacher(Farneback(), FILM)
    teacher(np.ascontiguousarray(place[:, :SIDE]), 0)
    flow = teacher(np.ascontiguousarray(place[:, SHIFT_PX:]), 1)
    return Check(float(np.abs(np.median(flow, axis=(0, 1)) - (-SHIFT_PX, 0)).max()), 0.15, "px")


def _mog2_finds_a_block() -> Check:
    image, teacher = _images(1)[0], open_teacher(Mog2(), FILM)
    truth = np.zeros((SIDE, SIDE), bool)
    truth[100:140, 60:90] = True
    for i in range(5):
        teacher(image, i)
    wrong = teacher(np.where(truth[..., None], 255 - image, image), 5) != truth
    return Check(float(wrong.mean()), 0.01, "of the pixels")


def _codes_come_back() -> Check:
    flow = np.random.default_rng(0).uniform(-9, 9, (SIDE, SIDE, 2)).astype(np.float32)
    index = np.ones((SIDE, SIDE), np.uint8)
    red = flow_picture(flow, index, 64)[..., 0].astype(np.float64)
    return Check(
        float(np.abs(magnitude_of(red, 64) - np.hypot(*flow.transpose(2, 0, 1))).max()), 0.12, "px"
    )


def _open_students(stack: ExitStack) -> tuple[Callable[[int], Outputs], Callable[[Any], Check]]:
    config = mtl.MTLConfig(image_size=SIDE, width=4 if is_tiny() else WIDTH)
    torch.manual_seed(0)
    network = mtl.Network(config).eval()
    spec = InputSpec(n_frames=mtl.N_FRAMES, height=SIDE, width=SIDE, teachers=config.teachers)
    teach, images = Pictures(config.teachers, FILM), _images(N_IMAGES)
    taught = [teach(image, i) for i, image in enumerate(images)]
    windows = [
        np.concatenate([np.stack(images[i - 2 : i + 1]), taught[i]])[None]
        for i in range(2, N_IMAGES)
    ]
    with (
        torch.no_grad()
    ):  # as training measures them: a score then is about as large as that of a trained network
        off = mtl.errors(network(torch.from_numpy(windows[0])))
        network.error_mean.copy_(torch.stack([e.mean() for e in off]))
        network.error_std.copy_(network.error_mean / 10)
    path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model.onnx"
    scorer = mtl.Scorer(network)
    export_onnx(scorer, spec, path)
    engine = OpenVINOEngine.load(path, precision="fp32", batch=1)
    stack.callback(engine.close)
    truth = EagerEngine(scorer, spec)(windows[0]).components

    def check(result: Outputs) -> Check:
        error = float(np.abs(result.components - truth).max())
        return Check(error, BOUNDS["fp32"].score_error["sd"], "sd")

    return lambda i: engine(windows[i % len(windows)]), check


@contest(
    case="mtl-256, one frame",
    shape="1x5x256x256x3 uint8, width 64; teachers 256x256x3",
    reference="students, openvino",
    providers=("students, openvino", "farneback", "mog2", "ground-plane", "coding"),
    long=True,
)
def test_mtl(stack: ExitStack) -> Field:
    """Both students in their fastest engine, and every teacher of the default with the coding of its pictures."""
    students, agree = _open_students(stack)
    images = _images(N_IMAGES)
    flow_of, classes_of, depth_of = (
        open_teacher(s, FILM) for s in (Farneback(), Mog2(), GroundPlane())
    )
    flow, depth = flow_of(images[1], 0) + 1, depth_of(images[0], 0)
    index = np.ones((SIDE, SIDE), np.uint8)
    checks: dict[str, Callable[[Any], Check]] = {
        "students, openvino": agree,
        "farneback": lambda _: _farneback_sees_a_shift(),
        "mog2": lambda _: _mog2_finds_a_block(),
        "ground-plane": lambda found: Check(
            float(abs(found[0, 0] - 1) + abs(found[-1, 0])), 0.0, "depth"
        ),
        "coding": lambda _: _codes_come_back(),
    }
    providers = {
        "students, openvino": Provider(students),
        "farneback": Provider(lambda i: flow_of(images[i % N_IMAGES], i)),
        "mog2": Provider(lambda i: classes_of(images[i % N_IMAGES], i), dtype="uint8"),
        "ground-plane": Provider(lambda i: depth_of(images[i % N_IMAGES], i)),
        "coding": Provider(
            lambda i: (flow_picture(flow, index, 64), scene_picture(index, depth)), dtype="uint8"
        ),
    }
    return Field(providers, lambda name, result: checks[name](result))
