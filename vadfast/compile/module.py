"""Somebody else's trained network as a model of ours: a factory declares what it takes and returns; that is checked, and scored.

The network stays what it is. What is exported is this file's ``FrameScorer`` around it, which has the score of ``models.prediction``, or the
network itself where it returns components.
"""

import hashlib
import importlib
import importlib.util
import os
import sys
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vadfast.compile.blame import at, definition, find_place, own_files
from vadfast.compile.export import example_frames
from vadfast.errors import BuildError, UsageError, first_line
from vadfast.models.meaning import PSNR, usual_meaning
from vadfast.models.prediction import frame_score, signed_clip, unit_clip
from vadfast.models.registry import TrainedModel
from vadfast.runtime.manifest import Component, InputSpec

HEATMAP_CELL_PX = 8
_SHOWN = "see docs/your-own-model.md"
# A batch of one takes other kernels, whose sums come in another order: the networks here (ADL, APN, STD, MTL) then differ by 1e-7 or
# nothing. Dropout, noise and a mean over the batch differ by percents.
_SAME_RTOL, _SAME_ATOL = 1e-3, 1e-4


@dataclass(frozen=True)
class ModuleSpec:
    """A trained network, and what its numbers are: what the factory of ``--module package.module:factory`` returns.

    ====================  ==============================================  =====================================================
    ``score``             ``module`` takes                                and returns
    ====================  ==============================================  =====================================================
    ``"prediction"``      frames 1 .. T-1, float32 [B, T-1, 3, H, W]      frame T [B, 3, H, W]
    ``"reconstruction"``  frames 1 .. T, float32 [B, T, 3, H, W]          the same again, or frame T alone [B, 3, H, W]
    ``"components"``      frames 1 .. T, uint8 [B, T, H, W, 3]            components [B, K], heat map [B, h, w], high = abnormal
    ====================  ==============================================  =====================================================

    The first two are scored by the PSNR of frame T. Every output is float32 and of its own window alone.
    """

    module: nn.Module  # trained, float32, on the CPU; it is put into eval mode
    # Frames of a window (T), height, width, frames per second of the training video.
    input: InputSpec
    score: Literal["prediction", "reconstruction", "components"]
    pixels: Literal["unit", "signed"] = "unit"  # float frames, in and out, lie in [0, 1] or [-1, 1]
    stacked: bool = False  # True: float frames lie on the channels, [B, 3 (T-1), H, W]
    components: tuple[Component, ...] = ()  # of "components" alone: the K columns
    name: str = ""  # the method in reports; empty: the class of the network

    @property
    def method(self) -> str:
        """What reports and the manifest call it."""
        return self.name or type(self.module).__name__


class FrameScorer(nn.Module):
    """The one graph of a network that predicts or reconstructs frames: uint8 [B, T, H, W, 3] -> PSNR [B, 1], error map [B, h, w]."""

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__()
        self.module = spec.module
        self._predicts, self._stacked = spec.score == "prediction", spec.stacked
        self._signed = spec.pixels == "signed"

    def given(self, frames: Tensor) -> Tensor:
        """What the network sees of ``frames``."""
        clip = self._clip(frames)
        seen = clip[:, :-1] if self._predicts else clip
        return seen.flatten(1, 2) if self._stacked else seen

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (components, heatmap) of a batch of windows."""
        made = self.module(self.given(frames))
        if made.ndim == 5:
            made = made[:, -1]
        return frame_score(
            made[:, -3:],  # of stacked frames the last
            self._clip(frames)[:, -1],
            full_range=2 if self._signed else 1,
            cell_px=HEATMAP_CELL_PX,
        )

    def _clip(self, frames: Tensor) -> Tensor:
        return signed_clip(frames) if self._signed else unit_clip(frames)


def load_module(named: str) -> ModuleSpec:
    """Calls the factory ``package.module:factory``.

    Raises:
        UsageError: there is no such module or factory, it raises, or it returns something else; the message has the line.
    """
    name, colon, attribute = named.partition(":")
    if not (colon and name and attribute):
        raise UsageError(
            f"--module: must be package.module:factory, got {named!r}; name the function that returns a ModuleSpec, {_SHOWN}"
        )
    _find_in_current_folder()
    factory = getattr(_imported(name), attribute, None)
    if not callable(factory):
        raise UsageError(
            f"--module: {name} must have a function {attribute}, has {'none' if factory is None else type(factory).__name__}; {_SHOWN}"
        )
    place = definition(factory)
    files = frozenset({place.file}) if place else frozenset()
    # Someone else's code: its errors share no base.
    try:
        spec = factory()
    except Exception as error:
        raise UsageError(
            f"--module: {named} must return a ModuleSpec, raised {_words(error)}{at(find_place(error, files))}; run it alone to see more"
        ) from error
    if not isinstance(spec, ModuleSpec):
        raise UsageError(
            f"--module: {named} must return a vadfast.compile.ModuleSpec, got {type(spec).__name__}{at(place)}; {_SHOWN}"
        )
    return spec


def open_module(spec: ModuleSpec) -> TrainedModel:
    """Checks ``spec`` by a run on made windows, and returns it as what ``load_run`` makes of a run directory.

    Raises:
        UsageError: its fields do not fit each other, or its numbers are not float32 on the CPU.
        BuildError: the network raises, or returns something else than it should; the message has the line.
    """
    _check_fields(spec)
    _check_numbers(spec)
    spec.module.eval()
    scorer = spec.module if spec.score == "components" else FrameScorer(spec).eval()
    _check_outputs(spec, scorer)
    meaning = usual_meaning(*(spec.components or (PSNR,)))
    return TrainedModel(
        method=spec.method,
        network=spec.module,
        scorer=scorer,
        input=spec.input,
        **meaning._asdict(),
        checkpoint_sha256=hash_of(spec.module),
        data=None,
    )


def hash_of(module: nn.Module) -> str:
    """Returns the SHA-256 over names, types, shapes and bytes of the tensors in ``module``'s state dict, in the order of their names."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
            digest.update(value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _find_in_current_folder() -> None:
    """As ``python -m`` does, for what is imported later, too; the console script has its own folder in that place."""
    if not sys.flags.safe_path and not {"", os.getcwd()} & set(sys.path):
        sys.path.insert(0, os.getcwd())


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    # Someone else's code: its errors share no base.
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and (name == missing or name.startswith(f"{missing}.")):
            raise UsageError(
                f"--module: {name} must be a module that can be imported, there is no {missing}; start in its folder, or name that in PYTHONPATH"
            ) from error
        raise UsageError(
            f"--module: {name} must be a module that can be imported, raised {_words(error)}{at(find_place(error, _file_of(name)))}; run it alone to "
            "see more"
        ) from error


def _file_of(name: str) -> frozenset[str]:
    try:
        found = importlib.util.find_spec(name)
    except Exception:  # a package around it raises when it is imported, as it just did
        return frozenset()
    return frozenset({os.path.realpath(found.origin)}) if found and found.origin else frozenset()


def _check_fields(spec: ModuleSpec) -> None:
    def fault(field: str, wanted: str, came: object) -> UsageError:
        return UsageError(f"ModuleSpec: {field} must be {wanted}, got {came}; {_SHOWN}")

    if not isinstance(spec.module, nn.Module):
        raise fault("module", "an nn.Module", type(spec.module).__name__)
    if not isinstance(spec.input, InputSpec):
        raise fault("input", "a vadfast.runtime.manifest.InputSpec", type(spec.input).__name__)
    for field, got, known in (
        ("score", spec.score, ("prediction", "reconstruction", "components")),
        ("pixels", spec.pixels, ("unit", "signed")),
    ):
        if got not in known:
            raise fault(field, f"one of {', '.join(known)}", repr(got))
    if spec.input.teachers is not None:
        raise fault("input", "of camera frames alone", "teachers")
    own = spec.score == "components"
    if own != bool(spec.components):
        raise fault(
            "components", f"{'named' if own else 'left out'} with score={spec.score!r}",
            f"{len(spec.components)} of them",
        )  # fmt: skip
    if spec.score == "prediction" and spec.input.n_frames < 2:
        raise fault("input", "of 2 frames or more to predict the last", spec.input.n_frames)
    if not own and min(spec.input.height, spec.input.width) < HEATMAP_CELL_PX:
        size = f"{spec.input.height} x {spec.input.width}"
        raise fault("input", f"{HEATMAP_CELL_PX} pixels high and wide or more", size)


def _check_numbers(spec: ModuleSpec) -> None:
    for name, value in (*spec.module.named_parameters(), *spec.module.named_buffers()):
        if value.is_floating_point() and value.dtype != torch.float32:
            raise UsageError(
                f"ModuleSpec: {name} of the module must be float32, got {value.dtype}; call .float() in the factory"
            )
        if value.device.type != "cpu":
            raise UsageError(
                f"ModuleSpec: {name} of the module must be on the CPU, is on {value.device}; call .cpu() in the factory"
            )


def _check_outputs(spec: ModuleSpec, scorer: nn.Module) -> None:
    frames = example_frames(spec.input)
    given = scorer.given(frames) if isinstance(scorer, FrameScorer) else frames
    where = at(definition(type(spec.module).forward))
    made = _called(spec, given)
    wanted, fits = _wanted(spec, given, made)
    if not fits:
        raise BuildError(
            f"ModuleSpec: of {given.dtype} {list(given.shape)} the module must return {wanted}, got {_shapes(made)}{where}; fix its forward, or "
            "the score that is declared"
        )
    if not all(value.isfinite().all() for value in made):
        raise BuildError(
            f"ModuleSpec: the module must return finite numbers, got NaN or infinity{where}; look at its weights and at the range of pixels"
        )
    for other, words in (
        (_called(spec, given), "twice the same for the same frames, differs (F.dropout needs training=self.training; noise has no place)"),
        (_called(spec, given[:1]), "the same for a window alone as in a batch, differs (take no mean over the batch)"),
    ):  # fmt: skip
        pairs = zip(made, other, strict=True)
        if not all(
            torch.allclose(a[: len(b)], b, rtol=_SAME_RTOL, atol=_SAME_ATOL) for a, b in pairs
        ):
            raise BuildError(f"ModuleSpec: the module must return {words}{where}; fix its forward")


def _called(spec: ModuleSpec, given: Tensor) -> tuple[Tensor, ...]:
    # Someone else's code: its errors share no base.
    try:
        with torch.inference_mode():
            made = spec.module(given)
    except Exception as error:
        raise BuildError(
            f"ModuleSpec: the module must take {given.dtype} {list(given.shape)}, raised {_words(error)}{at(find_place(error, own_files(spec.module)))}; "
            "fix its forward, or the input that is declared"
        ) from error
    return made if isinstance(made, tuple) else (made,)


def _wanted(spec: ModuleSpec, given: Tensor, made: tuple[Any, ...]) -> tuple[str, bool]:
    """Returns what the module must return of ``given``, in words, and whether ``made`` is that."""
    n, height, width = len(given), spec.input.height, spec.input.width
    tensors = all(isinstance(value, Tensor) and value.dtype == torch.float32 for value in made)
    if spec.score == "components":
        k = len(spec.components)
        fits = (
            tensors and len(made) == 2 and made[0].shape == (n, k)
            and made[1].ndim == 3 and len(made[1]) == n and made[1].numel() > 0
        )  # fmt: skip
        return f"float32 components [{n}, {k}] and heat map [{n}, h, w]", fits
    frame = [n, 3, height, width]
    allowed = [frame] if spec.score == "prediction" else [frame, list(given.shape)]
    fits = tensors and len(made) == 1 and list(made[0].shape) in allowed
    return f"float32 {' or '.join(map(str, allowed))}", fits


def _shapes(made: tuple[Any, ...]) -> str:
    return " and ".join(
        f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        for value in made
    )


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
