"""The training steps that are measured are what they are called: plain ones run no operator, and all begin at one state."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from bench.suites.test_training_memory import SIDE, WIDTH, saved_mb
from bench.suites.test_training_steps import TINY
from bench.training_steps import CHECK, EXACT, Sizes, step_call, write_scene

OPERATORS = {
    "adl": {"attention_loss", "attention_map"},
    "apn": {"criss_cross_attention", "prototype_attention"},
    "std": {"attention_loss", "cluster_distance", "variance_attention"},
    "mtl": {"patch_max_loss"},
}


class Calls(TorchDispatchMode):
    """Counts the operators of vadfast that run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "vadfast":
            self.names[func._schema.name.removeprefix("vadfast::").removesuffix("_backward")] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene"))


@pytest.mark.parametrize("sizes", TINY, ids=lambda sizes: sizes.method)
def test_plain_steps_run_no_operator_and_fused_ones_all(scene: Path, sizes: Sizes) -> None:
    for form, wanted in (("eager", set()), ("fused", OPERATORS[sizes.method])):
        step = step_call(sizes, scene, form)
        with Calls() as calls:
            step(0)
        assert calls.names.keys() == wanted, form


def test_every_form_is_checked_from_one_state_by_float64(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "bench.training_steps.precision", lambda: "fp32"
    )  # also where there is bf16
    sizes = next(s for s in TINY if s.method == "apn")
    folder = write_scene(tmp_path)
    eager, fused = (step_call(sizes, folder, form) for form in ("eager", "fused"))
    found = eager(CHECK)
    for i in range(3):  # timed calls move the weights; the check must not see it
        eager(i)
    again = eager(CHECK)
    exact, other = step_call(sizes, folder, EXACT)(CHECK), fused(CHECK)
    assert found
    assert again
    assert exact
    assert other
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
    largest = max(np.abs(g).max() for g in exact)
    off = max(np.abs(a - b).max() for a, b in zip(found, exact, strict=True))
    assert 0 < off < 1e-5 * largest, "as near as float32 is, and not the same"
    assert max(np.abs(a - b).max() for a, b in zip(other, exact, strict=True)) < 1e-5 * largest


def test_what_autograd_keeps_of_apn() -> None:
    """At the published size, without memory: CCNet's code keeps maps of H + W weights a position, the operator none."""
    naive, fused = (saved_mb(form, WIDTH, SIDE) for form in ("naive", "fused"))
    # Unit vectors are kept where they are made, and what they were made of is not: their lengths are all that differs.
    assert abs(naive["convolutions and the rest"] - fused["convolutions and the rest"]) < 2
    assert sum(naive.values()) > 2.8 * sum(fused.values())
    assert naive["criss-cross blocks"] > 6 * fused["criss-cross blocks"]
    assert naive["prototype unit"] > 4 * fused["prototype unit"]
