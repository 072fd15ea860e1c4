"""Peak memory of a training step of APN, with its attention in the papers' own code and with the operators, and what autograd keeps.

Naive is CCNet's code for the criss-cross attention, which keeps maps of H + W weights a position, and the prototype unit as it is
written down, every product of a position and a prototype at once, as the released network has it. Each step has a process of its own.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from bench.child import child, peak_mb
from bench.conftest import Desk
from bench.device import device, is_tiny
from bench.machine import this_machine
from bench.peers import criss_cross
from vadfast.data.clips import Batch
from vadfast.fusion import unfuse
from vadfast.layers import CrissCross, PrototypeUnit
from vadfast.layers.unit_vectors import unit_vectors
from vadfast.models import apn
from vadfast.train.apn import APNTraining
from vadfast.train.config import RunConfig

BATCH, SIDE, WIDTH = 4, 256, 64
FORMS = ("naive", "fused")
SHARE = 1 / 3
WARM_UP_SIDE = 32
BOUND = 1e-3
_LENGTHS = "vadfast.models.apn.unit_vectors"
_LAYER = "vadfast.layers.criss_cross.criss_cross_attention"
_PARTS = {CrissCross: "criss-cross blocks", PrototypeUnit: "prototype unit"}
_REST = "convolutions and the rest"


def open_training(form: str, width: int) -> APNTraining:
    """APN in training; the gain is not 0, as it is before the first step, so that the attention counts."""
    options = {"image_size": SIDE, "width": width}
    values = {"data": "made", "dataset": "folder", "batch": BATCH, "device": device().type}
    config = RunConfig.parse({"method": "apn", "options": options} | values, where="bench")
    torch.manual_seed(0)
    training = APNTraining(config)
    if form == "naive":
        unfuse(training.network)
    for block in training.network.modules():
        if isinstance(block, CrissCross):
            nn.init.constant_(block.gamma, 0.5)
    return training


def step_call(form: str, width: int, side: int) -> Callable[[int], dict[str, float]]:
    """A call is a step, which returns its losses; call 0 is one of small frames, for what the first step makes and keeps."""
    training = open_training(form, width)
    generator = np.random.default_rng(0)
    none = np.zeros(BATCH, np.int64)

    def call(i: int) -> dict[str, float]:
        pixels = side if i else WARM_UP_SIDE
        frames = generator.integers(0, 256, (BATCH, apn.N_FRAMES, pixels, pixels, 3), np.uint8)
        with _attention(form):
            losses = training.step(Batch(frames, none, none), 1)
        return {name: float(loss) for name, loss in losses.items()}

    return call


def cuda_peak_call(form: str, width: int, side: int) -> Callable[[int], float]:
    """The same on a GPU: a call returns by how many MB torch's allocator rises at most during it."""
    step = step_call(form, width, side)

    def call(i: int) -> float:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(i)
        return (torch.cuda.max_memory_allocated() - before) / 2**20

    return call


def peak_of_step(form: str, width: int, side: int) -> float:
    """By how many MB a step raises the memory of its process, or of its GPU, at most."""
    if device().type != "cuda":
        return peak_mb(step_call, form, width, side)
    with child(cuda_peak_call, form, width, side) as call:
        call(0)
        rise: float = call(1)
    return rise


def saved_mb(form: str, width: int, side: int) -> dict[str, float]:
    """What the parts of the network keep for their backward pass, MB: each block of memory once, at the part that keeps it first.

    Counted on tensors without memory; parameters are not counted.
    """
    found: Counter[str] = Counter()
    parts, kept = [_REST], []
    training = open_training(form, width)
    network = training.network.to("meta")
    seen = {p.untyped_storage()._cdata for p in network.parameters()}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in seen:
            seen.add(storage._cdata)
            kept.append(storage)  # so that its address does not come again
            found[parts[-1]] += storage.nbytes()
        return x

    def leave(*_: Any) -> None:
        parts.pop()

    for module in network.modules():
        for kind, part in _PARTS.items():
            if isinstance(module, kind):
                module.register_forward_pre_hook(lambda *_, part=part: parts.append(part))
                module.register_forward_hook(leave)
    clip = torch.empty((BATCH, apn.N_FRAMES, 3, side, side), device="meta")
    with saved_tensors_hooks(keep, lambda x: x), _attention(form):
        prediction = network(clip[:, :-1].flatten(1, 2))
        apn.losses(prediction, clip[:, -1], training.config.options)
    return {part: n / 2**20 for part, n in found.items()}


@contextmanager
def _attention(form: str) -> Iterator[None]:
    """Plain layers compute by CCNet's own code, and lengths by torch's; fused ones do not ask for it."""
    naive = form == "naive"
    with (
        mock.patch(_LAYER, criss_cross.naive if naive else None),
        mock.patch(_LENGTHS, F.normalize if naive else unit_vectors),
    ):
        yield


def test_apn(desk: Desk) -> None:
    """The peak of each form, and what its parts keep from forward to backward pass; both forms must have the same losses."""
    if desk.quick and not is_tiny():
        pytest.skip("takes minutes; run without --quick")
    width, side = (8, WARM_UP_SIDE) if is_tiny() else (WIDTH, SIDE)
    losses = {form: step_call(form, width, side)(0) for form in FORMS}
    pairs = [(losses["naive"][name], losses["fused"][name]) for name in losses["naive"]]
    error = max(abs(a - b) / max(abs(a), 1e-12) for a, b in pairs)
    assert error <= BOUND, f"fused losses are off by {error}, allowed {BOUND} of each"
    peaks = {form: peak_of_step(form, width, side) for form in FORMS}
    saved = {form: saved_mb(form, width, side) for form in FORMS}
    share = peaks["fused"] / peaks["naive"]
    common: dict[str, Any] = {
        "shape": f"batch {BATCH}, image_size {side}, width {width}, levels 3",
        "dtype": "fp32",
        "unit": "MB",
        "kind": "dry run" if is_tiny() else "measured",
        "device": this_machine().device(device().type),
    }
    verified = f"losses equal to {error:.2g} of {BOUND:g} allowed"
    target = {"target": f"<= 1/3 of {FORMS[0]}", "met": share <= SHARE}
    words = {"fused": f"{share:.3f} of naive; "}
    rows = [
        {
            "provider": form,
            "value": round(peak, 1),
            "verified": verified,
            "note": f"{words.get(form, '')}more than before the step, freed memory given back at once",
            **(target if form == "fused" else {}),
        }
        for form, peak in peaks.items()
    ] + [
        {
            "provider": f"{form}, kept from forward to backward pass",
            "value": round(sum(parts.values()), 1),
            "note": ", ".join(f"{part} {n:,.0f}" for part, n in parts.items()),
        }
        for form, parts in saved.items()
    ]
    desk.record("training_memory", f"apn-{side}, a training step", [common | row for row in rows])
