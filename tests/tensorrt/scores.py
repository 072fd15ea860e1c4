"""What the machine's engines must give: the scores of the tiny bundle's model."""

import numpy as np

from tests import tiny_bundle
from vadfast.runtime.engine import Engine


def windows(n: int, *, seed: int = 0) -> np.ndarray:
    shape = (n, tiny_bundle.T, tiny_bundle.H, tiny_bundle.W, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def assert_scores(engine: Engine, *, seed: int = 0) -> None:
    frames = windows(2, seed=seed)
    found, wanted = engine(frames), tiny_bundle.reference(frames)
    np.testing.assert_array_equal(found.components, wanted[0])
    np.testing.assert_array_equal(found.heatmap, wanted[1])
