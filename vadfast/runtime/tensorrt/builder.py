"""From an ONNX file to an engine's bytes: strongly typed, one batch, with progress on stderr.

What precision a number has is said by the ONNX file, and nothing else: TensorRT 11 takes it from nowhere else, and 10 is told to do so.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vadfast.errors import BackendError
from vadfast.progress import Steps, steps
from vadfast.runtime.tensorrt.library import Library, Messages, made

if TYPE_CHECKING:
    from vadfast.runtime.tensorrt.api import Builder, Config, Network, TensorRT

# Scratch memory of one convolution. TensorRT's own limit is the whole GPU, which on a Jetson is all the memory of the box.
WORKSPACE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Built:
    """An engine, and what its builder measured of this GPU on the way (empty where it does not)."""

    plan: bytes
    timings: bytes


def build(library: Library, model: Path, *, batch: int, timings: bytes = b"") -> Built:
    """Builds the engine of ``model`` for exactly ``batch`` windows; ``timings`` of earlier builds make it faster.

    Raises:
        BackendError: TensorRT cannot read the file, or cannot build what it says.
    """
    trt, messages = library.trt, Messages(library)
    builder = made(library, messages, "builder", lambda: trt.Builder(messages.logger))
    flags = _strongly_typed(trt)
    network = made(library, messages, "network", lambda: builder.create_network(flags))
    parser = made(library, messages, "parser", lambda: trt.OnnxParser(network, messages.logger))
    if not parser.parse_from_file(str(model)):
        said = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise BackendError(
            f"{library.name} cannot read {model}: {said or messages.reason()}; compile the run again"
        )
    _pin_batch(network, model, batch)
    config = made(library, messages, "configuration", builder.create_builder_config)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    # TF32 is float32's range with float16's mantissa: what is called fp32 must be that.
    config.clear_flag(trt.BuilderFlag.TF32)
    if not library.is_rtx:
        _give_timings(config, timings)
    plan = _run(library, builder, network, config, model)
    if plan is None:
        raise BackendError(
            f"{library.name} cannot build an engine of {model}: {messages.reason()}; --backend names another"
        )
    return Built(plan, b"" if library.is_rtx else _take_timings(config))


def _strongly_typed(trt: "TensorRT") -> int:
    """The flag, where this version still has it; without it all networks are strongly typed."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _pin_batch(network: "Network", model: Path, batch: int) -> None:
    """Fixes the one size that the file leaves open.

    Not by an optimisation profile of one size: TensorRT-RTX would still take the size for open, compile for it while it runs, and
    a graph that was captured before would never use that.
    """
    names = [network.get_input(i).name for i in range(network.num_inputs)]
    if names != ["frames"]:
        raise BackendError(f"{model}: its input must be frames, got {', '.join(names)}")
    frames = network.get_input(0)
    frames.shape = (batch, *tuple(frames.shape)[1:])


def _give_timings(config: "Config", timings: bytes) -> None:
    """Those of another version or GPU are refused, by either of the two calls; the build then measures anew, and replaces them."""
    for content in (timings, b""):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return


def _take_timings(config: "Config") -> bytes:
    cache = config.get_timing_cache()
    return b"" if cache is None else bytes(cache.serialize())


def _run(
    library: Library, builder: "Builder", network: "Network", config: "Config", model: Path
) -> bytes | None:
    # The monitor counts in its own units; a per cent is fine enough for minutes.
    with steps(f"building {library.name} engine of {model.name}", 100, unit="%") as bar:
        monitor = _monitor(library.trt, _Phases(bar))
        config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, config)
    if monitor.interrupted is not None:
        raise monitor.interrupted
    return None if plan is None else bytes(plan)


class _Phases:
    """How much of the build is done: phases lie in phases, and each says of how many steps it is."""

    def __init__(self, bar: Steps) -> None:
        self._bar, self._said = bar, 0
        self._open: dict[str, list[int]] = {}  # name -> [steps done, steps], outermost first

    def start(self, name: str, n_steps: int) -> None:
        self._open[name] = [0, max(n_steps, 1)]

    def step(self, name: str, step: int) -> None:
        if name in self._open:
            self._open[name][0] = step + 1
        self._show(name)

    def finish(self, name: str) -> None:
        self._open.pop(name, None)

    def _show(self, name: str) -> None:
        done, share = 0.0, 1.0
        for n_done, n_steps in self._open.values():
            done += share * min(n_done / n_steps, 1.0)
            share /= n_steps
        # Phases that follow one another inside the same step would let it fall back.
        self._said = max(self._said, min(int(100 * done), 100))
        self._bar.update(self._said, detail=name)


def _monitor(trt: "TensorRT", phases: _Phases) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        """Called by TensorRT while it builds. An exception must not cross its frames: it is kept, and the build asked to stop."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.interrupted: BaseException | None = None

        def phase_start(self, name: str, parent: str | None, n_steps: int) -> None:
            self._guarded(lambda: phases.start(name, n_steps))

        def step_complete(self, name: str, step: int) -> bool:
            self._guarded(lambda: phases.step(name, step))
            return self.interrupted is None

        def phase_finish(self, name: str) -> None:
            self._guarded(lambda: phases.finish(name))

        def _guarded(self, call: Any) -> None:
            try:
                call()
            except BaseException as error:  # Ctrl-C arrives in whatever Python runs
                self.interrupted = error

    return Monitor()
