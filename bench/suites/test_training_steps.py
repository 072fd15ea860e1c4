"""A whole training step of each method, its losses, updates and both of STD's turns in it: eager, fused, compiled.

The forms are the method's own training with freed memory kept, as ``vadfast.train`` runs it, and differ in the operators alone. A
form is right if every gradient is that of float64 from one and the same state. STA's step stands in ``sta_accuracy``.
"""

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from bench.child import KEEP_FREED_MEMORY, child
from bench.contest import Check, Field, Provider, Target, contest
from bench.device import device, is_tiny
from bench.training_steps import CHECK, EXACT, FORMS, Sizes, precision, step_call, write_scene

# What is trained on two CPU cores.
SMALL = (
    Sizes("adl", {"image_size": 96, "width": 16}),
    Sizes("apn", {"image_size": 64, "width": 16}),
    Sizes("std", {"image_size": 128, "neck": 8}),
    Sizes("mtl", {"image_size": 64, "width": 16}),
)
# As published; MTL's batch is ours at every size.
FULL = (
    Sizes("adl", {"image_size": 256, "width": 64}),
    Sizes("apn", {"image_size": 256, "width": 64}),
    Sizes("std", {"image_size": 256, "neck": 32}),
    Sizes("mtl", {"image_size": 256, "width": 64}),
)
TINY = (
    Sizes("adl", {"image_size": 16, "width": 4}, 2),
    Sizes("apn", {"image_size": 16, "width": 8}, 2),
    Sizes("std", {"image_size": 128, "neck": 2}, 1),
    Sizes("mtl", {"image_size": 32, "width": 4}, 2),
)
LEAST_SHARE = 1e-3  # of the largest gradient: what smaller ones are measured by
AT_LEAST = {"apn": 1.3}  # the others 1.1


def open_steps(sizes: Sizes, stack: ExitStack) -> Field:
    """Opens all forms; on a CPU each in a process of its own, which keeps its freed memory."""
    folder = write_scene(Path(stack.enter_context(tempfile.TemporaryDirectory())))
    stack.enter_context(mock.patch.dict(os.environ, VADFAST_CACHE=str(folder / "cache")))

    def opened(form: str, keeper: ExitStack) -> Any:
        if device().type != "cpu" or is_tiny():
            return step_call(sizes, folder, form)
        here = child(step_call, sizes, folder, form, environment=KEEP_FREED_MEMORY)
        return keeper.enter_context(here)

    calls = {form: opened(form, stack) for form in FORMS}
    eager = calls["eager"](CHECK)
    with ExitStack() as brief:
        truth = opened(EXACT, brief)(CHECK)

    # A bias before a batch normalisation has a gradient of 0, and rounding is all that anybody finds there.
    least = LEAST_SHARE * max(float(np.abs(t).max()) for t in truth)

    def error(gradients: list[np.ndarray]) -> float:
        pairs = zip(gradients, truth, strict=True)
        return max(float(np.abs(g - t).max() / max(np.abs(t).max(), least)) for g, t in pairs)

    bound = 2 * error(eager) + 1e-5

    def check(_: str, gradients: list[np.ndarray]) -> Check:
        return Check(error(gradients), bound, "of a gradient's largest value")

    def gradients_of(call: Callable[[int], Any]) -> Callable[[int], Any]:
        return lambda _: call(CHECK)

    dtype = precision()
    return Field(
        {n: Provider(call, dtype, result=gradients_of(call)) for n, call in calls.items()}, check
    )


def _case(sizes: Sizes) -> Callable[..., None]:
    def open_(stack: ExitStack) -> Field:
        return open_steps(sizes, stack)

    side = sizes.options["image_size"]
    return contest(
        case=f"{sizes.method}-{side}, a training step",
        shape=sizes.words,
        reference="eager",
        providers=FORMS,
        targets={"fused": Target(AT_LEAST.get(sizes.method, 1.1), ())},
        device=lambda: device().type,
        long=not is_tiny(),  # torch.compile takes minutes
    )(open_)


for _sizes in TINY if is_tiny() else FULL if device().type == "cuda" else SMALL:
    globals()[f"test_{_sizes.method}"] = _case(_sizes)
