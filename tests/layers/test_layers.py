"""The layers against their formulas, position by position in NumPy."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from vadfast.layers import (
    ClusterDistance,
    CrissCross,
    PrototypeUnit,
    STAAttention,
    VarianceAttention,
)

Array = npt.NDArray[np.float64]


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _array(x: Tensor) -> Array:
    return x.detach().numpy()


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    return e / e.sum()


def _count(layer: nn.Module) -> int:
    return sum(p.numel() for p in layer.parameters())


@pytest.mark.parametrize("affinity", ["dot", "cosine"])
def test_criss_cross_is_the_formula_twice(affinity: str) -> None:
    torch.manual_seed(0)
    layer = CrissCross(8, affinity=affinity, query_channels=3).double()
    nn.init.constant_(layer.gamma, 0.7)
    x = _random(1, 8, 3, 4)
    wanted = _array(x)[0]

    def project(convolution: nn.Conv2d, at: Array) -> Array:
        assert convolution.bias is not None
        return _array(convolution.weight)[..., 0, 0] @ at + _array(convolution.bias)

    for _ in range(2):
        passed = np.empty_like(wanted)
        for h, w in np.ndindex(3, 4):
            cross = [(h, j) for j in range(4)] + [(i, w) for i in range(3) if i != h]
            q = project(layer.query, wanted[:, h, w])
            k = [project(layer.key, wanted[:, i, j]) for i, j in cross]
            if affinity == "cosine":
                q, k = q / np.linalg.norm(q), [one / np.linalg.norm(one) for one in k]
            a = _softmax(np.array([q @ one for one in k]))
            v = [project(layer.value, wanted[:, i, j]) for i, j in cross]
            passed[:, h, w] = 0.7 * (a @ np.array(v)) + wanted[:, h, w]
        wanted = passed
    np.testing.assert_allclose(_array(layer(x))[0], wanted, rtol=1e-12, atol=1e-12)


def test_criss_cross_begins_as_the_identity() -> None:
    x = _random(1, 8, 3, 4).float()
    assert torch.equal(CrissCross(8)(x), x)


@pytest.mark.parametrize("variant", ["code", "paper"])
def test_variance_attention_is_a_gain_for_each_cell(variant: str) -> None:
    torch.manual_seed(0)
    layer = VarianceAttention(4, cell=2, variant=variant).double()  # type: ignore[arg-type]
    assert _count(layer) == 16
    x = _random(2, 4, 4, 6)
    weight, wanted = _array(layer.embedding.weight)[..., 0, 0], _array(x).copy()
    for image in wanted:
        cells = image.reshape(4, 2, 2, 3, 2).mean(axis=(2, 4))  # [C, 2, 3]
        f = np.einsum("dc,chw->dhw", weight, cells)
        a = _softmax(f.var(axis=0) * (4 if variant == "code" else 1))
        gain = np.exp(a) if variant == "code" else a / np.linalg.norm(a)
        image *= np.kron(gain, np.ones((2, 2)))
    np.testing.assert_allclose(_array(layer(x)), wanted, rtol=1e-12)


def test_the_prototype_unit_answers_every_position_from_its_own_image() -> None:
    torch.manual_seed(0)
    layer = PrototypeUnit(5, n_prototypes=3).double()
    assert _count(layer) == 15
    z = torch.nn.functional.normalize(_random(2, 5, 3, 2), dim=1)
    found = layer(z)
    assert found.p.shape == (2, 3, 5)
    assert found.diversity.shape == (2,)
    for i, image in enumerate(_array(z)):
        at = {hw: image[:, hw[0], hw[1]] for hw in np.ndindex(3, 2)}
        every = np.array(list(at.values()))  # [N, C]
        p = np.array([_softmax(every @ row) @ every for row in _array(layer.score.weight)])
        p /= np.linalg.norm(p, axis=1, keepdims=True)
        np.testing.assert_allclose(_array(found.p)[i], p, rtol=1e-12)
        for (h, w), one in at.items():
            r = _softmax(p @ one) @ p
            np.testing.assert_allclose(_array(found.y)[i, :, h, w], r / np.linalg.norm(r) + one)
            nearest = min(float(((one - row) ** 2).sum()) for row in p)  # all have length 1
            assert found.compactness[i, h, w].item() == pytest.approx(nearest, rel=1e-9)
        pairs = [((p[m] - p[n]) ** 2).sum() for m in range(3) for n in range(m)]
        assert found.diversity[i].item() == pytest.approx(np.maximum(0, 1 - np.array(pairs)).mean())


def test_sta_attention_is_the_formula_twice() -> None:
    torch.manual_seed(0)
    layer = STAAttention().double()
    assert _count(layer) == 40
    wq, bq, wk, bk = (_array(w) for w in layer.weights())
    f = _random(1, 3, 5)
    wanted = _array(f)[0]

    def cosine(a: float, b: float) -> float:
        q, k = a * wq + bq, b * wk + bk
        return float(q @ k / np.linalg.norm(q) / np.linalg.norm(k))

    for _ in range(2):
        passed = np.empty_like(wanted)
        for n, c in np.ndindex(3, 5):
            cross = [(n, j) for j in range(5)] + [(i, c) for i in range(3) if i != n]
            values = np.array([wanted[u] for u in cross])
            passed[n, c] = _softmax(np.array([cosine(wanted[n, c], v) for v in values])) @ values
        wanted = passed + wanted
    np.testing.assert_allclose(_array(layer(f))[0], wanted, rtol=1e-12)


def test_the_cluster_distance_is_mostly_that_of_the_nearest() -> None:
    torch.manual_seed(0)
    layer = ClusterDistance(5, n_clusters=4, sharpness=3.0).double()
    torch.testing.assert_close(layer.centres.norm(dim=1), torch.ones(4, dtype=torch.float64))
    z = _random(2, 5, 3, 2)
    distance = _array(layer(z))
    for i, h, w in np.ndindex(2, 3, 2):
        d = np.linalg.norm(_array(z)[i, :, h, w] - _array(layer.centres), axis=1)
        assert distance[i, h, w] == pytest.approx(_softmax(-3 * d) @ d, rel=1e-9)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CrissCross(8, recurrence=0), "recurrence must be at least 1, got 0"),
        (lambda: CrissCross(8, affinity="l2"), "affinity must be dot or cosine, got 'l2'"),
        (lambda: VarianceAttention(8, cell=0), "cell must be at least 1, got 0"),
        (
            lambda: VarianceAttention(8, cell=2, variant="mean"),  # type: ignore[arg-type]
            "variant must be code or paper, got 'mean'",
        ),
        (lambda: PrototypeUnit(8, n_prototypes=0), "n_prototypes must be at least 1, got 0"),
        (lambda: STAAttention(0), "must be at least 1, got 0 and 2"),
        (lambda: ClusterDistance(8, n_clusters=0), "n_clusters must be at least 1, got 0"),
        (lambda: ClusterDistance(8, sharpness=0), "sharpness must be above 0, got 0"),
    ],
)
def test_what_no_layer_can_be_is_refused(make: Callable[[], nn.Module], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_what_makes_a_layer_stands_in_its_repr() -> None:
    assert "recurrence=2, affinity='dot'" in repr(CrissCross(8))
    assert "cell=4, variant='code'" in repr(VarianceAttention(8, cell=4))
    assert "recurrence=2" in repr(STAAttention())
    assert "n_clusters=32, sharpness=25.0" in repr(ClusterDistance(8))
