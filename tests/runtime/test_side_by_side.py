"""Several films at once, an engine each: no window, state or output of one reaches another."""

import threading
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_bundle import H, T, W, make_bundle, reference
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.engine import open_engine
from vadfast.runtime.session import raw_scores
from vadfast.runtime.source import Frame

N_FILMS, N_FRAMES = 4, 40


class _Film:
    """A film in memory."""

    fps, n_frames = None, N_FRAMES

    def __init__(self, seed: int) -> None:
        self.name, self.path = f"film {seed}", Path(f"film {seed}")
        self.images = np.random.default_rng(seed).integers(0, 256, (N_FRAMES, H, W, 3), np.uint8)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return (Frame(image, i, float(i)) for i, image in enumerate(self.images))


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_films_scored_at_once_have_the_scores_of_films_scored_alone(
    tmp_path: Path, backend: str
) -> None:
    bundle = open_bundle(make_bundle(tmp_path / "tiny.vad"))
    films = [_Film(seed) for seed in range(N_FILMS)]
    found: dict[int, np.ndarray] = {}
    begin = threading.Barrier(N_FILMS)

    def score(i: int) -> None:
        engine = open_engine(bundle, backend=backend, threads=1)
        begin.wait()
        found[i] = np.stack(
            [raw.components for raw in raw_scores(engine, bundle.manifest.input, films[i])]
        )
        engine.close()

    threads = [threading.Thread(target=score, args=(i,)) for i in range(N_FILMS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, film in enumerate(films):
        windows = np.stack([film.images[j : j + T] for j in range(N_FRAMES - T + 1)])
        np.testing.assert_allclose(found[i], reference(windows)[0], atol=1e-6)
