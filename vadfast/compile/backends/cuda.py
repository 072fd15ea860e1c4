"""The fused model in PyTorch on an NVIDIA GPU: Triton's operators, channels last, half precision, replayed as one CUDA graph.

It needs torch and triton wherever it runs, so it ships only for ``--target cuda``; TensorRT needs neither.
"""

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vadfast.compile.backends import Precision, Workshop
from vadfast.compile.backends.eager import WEIGHTS, copy_run
from vadfast.errors import BackendError, first_line
from vadfast.runtime.engine import Engine, Outputs
from vadfast.runtime.manifest import InputSpec

_N_WARM_UP = 3  # of the operators and the libraries, which choose and allocate in their first calls


class CUDABackend:
    """One captured graph with a static batch."""

    name = "cuda"
    precisions: tuple[Precision, ...] = ("fp32", "fp16")
    packages: tuple[str, ...] = ("torch", "triton", "safetensors")

    def path(self, precision: Precision) -> str:
        """The weights, with the configuration beside them: those that eager PyTorch reads."""
        return WEIGHTS

    def can_run(self, precision: Precision) -> str | None:
        """Needs a GPU that torch can use."""
        import torch

        return None if torch.cuda.is_available() else "cannot run here: torch finds no NVIDIA GPU"

    def build(self, workshop: Workshop, precision: Precision, batch: int) -> Engine:
        """Fuses a copy of the scorer on the GPU and captures it."""
        if workshop.run is not None:
            copy_run(workshop.run, (workshop.folder / self.path(precision)).parent)
        return CUDAEngine(copy.deepcopy(workshop.scorer), workshop.spec, precision, batch)


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Within, float32 is float32: cuDNN would take TF32 for convolutions by itself, whose products have 10 bits and not 23."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


class CUDAEngine:
    """A graph whose input and output memory was set aside when it was captured; a call allocates the two results and nothing else."""

    backend = "cuda"

    def __init__(self, scorer: Any, spec: InputSpec, precision: str, batch: int) -> None:
        """Takes ``scorer`` over: it is moved to the GPU and fused.

        Raises:
            BackendError: the GPU cannot run or capture it.
        """
        import torch

        self.precision, self.batch = precision, batch
        self._shape = (batch, spec.n_pictures, spec.height, spec.width, 3)
        self._pinned: Any = torch.zeros(self._shape, dtype=torch.uint8, pin_memory=True)
        self._frames: Any = self._pinned.to("cuda")
        self._queue: Any = torch.cuda.Stream()
        self._graph: Any = torch.cuda.CUDAGraph()
        self._outputs: tuple[Any, ...] = ()
        self._results: tuple[Any, ...] = ()
        try:
            self._capture(scorer)
        except RuntimeError as error:
            raise BackendError(
                f"torch cannot run or capture it on this GPU: {first_line(error)}; take --target tensorrt or cpu"
            ) from error

    @classmethod
    def load(
        cls, model_path: Path, *, precision: str, batch: int, threads: int | None = None
    ) -> Self:
        """Reads the run directory that holds ``model_path``; ``threads`` are a CPU's, and mean nothing here.

        Raises:
            BackendError: torch finds no GPU, or ``precision`` is neither fp32 nor fp16.
        """
        import torch

        from vadfast.models.registry import load_run

        if not torch.cuda.is_available():
            raise BackendError("torch finds no NVIDIA GPU; take another --backend")
        if precision not in ("fp32", "fp16"):
            raise BackendError(f"precision must be fp32 or fp16 on a GPU, got {precision!r}")
        model = load_run(model_path.parent)
        return cls(model.scorer, model.input, precision, batch)

    def __call__(self, frames: npt.NDArray[np.uint8]) -> Outputs:
        """Scores ``frames`` uint8 [batch, T, H, W, 3]."""
        if frames.dtype != np.uint8 or frames.shape != self._shape:
            raise ValueError(
                f"frames must be uint8 {list(self._shape)}, got {frames.dtype} {list(frames.shape)}"
            )
        self._pinned.numpy()[...] = frames
        for host in self._results:
            host.fill_(float("nan"))  # a graph that did not run is no frame without an alarm
        try:
            with self._stream():
                self._frames.copy_(self._pinned, non_blocking=True)
                self._graph.replay()
                for host, device in zip(self._results, self._outputs, strict=True):
                    host.copy_(device, non_blocking=True)
            self._queue.synchronize()
        except RuntimeError as error:
            raise BackendError(
                f"the GPU stopped ({first_line(error)}); start again, and look at nvidia-smi"
            ) from error
        components, heatmap = (host.numpy().copy() for host in self._results)
        return Outputs(components, heatmap)

    def on_device(self, frames: Any) -> tuple[Any, ...]:
        """Scores ``frames`` uint8 [batch, T, H, W, 3] that lie on the GPU; the results stay there, and are the next call's memory."""
        self._frames.copy_(frames)
        self._graph.replay()
        return self._outputs

    def close(self) -> None:
        """Gives the graph and its memory back."""
        self._graph = self._queue = self._pinned = self._frames = None
        self._results = self._outputs = ()

    def _stream(self) -> Any:
        import torch

        return torch.cuda.stream(self._queue)

    def _capture(self, scorer: Any) -> None:
        import torch

        from vadfast.fusion import fuse

        scorer = scorer.eval().to("cuda", memory_format=torch.channels_last)
        fuse(scorer, "infer")
        half = self.precision == "fp16"

        def run() -> tuple[Any, ...]:
            # Without the cache, whose casts would be made outside of the graph. Scores are float32: autocast keeps sums and logarithms there.
            with torch.autocast("cuda", torch.float16, enabled=half, cache_enabled=False):
                return tuple(out.float() for out in scorer(self._frames))

        # The kernels that are chosen now are those of every replay.
        with torch.inference_mode(), contextlib.nullcontext() if half else exact_float32():
            self._queue.wait_stream(torch.cuda.current_stream())
            with self._stream():
                for _ in range(_N_WARM_UP):
                    run()
            self._queue.synchronize()
            with torch.cuda.graph(self._graph, stream=self._queue):
                self._outputs = run()
        self._results = tuple(torch.empty(out.shape, pin_memory=True) for out in self._outputs)
