"""What is evaluated: a training run (eager PyTorch) or a compiled bundle (its engine), made alike.

A bundle is evaluated through the very engine that ``vadfast.score`` uses and never imports torch,
so its table is about what gets deployed. A run has no calibration yet, hence no causal score.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from vadfast.errors import UsageError
from vadfast.methods import BAG_METHODS
from vadfast.runtime.bundle import open_bundle, takes
from vadfast.runtime.engine import Engine, open_engine
from vadfast.runtime.manifest import Calibration, Chain, Component, InputSpec, MinMax
from vadfast.runtime.signature import Trust
from vadfast.runtime.zipped import is_zipped


@dataclass(frozen=True, slots=True)
class Subject:
    """An engine and what its components mean."""

    path: Path
    kind: str  # "run" or "bundle"
    method: str
    checkpoint_sha256: str
    engine: Engine
    input: InputSpec
    components: tuple[Component, ...]
    paper_chain: Chain
    causal_chain: Chain
    calibration: Calibration | None

    @property
    def chains(self) -> dict[str, Chain]:
        """The chain behind each pooled score of ``protocols``."""
        paper = self.paper_chain
        raw = paper.model_copy(
            update={"steps": tuple(s for s in paper.steps if not isinstance(s, MinMax))}
        )
        minmaxed = (
            paper if raw != paper else paper.model_copy(update={"steps": (*paper.steps, MinMax())})
        )
        chains = {"micro_minmax": minmaxed, "micro_raw": raw}
        return chains if self.calibration is None else chains | {"causal": self.causal_chain}

    @property
    def words(self) -> str:
        """One line for captions: method, what it is and what runs it."""
        runs_on = f"{self.engine.backend} {self.engine.precision}"
        used = self.paper_chain.weights
        alone = f", by {' and '.join(used)} alone" if len(used) < len(self.components) else ""
        return f"{self.method.upper()}, {self.kind} {self.path.name}, {runs_on}{alone}"


def scored_by(subject: Subject, name: str) -> Subject:
    """The same, with one of its components as the whole score.

    Raises:
        UsageError: no component has that name.
    """
    names = [component.name for component in subject.components]
    if name not in names:
        raise UsageError(
            f"--only must be one of {', '.join(names)}, which {subject.path} scores by, got {name!r}"
        )
    alone = {"weights": {name: 1.0}}
    return replace(
        subject,
        paper_chain=subject.paper_chain.model_copy(update=alone),
        causal_chain=subject.causal_chain.model_copy(update=alone),
    )


def scores_bags(path: Path) -> bool:
    """Whether ``path`` is a run or a bundle that scores bags of features: it has no frames."""
    if not (path / "run.toml").is_file():
        return takes(path) == "bags"
    from vadfast.train.config import RunConfig  # torch: loaded only where there is a run

    return RunConfig.load(path / "run.toml").method in BAG_METHODS


def open_subject(path: Path, trust: Trust | None = None) -> Subject:
    """Opens a run or a bundle (``trust`` says whose), whichever ``path`` is; raises UsageError where it is neither."""
    if (path / "run.toml").is_file():
        return _open_run(path)
    if (path / "manifest.json").is_file() or path.suffix == ".vad" or is_zipped(path):
        return _open_bundle(path, trust)
    came = (
        "a folder with neither" if path.is_dir() else "a file" if path.exists() else "nothing there"
    )
    raise UsageError(
        f"evaluate: {path} must be a training run (a folder with run.toml) or a bundle "
        f"(a folder with manifest.json), found {came}; make a run with python -m vadfast.train, "
        "or a bundle with python -m vadfast.compile"
    )


def _open_run(path: Path) -> Subject:
    from vadfast.models.eager import EagerEngine  # torch: loaded only where a run needs it
    from vadfast.models.registry import load_run

    model = load_run(path)
    return Subject(
        path=path,
        kind="run",
        method=model.method,
        checkpoint_sha256=model.checkpoint_sha256,
        engine=EagerEngine(model.scorer, model.input),
        input=model.input,
        components=model.components,
        paper_chain=model.paper_chain,
        causal_chain=model.causal_chain,
        calibration=None,
    )


def _open_bundle(path: Path, trust: Trust | None) -> Subject:
    bundle = open_bundle(path, trust)
    manifest = bundle.manifest
    return Subject(
        path=path,
        kind="bundle",
        method=manifest.method,
        checkpoint_sha256=manifest.checkpoint_sha256,
        engine=open_engine(bundle),
        input=manifest.input,
        components=manifest.components,
        paper_chain=manifest.paper_chain,
        causal_chain=manifest.causal_chain,
        calibration=manifest.calibration,
    )
