"""A film as N segments of equal length: pooling its snippets into them, and giving their scores back to its frames."""

import numpy as np
import numpy.typing as npt


def boundaries(n: int, n_segments: int) -> npt.NDArray[np.int64]:
    """Where the segments of ``n`` things begin, and where the last ends: round(linspace(0, n, N + 1)), int64 [N + 1].

    >>> boundaries(7, 4)
    array([0, 2, 4, 5, 7])
    """
    return np.round(np.linspace(0, n, n_segments + 1)).astype(np.int64)


def pool_segments(snippets: np.ndarray, n_segments: int) -> npt.NDArray[np.float32]:
    """Means of the snippets [n, C] of each segment, float32 [N, C]; an empty segment takes the snippet at its start.

    Raises:
        ValueError: ``snippets`` is not [n, C] or is empty.

    >>> pool_segments(np.array([[0.0], [2.0], [4.0]]), 2)[:, 0]
    array([1., 4.], dtype=float32)
    """
    if snippets.ndim != 2 or snippets.size == 0:
        raise ValueError(f"snippets must be [n, C] and not empty, got {list(snippets.shape)}")
    edges = boundaries(len(snippets), n_segments)
    starts = np.minimum(edges[:-1], len(snippets) - 1)
    ends = np.maximum(edges[1:], starts + 1)
    pooled = [
        snippets[a:b].mean(axis=0, dtype=np.float64) for a, b in zip(starts, ends, strict=True)
    ]
    return np.stack(pooled).astype(np.float32)


def spread(scores: np.ndarray, n_frames: int) -> np.ndarray:
    """Gives each of ``n_frames`` frames the score of its segment [N]; every frame has one, the tail the last segment's.

    >>> spread(np.array([0.1, 0.9]), 5)
    array([0.1, 0.1, 0.9, 0.9, 0.9])
    """
    return np.repeat(scores, np.diff(boundaries(n_frames, len(scores))))
