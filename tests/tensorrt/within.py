"""What the gate allows an engine's answer to be off by, as an assertion."""

import numpy as np
import numpy.typing as npt

from vadfast.compile.backends import Precision
from vadfast.compile.gate import BOUNDS
from vadfast.runtime.engine import Outputs


def assert_within(
    found: Outputs,
    components: npt.NDArray[np.float32],
    heatmap: npt.NDArray[np.float32],
    precision: Precision,
    *,
    unit: str = "dB",
) -> None:
    """Fails where ``found`` leaves the bounds of ``precision`` around what float32 gave; all components are of ``unit``."""
    bounds = BOUNDS[precision]
    off = bounds.score_error[unit]
    np.testing.assert_allclose(found.components, components, atol=off, rtol=0)
    off = bounds.heatmap * heatmap.max()
    np.testing.assert_allclose(found.heatmap, heatmap, atol=off, rtol=0)
