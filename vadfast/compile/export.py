"""Exports the one graph (uint8 windows in, components and heat map out) to ONNX, and checks it.

The batch stays symbolic, so one file serves every engine; each engine pins it when it loads.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from vadfast.compile.blame import at, find_bound_size, find_place, first_cause, own_files
from vadfast.compile.graph_forms import graph_forms
from vadfast.errors import BuildError, first_line
from vadfast.runtime.manifest import InputSpec

# The dynamo exporter specialises a dimension of 1; two windows keep the batch symbolic.
_EXAMPLE_BATCH = 2


def export_onnx(scorer: nn.Module, spec: InputSpec, target: Path) -> tuple[int, int]:
    """Writes ``scorer`` to ``target`` with its weights inside; returns the size (h, w) of the heat map.

    Raises:
        BuildError: the graph does not take or return what a scorer must, or cannot be written as ONNX.
    """
    frames = example_frames(spec)
    heatmap = _check_scorer(scorer.eval(), frames)
    write_onnx(scorer, frames, target, takes="frames", returns=["components", "heatmap"])
    return heatmap


def example_frames(spec: InputSpec) -> torch.Tensor:
    """Two windows of noise, uint8 [2, n_pictures, height, width, 3], always the same."""
    return torch.randint(
        0,
        256,
        (_EXAMPLE_BATCH, spec.n_pictures, spec.height, spec.width, 3),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )


def write_onnx(
    graph: nn.Module, example: torch.Tensor, target: Path, *, takes: str, returns: list[str]
) -> None:
    """Writes ``graph`` to ``target`` with its weights inside, the batch of ``example`` left open, and checks the file.

    Raises:
        BuildError: it cannot be written as ONNX.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings(), _quiet(), graph_forms(graph):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph,
                (example,),
                target,
                dynamo=True,
                external_data=False,
                input_names=[takes],
                output_names=returns,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
            _forget_origin(target)
    # OnnxExporterError is a RuntimeError.
    except (RuntimeError, ValueError, NotImplementedError) as error:
        place = find_place(error, own_files(graph))
        raise BuildError(
            f"export: the model must be expressible as ONNX, got: {first_line(first_cause(error))}{at(place)}; "
            f"{'change that line (no branch on values, and an operator that ONNX has)' if place else '--debug shows where'}"
        ) from error
    _check_batch(graph, example, target)
    _check_file(target)


def _check_scorer(scorer: nn.Module, frames: torch.Tensor) -> tuple[int, int]:
    with torch.inference_mode():
        components, heatmap = scorer(frames)
    wanted = f"float32 components [{len(frames)}, K] and heatmap [{len(frames)}, h, w]"
    for value, n_dims in ((components, 2), (heatmap, 3)):
        if value.dtype != torch.float32 or value.ndim != n_dims or len(value) != len(frames):
            raise BuildError(
                f"export: the scorer must return {wanted}, got {value.dtype} {list(value.shape)}; fix its forward"
            )
        if not np.isfinite(value.numpy()).all():
            raise BuildError(
                "export: the scorer must return finite numbers, got NaN or infinity; train the run again"
            )
    return heatmap.shape[1], heatmap.shape[2]


def _check_batch(graph: nn.Module, example: torch.Tensor, target: Path) -> None:
    """The exporter, where it cannot leave the batch open, fixes it to the example's without a word."""
    import onnx

    model = onnx.load(target)
    if model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        return
    place = None
    try:
        with torch.no_grad(), warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")
            batch = ({0: torch.export.Dim("batch")},)
            torch.export.export(graph, (example,), dynamic_shapes=batch, strict=False)
    except RuntimeError as error:  # torch.export's own say where the size was fixed
        place = find_bound_size(error, own_files(graph))
    raise BuildError(
        f"export: the model must take any number of windows, works only for {len(example)}{at(place)}; make no Python loop or constant of the "
        "batch size"
    )


def _check_file(target: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(str(target), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BuildError(
            f"export: {target.name} must be valid ONNX, got: {error}; report this with --debug"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress on stdout, which belongs to our results, and whole graphs on stderr where it fails: not in here."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    nowhere = io.StringIO()
    try:
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield
    finally:
        logging.disable(disabled)


def _forget_origin(target: Path) -> None:
    """Takes the exporter's notes out of the model: they hold the paths of this machine's source files."""
    import onnx

    model = onnx.load(target)
    for node in [*model.graph.node, *(n for f in model.functions for n in f.node)]:
        del node.metadata_props[:]
    onnx.save(model, target)
