"""A tiny bundle, and labelled videos whose scores are known: they jump where they are abnormal."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.tiny_bundle import H, W, make_bundle
from vadfast.evaluate.subject import Subject, open_subject

EVENTS = {
    "busy": [[10, 14]],
    "calm": [],
    "long_$name$_of_a_video_that_never_ends": [[0, 3], [20, 21]],
}
N_FRAMES = 24


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny.vad")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos that jump in brightness where they are labelled abnormal and rest elsewhere."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name, events in EVENTS.items():
        abnormal = {frame for first, last in events for frame in range(first, last + 1)}
        write_video(
            root / "testing" / name,
            [rng.integers(100, 200) if i in abnormal else 50 for i in range(N_FRAMES)],
        )
    write_video(root / "training" / "calm", [50] * N_FRAMES)
    (root / "labels.json").write_text(json.dumps(EVENTS))
    return root


@pytest.fixture(scope="module")
def subject(bundle: Path) -> Subject:
    return open_subject(bundle)


def write_video(folder: Path, levels: list[int]) -> None:
    folder.mkdir(parents=True)
    for index, level in enumerate(levels):
        assert cv2.imwrite(
            str(folder / f"{index:03d}.png"), np.full((H, W, 3), level + index % 3, np.uint8)
        )
