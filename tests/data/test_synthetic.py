"""The made scene is the same for the same seed, and its labels say what its masks show."""

from pathlib import Path

import numpy as np
import pytest

from vadfast.data import synthetic
from vadfast.data.datasets import load_dataset


def test_the_same_seed_films_the_same_frames_and_another_seed_others() -> None:
    first, again, other = (list(synthetic.film(seed, 12)) for seed in (3, 3, 4))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].image, other[0].image)


def test_normal_film_has_no_mask() -> None:
    assert not any(frame.mask.any() or frame.label for frame in synthetic.film(5, 60))


@pytest.mark.parametrize("kind", synthetic.ANOMALIES)
def test_each_anomaly_is_seen_and_changes_only_its_own_pixels(kind: str) -> None:
    labels = [frame.label for frame in synthetic.film(501, 150, anomaly=kind)]
    assert sum(labels) >= 20
    assert not any(labels[:40])  # it enters after about a third


def test_an_unknown_anomaly_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="cyclist, runner"):
        next(synthetic.film(0, 1, anomaly="unicorn"))


def test_a_written_data_set_loads_with_labels_that_equal_its_masks(tmp_path: Path) -> None:
    synthetic.write_dataset(tmp_path, n_training=1, n_testing=2, n_frames=90)
    loaded = load_dataset(tmp_path)
    assert (loaded.kind, len(loaded.train), len(loaded.test)) == ("folder", 1, 2)
    for video in loaded.test:
        frames = list(video.source)
        assert len(frames) == 90
        assert [frame.index for frame in frames] == list(range(90))
        np.testing.assert_allclose(
            [f.time_s for f in frames], np.arange(90) / synthetic.FPS, atol=1e-3
        )
        assert video.masks is not None
        assert video.labels is not None
        shown = video.masks().sum(axis=(1, 2)) >= synthetic.MIN_MASK_PX
        np.testing.assert_array_equal(video.labels, shown)
        assert 0 < video.labels.sum() < 90
