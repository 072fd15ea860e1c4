"""The golden self-test: an engine must give here what eager float32 gave where it was compiled.

It runs at every load, so a driver, a library or a CPU that computes something else is found before
the first alert, not after.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vadfast.arrays import read_array
from vadfast.errors import BundleError, EngineMismatch, SourceError, first_line
from vadfast.runtime.bundle import Bundle
from vadfast.runtime.engine import Engine, run_windows
from vadfast.runtime.manifest import Artefact


def check_golden(
    bundle: Bundle, engine: Engine, artefact: Artefact, *, n_windows: int | None = None
) -> dict[str, float]:
    """Returns the largest absolute error of each component on the first ``n_windows`` (or all).

    Raises:
        EngineMismatch: an error exceeds the tolerance of ``artefact``, or is not a number, or a heat map holds one that is none.
        BundleError: the golden files do not hold what the manifest says.
    """
    frames, expected = _load_golden(bundle)
    frames, expected = frames[:n_windows], expected[:n_windows]
    name = f"{bundle.path.name}: {engine.backend} {engine.precision}"
    # What a library raises of a model that it cannot run shares no base.
    try:
        outputs = list(run_windows(engine, frames))
        got = np.concatenate([output.components for output in outputs])
        drawn = all(bool(np.isfinite(output.heatmap).all()) for output in outputs)
    except Exception as fault:
        raise EngineMismatch(
            f"{name}: must run the golden windows, raised {type(fault).__name__}: {first_line(fault)}; choose another --backend, or compile the "
            "run again"
        ) from fault
    if got.shape != expected.shape:
        raise EngineMismatch(
            f"{name}: must return components {list(expected.shape)} for the golden windows, got "
            f"{list(got.shape)}; "
            "compile the run again"
        )
    errors: dict[str, float] = {}
    for column, component in enumerate(bundle.manifest.components):
        error = float(np.abs(got[:, column].astype(np.float64) - expected[:, column]).max())
        tolerance = artefact.tolerance.get(component.name)
        if tolerance is None:
            raise BundleError(
                f"{bundle.path}: manifest.json: {engine.backend} has no tolerance for component "
                f"{component.name!r}; "
                "compile the run again"
            )
        if not error <= tolerance:  # also when the error is not a number
            raise EngineMismatch(
                f"{name}: {component.name} of the golden windows must be within {tolerance:.3g} "
                f"{component.unit} of the "
                f"sealed values, is off by {error:.3g}; choose another --backend, or compile again "
                "on this machine"
            )
        errors[component.name] = error
    if not drawn:
        raise EngineMismatch(
            f"{name}: the heat map of the golden windows must be finite, is not; choose another --backend, or compile again on this machine"
        )
    return errors


def _load_golden(bundle: Bundle) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    manifest, spec = bundle.manifest, bundle.manifest.input
    frames = golden_array(bundle.file(manifest.golden.frames))
    expected = golden_array(bundle.file(manifest.golden.components))
    window = (spec.n_pictures, spec.height, spec.width, 3)
    if frames.dtype != np.uint8 or frames.shape[1:] != window or len(frames) == 0:
        raise BundleError(
            f"{bundle.path}: {manifest.golden.frames} must be uint8 [n, "
            f"{', '.join(map(str, window))}], got "
            f"{frames.dtype} {list(frames.shape)}; compile the run again"
        )
    if expected.dtype != np.float32 or expected.shape != (len(frames), len(manifest.components)):
        raise BundleError(
            f"{bundle.path}: {manifest.golden.components} must be float32 [{len(frames)}, "
            f"{len(manifest.components)}], got {expected.dtype} {list(expected.shape)}; compile "
            "the run again"
        )
    return frames, expected


def golden_array(path: Path) -> npt.NDArray[Any]:
    """Reads one of a bundle's golden files; raises BundleError where it is no array."""
    try:
        # Mapped first: a header that declares more than the file holds takes no memory.
        mapped = read_array(path, "a NumPy array", mend="compile the run again", mmap_mode="r")
        return np.array(mapped)
    except SourceError as error:
        raise BundleError(str(error)) from error
