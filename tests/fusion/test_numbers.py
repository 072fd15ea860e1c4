"""Fused layers compute what plain ones do: values, gradients, training, one graph."""

import pytest
import torch
from torch import nn

from tests.fusion.layers import MODELS, image, small
from vadfast.fusion import fuse

INTERPRETED = ("criss-cross", "mmseg", "variance", "prototypes")  # those with a Triton kernel


@pytest.mark.parametrize("name", MODELS)
def test_values_and_gradients(name: str) -> None:
    _compare(name, "auto")


@pytest.mark.parametrize("name", INTERPRETED)
def test_values_and_gradients_by_triton(name: str) -> None:
    _compare(name, "triton")


def _compare(name: str, backend: str) -> None:
    plain, fused = small(name), small(name)
    assert fuse(fused, backend=backend).n_fused == 1
    x = image()
    wanted, found = plain(x), fused(x)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    for y in (wanted, found):
        y.square().mean().backward()
    for (which, ours), theirs in zip(fused.named_parameters(), plain.parameters(), strict=True):
        assert ours.grad is not None, which
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_inference_gives_the_same_numbers(name: str) -> None:
    plain, fused = small(name), small(name)
    fuse(fused, "infer")
    x = image()
    for _ in range(2):  # the second time by what the first has kept
        with torch.no_grad():
            torch.testing.assert_close(fused(x), plain(x), rtol=1e-5, atol=1e-5)
        with torch.inference_mode():
            torch.testing.assert_close(fused(x), plain(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_fused_model_compiles_into_one_graph(name: str) -> None:
    torch.compiler.reset()
    model, x = small(name), image()
    fuse(model)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.parametrize("name", MODELS)
def test_a_fused_model_exports(name: str) -> None:
    model, x = small(name), image()
    fuse(model)
    exported = torch.export.export(model, (x,))
    torch.testing.assert_close(exported.module()(x), model(x))
    # Switching autocast off makes a graph within the graph.
    graphs = [m.graph for m in exported.graph_module.modules() if hasattr(m, "graph")]
    targets = [str(node.target) for graph in graphs for node in graph.nodes]
    assert any(t.startswith("vadfast.") for t in targets), "the operator, not what it is made of"


@torch.no_grad()
def test_what_infer_keeps_is_no_obstacle_to_compile_and_export() -> None:
    torch.compiler.reset()
    model, x = small("mmseg"), image()
    fuse(model, "infer")
    wanted = model(x)  # keeps the folded weights
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), wanted)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), wanted)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(
    "name", ["criss-cross", "mmseg", "variance", "prototypes", "sta", "clusters"]
)
def test_twenty_steps_fused_and_plain_learn_the_same(name: str, autocast: bool) -> None:
    plain, fused = small(name), small(name)
    fuse(fused)
    losses = _twenty_losses(plain, autocast=autocast)
    fused_last = _twenty_losses(fused, autocast=autocast)[-1]
    assert losses[-1] < 0.6 * losses[0], "a model that does not learn proves nothing"
    if autocast:
        # Both forms round, in other places and by the CPU's own bfloat16: neither may be further from float32 than the rule allows.
        exact = _twenty_losses(small(name), autocast=False)[-1]
        rounding = 2**-9 * exact
        assert abs(fused_last - exact) <= 2 * abs(losses[-1] - exact) + rounding
    else:
        assert fused_last == pytest.approx(losses[-1], rel=1e-5)
        for ours, theirs in zip(fused.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def _twenty_losses(model: nn.Module, *, autocast: bool) -> list[float]:
    # Not Adam: a key's bias moves all scores of a query alike, so its gradient is round-off, which Adam makes into full steps.
    optimiser = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    losses = []
    for step in range(20):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = (model(image(seed=step)).float() - 1).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses
