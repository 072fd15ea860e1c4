"""What a scorer's numbers are: its components, and how they become one score."""

from typing import NamedTuple

from vadfast.runtime.manifest import Chain, Component, ExponentialMean, MinMax, RobustZ

PSNR = Component(name="psnr", unit="dB", high_is="normal")  # of a predicted frame


class Meaning(NamedTuple):
    """The columns of a scorer's components, the paper's chain (it may look at the whole film) and the causal one (what cameras run)."""

    components: tuple[Component, ...]
    paper_chain: Chain
    causal_chain: Chain


def usual_meaning(*components: Component) -> Meaning:
    """The plain sum of ``components``: each from 0 to 1 over a whole film, or, for cameras, in units of normal video, smoothed."""
    weights = dict.fromkeys((component.name for component in components), 1.0)
    return Meaning(
        components,
        Chain(steps=(MinMax(),), weights=weights),
        Chain(steps=(RobustZ(), ExponentialMean(half_life_frames=2.0)), weights=weights),
    )
