"""What a compile run will do, worked out before anything is built: model, video, labels, windows.

``--dry-run`` prints it; everything a user can get wrong about paths and options is found here,
within seconds.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vadfast.cli import talk
from vadfast.compile.backends import PRECISIONS, all_backends, refusal
from vadfast.compile.calibrate import check_length
from vadfast.compile.signing import open_key
from vadfast.compile.windows import PlannedRun, Tail, plan_runs
from vadfast.data.datasets import Dataset, Video, load_dataset
from vadfast.errors import UsageError

if TYPE_CHECKING:
    from vadfast.models.registry import TrainedModel

TARGETS = ("auto", "cpu")


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may choose; the defaults are the command's."""

    target: str = "auto"
    precision: str = "auto"
    calibrate: Path | None = None
    data: Path | None = None
    ship: tuple[str, ...] = ("mnn", "openvino", "onnxruntime")
    rounds: int = 15
    gate_windows: int = 96
    threads: int | None = None
    sign: Path | None = None  # a private key; None: the machine's own

    def check(self) -> None:
        """Raises UsageError for a word that is none of the known ones."""
        known = tuple(backend.name for backend in all_backends())
        for name, got, wanted in (
            ("--target", (self.target,), TARGETS),
            ("--precision", (self.precision,), ("auto", *PRECISIONS)),
            ("--ship", self.ship or ("nothing",), known),
        ):
            wrong = [word for word in got if word not in wanted]
            if wrong:
                raise UsageError(
                    f"{name}: must be among {', '.join(wanted)}, got {wrong[0]!r}; see --help"
                )


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is known before the first engine is built."""

    run: Path
    out: Path
    options: Options
    model: "TrainedModel"
    normal: tuple[Tail, ...]
    normal_words: str
    labels_words: str | None  # where the labels come from; None: the gate has no AUC
    runs: tuple[PlannedRun, ...]

    @property
    def n_normal_frames(self) -> int:
        """How many frames calibration will score, as far as the sources say."""
        return sum(
            max((tail.n_frames or 0) - self.model.input.n_frames + 1, 0) for tail in self.normal
        )

    def words(self) -> Iterator[str]:
        """Yields the lines of ``--dry-run``."""
        spec = self.model.input
        exists = "replace the bundle" if self.out.exists() else "write the bundle"
        yield f"would {exists} {self.out} from {self.run} (method {self.model.method})"
        yield f"input: {spec.n_frames} frames of {spec.width}x{spec.height}"
        for backend in all_backends():
            for precision in backend.precisions:
                if self.options.precision not in ("auto", precision) and backend.name != "eager":
                    continue
                reason = refusal(backend, precision)
                role = "may ship" if backend.name in self.options.ship else "peer only"
                yield f"candidate {backend.name} {precision}: {reason or role}"
        n_windows = sum(run.n for run in self.runs)
        yield f"race: {self.options.rounds} alternating rounds at batch 1"
        yield f"gate: {n_windows} real windows in {len(self.runs)} runs, {self.labels_words or 'no labels, so no AUC'}"
        yield f"calibration: {self.n_normal_frames} frames of {self.normal_words}"
        weights = sum(4 * p.numel() for p in self.model.scorer.parameters())
        golden = 8 * spec.n_pictures * spec.height * spec.width * 3
        free = shutil.disk_usage(_existing_parent(self.out)).free
        yield f"disk: about {(weights + golden) / 1e6:.0f} MB, {free / 1e6:.0f} MB free"


def plan_build(run: Path, out: Path, options: Options) -> Plan:
    """Loads the run and finds the video for gate and calibration; nothing is written.

    Raises:
        UsageError: an option, the run or the data is not usable.
    """
    from vadfast.models.registry import load_run

    options.check()
    if options.sign is not None:
        open_key(options.sign)  # a wrong one is said before the minutes of work
    model = load_run(run)
    needs_own = options.calibrate is None or options.data is None
    own = _own_dataset(model) if needs_own else None
    normal, normal_words = _normal(model, own, options.calibrate)
    labelled, labels_words = _labelled(own, options.data)
    runs = plan_runs(labelled, normal, window=model.input.n_frames, n_windows=options.gate_windows)
    plan = Plan(run, out, options, model, normal, normal_words, labels_words, tuple(runs))
    if all(tail.n_frames is not None for tail in normal):
        # What calibration would refuse after minutes of building and racing is refused now.
        check_length(plan.n_normal_frames, normal_words)
    return plan


def _own_dataset(model: "TrainedModel") -> Dataset | None:
    if not model.data.root.exists():
        return None
    return load_dataset(model.data.root, model.data.kind)


def _normal(
    model: "TrainedModel", own: Dataset | None, given: Path | None
) -> tuple[tuple[Tail, ...], str]:
    if given is not None:
        dataset = load_dataset(given)
        if given.resolve().is_relative_to(model.data.root):
            talk.print(
                f"calibration: {given} lies in what the run was trained on, where its errors are smallest: alerts will come too often; "
                "give video that it has not seen",
                markup=False,
            )
        return tuple(Tail(video.source, 0) for video in dataset.train), f"the folder {given.name}"
    if own is None:
        raise UsageError(
            f"--calibrate: the run was trained on {model.data.root}, which is not here; give normal video of the scene "
            "by --calibrate DIR"
        )
    from vadfast.data.holdout import held_out

    parts = held_out(own, model.data.holdout)
    if not parts:
        raise UsageError(
            f"--calibrate: the run held out {model.data.holdout:.0%} of {own.root.name}, which is less than one window "
            "of any video; give normal video of the scene by --calibrate DIR"
        )
    return (
        tuple(Tail(video.source, first) for video, first in parts),
        f"{own.root.name}: the last {model.data.holdout:.0%} of its training videos, never trained on",
    )


def _labelled(own: Dataset | None, given: Path | None) -> tuple[tuple[Video, ...], str | None]:
    dataset = load_dataset(given) if given is not None else own
    videos = (
        ()
        if dataset is None
        else tuple(video for video in dataset.test if video.labels is not None)
    )
    if videos and dataset is not None:
        return videos, f"labels {dataset.label_source}"
    if given is not None:
        raise UsageError(
            f"--data: {given} must hold test videos with labels, got none; leave it out for a gate without AUC"
        )
    talk.print(
        "gate: no labelled video, so score errors are checked but no AUC; --data DIR would give it"
    )
    return (), None


def _existing_parent(path: Path) -> Path:
    return next(parent for parent in path.absolute().parents if parent.exists())
