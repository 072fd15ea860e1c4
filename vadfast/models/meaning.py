"""What a scorer's numbers are: its components, and how they become one score."""

from typing import NamedTuple

from vadfast.runtime.manifest import Chain, Component


class Meaning(NamedTuple):
    """The columns of a scorer's components, the paper's chain (it may look at the whole film) and the causal one (what cameras run)."""

    components: tuple[Component, ...]
    paper_chain: Chain
    causal_chain: Chain
