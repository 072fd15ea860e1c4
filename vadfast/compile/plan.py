"""What a compile run will do, worked out before anything is built: model, video, labels, windows.

``--dry-run`` prints it (``dry_run.py``); everything a user can get wrong about paths and options is found here,
within seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vadfast.cli import talk
from vadfast.compile.backends import (
    PRECISIONS,
    Precision,
    all_backends,
    asked_for,
    backends_of,
    refusal,
)
from vadfast.compile.bundle import check_target
from vadfast.compile.calibrate import check_length, check_peaks
from vadfast.compile.false_alarms import FRAMES_A_PEAK, MIN_PEAKS, parse_rate
from vadfast.compile.footage import labelled_video, normal_video, own_dataset
from vadfast.compile.gate import Bounds, Scorecard, bounds_of, parse_bounds
from vadfast.compile.signing import check_key
from vadfast.compile.triton_repository import ENGINE, model_folder
from vadfast.compile.windows import PlannedRun, Tail, plan_runs
from vadfast.errors import BackendError, UsageError
from vadfast.runtime.manifest import MAX_BATCH

if TYPE_CHECKING:
    from vadfast.compile.module import ModuleSpec
    from vadfast.models.registry import TrainedModel
    from vadfast.runtime.manifest import InputSpec

TARGETS = ("auto", "cpu", "tensorrt", "cuda")
FORMATS = ("bundle", "triton-repository")
_SAME_RATE = 1.05  # 24 frames/s for 25 are the same camera


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
    gate: str | None = None  # bounds in place of the usual ones, like auc=0.001
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
    def normal_fps(self) -> float | None:
        """Of the normal video, where it says."""
        return next((tail.source.fps for tail in self.normal if tail.source.fps), None)

    @property
    def bounds(self) -> Mapping[Precision, Bounds]:
        """What the gate allows."""
        return parse_bounds(self.options.gate)

    @property
    def card(self) -> Scorecard:
        """What candidates are judged by."""
        model = self.model
        return Scorecard(model.components, model.paper_chain, model.causal_chain, self.bounds)

    @property
    def fps(self) -> float | None:
        """Of the cameras, as far as it is known: as asked for, else of the normal video, else of the training video."""
        return self.options.fps or self.normal_fps or self.model.input.fps

    @property
    def normal_lengths(self) -> list[int]:
        """How many frames calibration will score of each normal video, as far as the sources say."""
        window = self.model.input.n_frames
        return [max((tail.n_frames or 0) - window + 1, 0) for tail in self.normal]

    @property
    def n_normal_frames(self) -> int:
        """Of all normal videos together."""
        return sum(self.normal_lengths)


def plan_build(source: "Path | ModuleSpec", out: Path, options: Options) -> Plan:
    """Loads the run, or somebody's network, and finds the video for gate and calibration; nothing is written.

    Raises:
        UsageError: an option, the run, the data or ``out`` is not usable.
        BackendError: the target that is named cannot run here.
        BuildError: the network does not take or return what its ``ModuleSpec`` says, or the gate has no bound for a component's unit.
    """
    options.check()
    bounds = parse_bounds(options.gate)
    if options.false_alarms is not None:
        parse_rate(options.false_alarms)
    check_key(options.sign)  # a wrong one is said before the minutes of work
    run = source if isinstance(source, Path) else None
    if options.target == "cuda":  # what needs torch ships when it is named
        if run is None:
            raise UsageError(
                "--target: cuda reads a run directory, which a network of --module has none of; take tensorrt or cpu"
            )
        options = replace(options, ship=(*options.ship, "cuda"))
    if run is None and (wrong := [name for name in ("eager", "cuda") if name in options.ship]):
        raise UsageError(
            f"--ship: {wrong[0]} reads a run directory, which a network of --module has none of; leave it out"
        )
    model = _opened(source)
    bounds_of(bounds["fp32"], model.components)  # what has none cannot be gated
    if options.format == "triton-repository":
        out = model_folder(out, run.resolve().name if run else model.method)
        options = _for_triton(options, model)
    check_target(out)
    _check_target(options)
    needs_own = options.calibrate is None or options.data is None
    own = own_dataset(model) if needs_own else None
    normal, normal_words = normal_video(model, own, options.calibrate)
    labelled, labels_words = labelled_video(own, options.data)
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
        if options.false_alarms is not None:
            check_peaks(plan.normal_lengths, normal_words)
            _note_peaks(plan.n_normal_frames)
    _note_rate(plan)
    if options.precision not in ("auto", "fp32") and options.format == "bundle":
        talk.print(
            f"note: --precision {options.precision} ships no float32 engine: a machine that cannot compute in {options.precision} cannot run the "
            "bundle; --precision auto ships one behind what is faster"
        )
    return plan


def _note_peaks(n_frames: int) -> None:
    if n_frames < MIN_PEAKS * FRAMES_A_PEAK:
        talk.print(
            f"note: --false-alarms needs {MIN_PEAKS} peaks of normal scores, and {n_frames} frames may give fewer, which only calibration "
            f"finds out; {MIN_PEAKS * FRAMES_A_PEAK} frames are likely to be enough"
        )


def _note_rate(plan: Plan) -> None:
    """The model learned how fast things move from one frame to the next: cameras of another rate show it other motion."""
    asked, here = plan.options.fps, plan.normal_fps
    if asked and here and not 1 / _SAME_RATE <= asked / here <= _SAME_RATE:
        talk.print(
            f"note: --fps says {asked:g} frames/s and {plan.normal_words} has {here:g}; false alarms are counted at --fps, of scores at the "
            "video's own rate; leave --fps out if the cameras are the video's",
            markup=False,
        )


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
    return min(max(64, 64 * 256 * 256 // (spec.height * spec.width)), 256)
