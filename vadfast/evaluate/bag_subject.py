"""What is evaluated on bags of features: a run in eager PyTorch, or a bundle, which needs none."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vadfast.runtime.bag_manifest import BagSpec
from vadfast.runtime.signature import Trust

Bags = npt.NDArray[np.float32]  # [B, N, C]


@dataclass(frozen=True, slots=True)
class BagSubject:
    """Something that scores bags, and where it came from."""

    path: Path
    kind: str  # "run" or "bundle"
    method: str
    checkpoint_sha256: str
    backend: str
    input: BagSpec
    score: Callable[[Bags], npt.NDArray[np.float32]]  # [B, N, C] -> [B, N]

    @property
    def words(self) -> str:
        """One line for captions."""
        return f"{self.method.upper()}, {self.kind} {self.path.name}, {self.backend} fp32"


def open_bag_subject(path: Path, trust: Trust | None = None) -> BagSubject:
    """Opens a run or a bundle (``trust`` says whose), whichever ``path`` is; raises as ``open_run`` and ``open_bag_bundle``."""
    return _open_run(path) if (path / "run.toml").is_file() else _open_bundle(path, trust)


def _open_run(path: Path) -> BagSubject:
    import torch  # loaded only where a run needs it

    from vadfast.fusion.fuse import fuse
    from vadfast.models.registry import open_run

    stored = open_run(path)
    options, network = stored.config.options, stored.network.eval()
    fuse(network, "infer")

    def score(bags: Bags) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            return network(torch.from_numpy(bags)).scores.numpy()

    return BagSubject(
        path=path,
        kind="run",
        method=stored.config.method,
        checkpoint_sha256=stored.checkpoint_sha256,
        backend="eager",
        input=BagSpec(n_segments=options.n_segments, n_features=options.n_features),
        score=score,
    )


def _open_bundle(path: Path, trust: Trust | None) -> BagSubject:
    from vadfast.runtime.bags import open_bag_bundle

    bundle = open_bag_bundle(path, trust)
    return BagSubject(
        path=path,
        kind="bundle",
        method=bundle.manifest.method,
        checkpoint_sha256=bundle.manifest.checkpoint_sha256,
        backend=bundle.engine.backend,
        input=bundle.manifest.input,
        score=bundle.engine,
    )
