"""Preprocessing: a camera's picture to the model's size, in the resize rule that training and runtime share.

Right is who differs from that rule, bilinear in float64 with OpenCV's pixel centres after OpenCV's colours, by one grey level at most.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from vadfast_kernels.preprocess.native import preprocess

from bench.contest import Check, Field, Provider, Target, contest
from bench.cost import Cost
from bench.device import device
from bench.peers.preprocess import SIDE, nv12_to_rgb, nv12_traffic_mbyte
from bench.shapes import CAMERAS
from vadfast.data import synthetic

DIFFERENT = 4
Picture = np.ndarray


def _pictures(width: int, height: int) -> list[Picture]:
    """Some successive frames of the made scene, uint8 [H, W, 3]."""
    made = synthetic.film(5, DIFFERENT)
    return [np.ascontiguousarray(cv2.resize(m.image, (width, height))) for m in made]


def _nv12(rgb: Picture) -> Picture:
    """As a decoder gives it, uint8 [3 H / 2, W]."""
    height, width = rgb.shape[:2]
    i420 = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
    planes = i420[height:].reshape(2, -1)
    return np.concatenate([i420[:height], planes.T.reshape(height // 2, width)])


def _bilinear(image: Picture) -> np.ndarray:
    """The rule, in float64: pixel centres at (i + 1/2) / scale - 1/2, borders repeated."""

    def weights(n_in: int) -> np.ndarray:
        centre = (np.arange(SIDE) + 0.5) * n_in / SIDE - 0.5
        low = np.floor(centre).astype(int)
        matrix = np.zeros((SIDE, n_in))
        for near, share in ((low, 1 - (centre - low)), (low + 1, centre - low)):
            np.add.at(matrix, (np.arange(SIDE), near.clip(0, n_in - 1)), share)
        return matrix

    rows, columns = weights(image.shape[0]), weights(image.shape[1])
    return np.einsum("ih,hwc,jw->ijc", rows, image.astype(np.float64), columns, optimize=True)


def _within_a_level(truth: np.ndarray) -> Callable[[str, Any], Check]:
    def check(_: str, result: Any) -> Check:
        found = result.cpu().numpy() if isinstance(result, Tensor) else np.asarray(result)
        return Check(float(np.abs(found.astype(np.float64) - truth).max()), 1.0, "grey levels")

    return check


def _providers(**calls: Callable[[int], Any]) -> dict[str, Provider]:
    return {name: Provider(call, dtype="uint8") for name, call in calls.items()}


def _open_rgb(width: int, height: int) -> Field:
    pictures, out = _pictures(width, height), np.empty((SIDE, SIDE, 3), np.uint8)

    def by_torch(i: int) -> Tensor:
        x = torch.from_numpy(pictures[i % DIFFERENT]).permute(2, 0, 1)[None].float()
        y = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)
        return y[0].permute(1, 2, 0).round().byte()

    providers = _providers(
        cv2=lambda i: cv2.resize(pictures[i % DIFFERENT], (SIDE, SIDE), dst=out),
        torch=by_torch,
        vadfast=lambda i: preprocess(pictures[i % DIFFERENT], out=out),
    )
    return Field(providers, _within_a_level(_bilinear(pictures[0])))


@contest(
    case="480x360 to 256x256",
    shape="360x480x3 uint8",
    reference="cv2",
    providers=("cv2", "torch", "vadfast"),
    targets={"vadfast": Target(0, ("cv2",))},
)
def test_small_camera(stack: ExitStack) -> Field:
    """The size of the PETS film."""
    return _open_rgb(480, 360)


@contest(
    case="1920x1080 to 256x256",
    shape="1080x1920x3 uint8",
    reference="cv2",
    providers=("cv2", "torch", "vadfast"),
    targets={"vadfast": Target(0, ("cv2",))},
)
def test_full_hd(stack: ExitStack) -> Field:
    """A present-day camera."""
    return _open_rgb(1920, 1080)


def _open_nv12(stack: ExitStack, cameras: int) -> Field:
    """Each camera has a picture of its own, so that 64 of them are in no cache."""
    stack.callback(cv2.setNumThreads, cv2.getNumThreads())
    cv2.setNumThreads(1)
    rgb = _pictures(1920, 1080)
    pictures = [_nv12(rgb[i % DIFFERENT]) for i in range(max(cameras, DIFFERENT))]
    outs = [np.empty((SIDE, SIDE, 3), np.uint8) for _ in range(cameras)]
    whole = np.empty((1080, 1920, 3), np.uint8)

    def by_cv2(i: int) -> list[Picture]:
        for k, out in enumerate(outs):
            picture = pictures[(i + k) % len(pictures)]
            cv2.cvtColor(picture, cv2.COLOR_YUV2RGB_NV12, dst=whole)
            cv2.resize(whole, (SIDE, SIDE), dst=out)
        return outs

    def by_vadfast(i: int) -> list[Picture]:
        turn = [pictures[(i + k) % len(pictures)] for k in range(cameras)]
        return preprocess(turn, format="nv12", out=outs)

    seen = [cv2.cvtColor(p, cv2.COLOR_YUV2RGB_NV12) for p in pictures[:DIFFERENT]]
    truth = np.stack([_bilinear(p) for p in seen])[np.arange(cameras) % DIFFERENT]
    return Field(_providers(cv2=by_cv2, vadfast=by_vadfast), _within_a_level(truth))


@contest(
    case="1080p NV12 to 256x256, one thread",
    shape="1620x1920 uint8",
    reference="cv2",
    providers=("cv2", "vadfast"),
    targets={"vadfast": Target(3.0, ())},
)
def test_nv12(stack: ExitStack) -> Field:
    """What a decoder gives: cv2 converts all of it, although the model sees a thirtieth."""
    return _open_nv12(stack, 1)


@contest(
    case="1080p NV12 to 256x256, 64 cameras a call, one thread",
    shape="64x1620x1920 uint8",
    reference="cv2",
    providers=("cv2", "vadfast"),
    targets={"vadfast": Target(3.0, ())},
)
def test_nv12_of_64_cameras(stack: ExitStack) -> Field:
    """200 MB of pictures: more than a cache holds."""
    return _open_nv12(stack, CAMERAS["B"])


@pytest.mark.skipif(device().type != "cuda", reason="measures a GPU; none is here")
@contest(
    case="1080p NV12 to 256x256, 64 cameras a launch",
    shape="64x1620x1920 uint8",
    reference="torch",
    providers=("torch", "vadfast", "vadfast, CUDA graph"),
    targets={"vadfast": Target(5.0, ()), "vadfast, CUDA graph": Target(5.0, ())},
    device=lambda: "cuda",
)
def test_nv12_of_64_cameras_on_a_gpu(stack: ExitStack) -> Field:
    """The pictures already there, as a decoder on the GPU leaves them; least traffic is the rows and colours that have a weight."""
    n = CAMERAS["B"]
    host = np.stack([_nv12(p) for p in _pictures(1920, 1080)])
    pictures = torch.from_numpy(host).cuda()[torch.arange(n) % DIFFERENT]
    out = torch.empty((n, SIDE, SIDE, 3), dtype=torch.uint8, device="cuda")
    each, slots = list(pictures.unbind()), list(out.unbind())

    def by_vadfast(_: int = 0) -> Tensor:
        stream = torch.cuda.current_stream().cuda_stream
        preprocess(each, format="nv12", out=slots, stream=stream)
        return out

    def by_replay(_: int) -> Tensor:
        graph.replay()
        return out

    by_vadfast()  # loads the kernel, which a capture must not
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(
        graph
    ):  # the kernel alone, without what Python takes to hand over 128 arrays
        by_vadfast()
    seen = [cv2.cvtColor(p, cv2.COLOR_YUV2RGB_NV12) for p in host]
    truth = np.stack([_bilinear(p) for p in seen])[np.arange(n) % DIFFERENT]
    providers = _providers(torch=lambda _: nv12_to_rgb(pictures), vadfast=by_vadfast)
    providers["vadfast, CUDA graph"] = Provider(by_replay, dtype="uint8")
    traffic = nv12_traffic_mbyte(CAMERAS)
    return Field(providers, _within_a_level(truth), cost=Cost(gflop=0.0, mbyte=traffic))
