"""What a compile run will do, worked out before anything is built: model, video, labels, windows.

``--dry-run`` prints it; everything a user can get wrong about paths and options is found here,
within seconds.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vadfast.cli import talk
from vadfast.compile.backends import PRECISIONS, all_backends, asked_for, backends_of, refusal
from vadfast.compile.calibrate import check_length
from vadfast.compile.false_alarms import parse_rate
from vadfast.compile.signing import open_key
from vadfast.compile.triton_repository import ENGINE, model_folder
from vadfast.compile.windows import PlannedRun, Tail, plan_runs
from vadfast.data.datasets import Dataset, Video, load_dataset
from vadfast.errors import BackendError, UsageError
from vadfast.runtime.manifest import MAX_BATCH

if TYPE_CHECKING:
    from vadfast.compile.module import ModuleSpec
    from vadfast.models.registry import TrainedModel
    from vadfast.runtime.manifest import InputSpec

TARGETS = ("auto", "cpu", "tensorrt", "cuda")
FORMATS = ("bundle", "triton-repository")


def parse_ladder(words: str) -> tuple[int, ...]:
    """Returns the batches of ``--batch``, in order.

    >>> parse_ladder("8,1,4")
    (1, 4, 8)
    """
    try:
        batches = sorted({int(word) for word in words.split(",")})
    except ValueError:
        batches = [0]
    if not 1 <= batches[0] <= batches[-1] <= MAX_BATCH:
        raise UsageError(
            f"--batch: must be numbers from 1 to {MAX_BATCH} with commas between, got {words!r}"
        )
    return tuple(batches)


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may choose; the defaults are the command's."""

    target: str = "auto"
    precision: str = "auto"
    calibrate: Path | None = None
    data: Path | None = None
    ship: tuple[str, ...] = ("mnn", "openvino", "onnxruntime", "tensorrt")
    batches: tuple[int, ...] = (1,)  # an engine of each ships
    rounds: int = 15
    gate_windows: int | None = None  # None: by the size of the pictures
    threads: int | None = None
    false_alarms: str | None = None  # of a camera, like 1/day; None: by a quantile of the scores
    fps: float | None = None  # of the cameras; None: that of the video
    sign: Path | None = None  # a private key; None: the machine's own
    format: str = "bundle"

    def check(self) -> None:
        """Raises UsageError for a word that is none of the known ones."""
        known = tuple(backend.name for backend in all_backends())
        for name, got, wanted in (
            ("--target", (self.target,), TARGETS),
            ("--precision", (self.precision,), ("auto", *PRECISIONS)),
            ("--format", (self.format,), FORMATS),
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

    run: Path | None  # None: the network is somebody else's
    out: Path
    options: Options
    model: "TrainedModel"
    normal: tuple[Tail, ...]
    normal_words: str
    labels_words: str | None  # where the labels come from; None: the gate has no AUC
    runs: tuple[PlannedRun, ...]

    @property
    def fps(self) -> float | None:
        """Of the cameras, as far as it is known: as asked for, else of the normal video, else of the training video."""
        here = next((tail.source.fps for tail in self.normal if tail.source.fps), None)
        return self.options.fps or here or self.model.input.fps

    @property
    def n_normal_frames(self) -> int:
        """How many frames calibration will score, as far as the sources say."""
        return sum(
            max((tail.n_frames or 0) - self.model.input.n_frames + 1, 0) for tail in self.normal
        )

    def words(self) -> Iterator[str]:
        """Yields the lines of ``--dry-run``."""
        spec = self.model.input
        kind = "bundle" if self.options.format == "bundle" else "Triton model"
        exists = f"{'replace' if self.out.exists() else 'write'} the {kind}"
        origin = self.run or "the module of --module"
        yield f"would {exists} {self.out} from {origin} (method {self.model.method})"
        yield f"input: {spec.n_frames} frames of {spec.width}x{spec.height}"
        for backend in backends_of(self.options.target):
            for precision in backend.precisions:
                if precision not in asked_for(self.options.precision) and backend.name != "eager":
                    continue
                reason = refusal(backend, precision)
                role = "may ship" if backend.name in self.options.ship else "peer only"
                yield f"candidate {backend.name} {precision}: {reason or role}"
        n_windows = sum(run.n for run in self.runs)
        ladder = ", ".join(map(str, self.options.batches))
        yield f"race: {self.options.rounds} alternating rounds at batch {ladder}"
        yield f"gate: {n_windows} real windows in {len(self.runs)} runs, {self.labels_words or 'no labels, so no AUC'}"
        yield f"calibration: {self.n_normal_frames} frames of {self.normal_words}"
        weights = sum(4 * p.numel() for p in self.model.scorer.parameters())
        golden = 8 * spec.n_pictures * spec.height * spec.width * 3
        free = shutil.disk_usage(_existing_parent(self.out)).free
        yield f"disk: about {(weights + golden) / 1e6:.0f} MB, {free / 1e6:.0f} MB free"


def plan_build(source: "Path | ModuleSpec", out: Path, options: Options) -> Plan:
    """Loads the run, or somebody's network, and finds the video for gate and calibration; nothing is written.

    Raises:
        UsageError: an option, the run or the data is not usable.
        BackendError: the target that is named cannot run here.
        BuildError: the network does not take or return what its ``ModuleSpec`` says.
    """
    options.check()
    if options.false_alarms is not None:
        parse_rate(options.false_alarms)
    if options.sign is not None:
        open_key(options.sign)  # a wrong one is said before the minutes of work
    run = source if isinstance(source, Path) else None
    if options.target == "cuda":  # what needs torch ships when it is named
        options = replace(options, ship=(*options.ship, "cuda"))
    if run is None and (wrong := [name for name in ("eager", "cuda") if name in options.ship]):
        raise UsageError(
            f"--ship: {wrong[0]} reads a run directory, which a network of --module has none of; leave it out"
        )
    model = _opened(source)
    if options.format == "triton-repository":
        out = model_folder(out, run.resolve().name if run else model.method)
        options = _for_triton(options, model)
    _check_target(options)
    needs_own = options.calibrate is None or options.data is None
    own = _own_dataset(model) if needs_own else None
    normal, normal_words = _normal(model, own, options.calibrate)
    labelled, labels_words = _labelled(own, options.data)
    n_windows = options.gate_windows or _gate_windows(model.input)
    runs = plan_runs(labelled, normal, window=model.input.n_frames, n_windows=n_windows)
    plan = Plan(run, out, options, model, normal, normal_words, labels_words, tuple(runs))
    if options.false_alarms is not None and plan.fps is None:
        raise UsageError(
            "--false-alarms: needs the frame rate of the cameras, and neither the normal video nor the run's has one; give it by --fps"
        )
    if all(tail.n_frames is not None for tail in normal):
        # What calibration would refuse after minutes of building and racing is refused now.
        check_length(plan.n_normal_frames, normal_words)
    return plan


def _opened(source: "Path | ModuleSpec") -> "TrainedModel":
    from vadfast.models.registry import load_run

    if isinstance(source, Path):
        return load_run(source)
    from vadfast.compile.module import open_module

    return open_module(source)


def _check_target(options: Options) -> None:
    """A target that is named must run on this machine: it is raced, gated and calibrated with here."""
    if options.target in ("auto", "cpu"):
        return
    precisions = asked_for(options.precision)
    asked = [
        (backend, precision)
        for backend in backends_of(options.target)
        for precision in backend.precisions
        if backend.name == options.target
        and backend.name in options.ship
        and precision in precisions
    ]
    if not asked:
        raise UsageError(
            f"--target: {options.target} needs itself in --ship, and a --precision that it has, got --ship {','.join(options.ship)} "
            f"--precision {options.precision}; leave both out"
        )
    reasons = [refusal(backend, precision) for backend, precision in asked]
    if None not in reasons:
        raise BackendError(
            f"--target: {options.target} {reasons[0]}; compile on the machine that it is for, or take --target cpu"
        )


def _for_triton(options: Options, model: "TrainedModel") -> Options:
    """What may ship there is the one engine that Triton has as well."""
    for fits, wanted, came in (
        (ENGINE in options.ship, f"--ship with {ENGINE}", f"--ship {','.join(options.ship)}"),
        (options.precision in ("auto", "fp32"), "--precision fp32", options.precision),
        (model.input.teachers is None, "a model of camera frames alone", "one with teachers"),
    ):
        if not fits:
            raise UsageError(
                f"--format: triton-repository needs {wanted}, got {came}; change it, or write a bundle"
            )
    return replace(options, ship=(ENGINE,), precision="fp32")


def _gate_windows(spec: "InputSpec") -> int:
    """About the same work at every size: an AUC wants many windows, and large ones are slow."""
    return min(max(96, 96 * 256 * 256 // (spec.height * spec.width)), 384)


def _own_dataset(model: "TrainedModel") -> Dataset | None:
    if model.data is None or not model.data.root.exists():
        return None
    return load_dataset(model.data.root, model.data.kind)


def _normal(
    model: "TrainedModel", own: Dataset | None, given: Path | None
) -> tuple[tuple[Tail, ...], str]:
    if given is not None:
        try:
            dataset = load_dataset(given)
        except UsageError as error:
            raise UsageError(str(error).replace("--data", "--calibrate", 1)) from error
        if model.data is not None and given.resolve().is_relative_to(model.data.root):
            talk.print(
                f"calibration: {given} lies in what the run was trained on, where its errors are smallest: alerts will come too often; "
                "give video that it has not seen",
                markup=False,
            )
        kind = "the folder" if given.is_dir() else "the film"
        return tuple(Tail(video.source, 0) for video in dataset.train), f"{kind} {given.name}"
    if model.data is None:
        raise UsageError(
            f"--calibrate: {model.method} was trained elsewhere; give normal video of the scene, which it was not trained on, by --calibrate DIR"
        )
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
