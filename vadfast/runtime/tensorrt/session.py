"""An engine in GPU memory, and the call: copy in, execute, copy out, all of it one CUDA graph.

Everything is allocated when the session opens. Outputs are filled with NaN before each execution, in the same graph: a call that did
nothing and said nothing gives no number, rather than zeros or those of the frame before.
"""

import logging
from math import prod
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from vadfast.errors import BackendError, first_line
from vadfast.runtime.engine import Outputs
from vadfast.runtime.tensorrt.gpu import cuda_words, import_cupy
from vadfast.runtime.tensorrt.kernels import KernelCache
from vadfast.runtime.tensorrt.library import Library, Messages

if TYPE_CHECKING:
    from vadfast.runtime.tensorrt.api import CudaEngine, TensorRT
    from vadfast.runtime.tensorrt.rtx_api import RtxEngine

log = logging.getLogger(__name__)

_FRAMES, _OUTPUTS = "frames", ("components", "heatmap")
_NAN_BYTE = 0xFF  # float32 of these bytes is not a number


class Buffer:
    """One tensor: device memory, and pinned host memory, which the GPU copies from and to by itself."""

    def __init__(self, cupy: Any, shape: tuple[int, ...], dtype: Any) -> None:
        """Takes memory from the driver itself: CuPy's pools would keep it after ``close``."""
        self.nbytes = prod(shape) * np.dtype(dtype).itemsize
        self.device = cupy.cuda.Memory(self.nbytes)
        pinned = cupy.cuda.PinnedMemoryPointer(cupy.cuda.PinnedMemory(self.nbytes), 0)
        self.host: npt.NDArray[Any] = np.frombuffer(pinned, dtype, prod(shape)).reshape(shape)
        self.pinned = pinned.ptr


class Session:
    """One execution context on one stream, on the first GPU; not for several threads at once."""

    def __init__(
        self,
        library: Library,
        engine: "CudaEngine",
        messages: Messages,
        kernels: KernelCache | None = None,
    ) -> None:
        """Allocates, runs once and captures the graph; TensorRT-RTX takes ``kernels`` that it compiled before, and gives new ones there.

        Raises:
            BackendError: the engine is not a scorer's, or the GPU has no room for it or fails.
        """
        self._cupy, self._library, self._messages = import_cupy(), library.name, messages
        self._cuda_errors = (self._cupy.cuda.runtime.CUDARuntimeError, MemoryError)
        shapes = _shapes(library.trt, engine, library.name)
        try:
            self._stream: Any = self._cupy.cuda.Stream(non_blocking=True)
            self._context = (
                engine.create_execution_context()
                if kernels is None
                else kernels.context(cast("RtxEngine", engine), library, messages)
            )
            if self._context is None:
                raise BackendError(
                    f"{library.name} cannot prepare the engine: {messages.reason()}; the GPU may be out of memory"
                )
            self._buffers: dict[str, Buffer] = {}
            for name, shape in shapes.items():
                buffer = Buffer(self._cupy, shape, np.uint8 if name == _FRAMES else np.float32)
                if not self._context.set_tensor_address(name, buffer.device.ptr):
                    raise BackendError(
                        f"{library.name} does not take the memory for {name} {list(shape)}: {messages.reason()}; take another --backend"
                    )
                self._buffers[name] = buffer
            self._buffers[_FRAMES].host.fill(0)
            # TensorRT loads its kernels in the first execution, which no graph may hold.
            self._enqueue()
            self._stream.synchronize()
            self._graph: Any = self._captured()
            self._launch()
        except self._cuda_errors as error:
            raise BackendError(f"{library.name}: {cuda_words(error)}") from error
        # The context needs both.
        self._engine: CudaEngine | None = engine
        self._kernels = kernels
        if kernels is not None:
            kernels.keep()
        self.shape = shapes[_FRAMES]

    def __call__(self, frames: npt.NDArray[np.uint8]) -> Outputs:
        """Scores ``frames`` uint8 of ``shape``; allocates nothing but the two small results. Raises BackendError where the GPU fails."""
        np.copyto(self._buffers[_FRAMES].host, frames)
        try:
            self._launch()
        except self._cuda_errors as error:
            raise BackendError(f"{self._library}: {cuda_words(error)}") from error
        components, heatmap = (self._buffers[name].host.copy() for name in _OUTPUTS)
        return Outputs(components, heatmap)

    def close(self) -> None:
        """Gives all memory back, what depends on another first."""
        self._graph = None
        self._context = None
        if self._kernels is not None:
            self._kernels.close()
        self._engine = None
        self._buffers = {}
        self._stream = None

    def _launch(self) -> None:
        if self._graph is None:
            self._enqueue()
        else:
            self._graph.launch(self._stream)
        self._stream.synchronize()

    def _enqueue(self) -> None:
        """Queues one call on the stream."""
        runtime, stream = self._cupy.cuda.runtime, self._stream.ptr
        frames, outputs = self._buffers[_FRAMES], [self._buffers[name] for name in _OUTPUTS]
        to_device, to_host = runtime.memcpyHostToDevice, runtime.memcpyDeviceToHost
        runtime.memcpyAsync(frames.device.ptr, frames.pinned, frames.nbytes, to_device, stream)
        for output in outputs:
            runtime.memsetAsync(output.device.ptr, _NAN_BYTE, output.nbytes, stream)
        assert self._context is not None
        if not self._context.execute_async_v3(stream):
            raise BackendError(
                f"{self._library} cannot execute the engine: {self._messages.reason()}"
            )
        for output in outputs:
            runtime.memcpyAsync(output.pinned, output.device.ptr, output.nbytes, to_host, stream)

    def _captured(self) -> Any:
        """Returns the call as a graph, or None, which is said, where the engine holds something that no graph can."""
        refusal: Exception | None = None
        self._stream.begin_capture()
        try:
            self._enqueue()
        except (BackendError, *self._cuda_errors) as error:
            refusal = error
        # Also after a refusal: a stream that is left capturing takes no other work.
        try:
            graph = self._stream.end_capture()
        except self._cuda_errors as error:
            refusal = refusal or error
        if refusal is None:
            return graph
        log.warning(
            "tensorrt: runs without a CUDA graph, so each call queues its work anew: %s",
            first_line(refusal),
        )
        return None


def _shapes(trt: "TensorRT", engine: "CudaEngine", library: str) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each tensor of a scorer's engine, whose batch is fixed."""
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    wanted = {_FRAMES: trt.DataType.UINT8} | dict.fromkeys(_OUTPUTS, trt.DataType.FLOAT)
    found = {name: engine.get_tensor_dtype(name) for name in names}
    if found != wanted:
        raise BackendError(
            f"{library}: the engine must take and return {', '.join(wanted)}, it has "
            f"{', '.join(f'{name} {dtype}' for name, dtype in found.items())}; compile the run again"
        )
    shapes = {name: tuple(engine.get_tensor_shape(name)) for name in names}
    if any(size < 1 for shape in shapes.values() for size in shape):
        raise BackendError(f"{library}: every size of the engine must be fixed, got {shapes}")
    return shapes
