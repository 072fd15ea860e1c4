"""The names of TensorRT that the adapter uses: those that 10.x, 11.x and TensorRT-RTX share, as types.

The type checker refuses any other name, so this list cannot go stale; tests/tensorrt checks each of it against the bindings of the
three. What only some of them have (flags for precision, calibrators, plugins) is not here, and not needed: types are in the ONNX file.
"""

from collections.abc import Sequence
from typing import Any, Protocol


class ParserError(Protocol):
    """``ParserError``."""

    def desc(self) -> str: ...


class Tensor(Protocol):
    """``ITensor``."""

    name: str
    shape: Sequence[int]


class Network(Protocol):
    """``INetworkDefinition``."""

    num_inputs: int

    def get_input(self, index: int, /) -> Tensor: ...


class Parser(Protocol):
    """``OnnxParser``."""

    num_errors: int

    def parse_from_file(self, path: str, /) -> bool: ...
    def get_error(self, index: int, /) -> ParserError: ...


class HostMemory(Protocol):
    """``IHostMemory``: bytes of TensorRT's, by the buffer protocol."""

    def __buffer__(self, flags: int, /) -> memoryview: ...


class TimingCache(Protocol):
    """``ITimingCache``."""

    def serialize(self) -> HostMemory: ...


class Config(Protocol):
    """``IBuilderConfig``."""

    progress_monitor: Any

    def set_memory_pool_limit(self, pool: Any, size: int, /) -> None: ...
    def clear_flag(self, flag: Any, /) -> None: ...
    def create_timing_cache(self, content: bytes, /) -> TimingCache | None: ...
    def set_timing_cache(self, timings: TimingCache, ignore_mismatch: bool, /) -> bool: ...
    def get_timing_cache(self) -> TimingCache | None: ...


class Builder(Protocol):
    """``Builder``."""

    def create_network(self, flags: int, /) -> Network: ...
    def create_builder_config(self) -> Config: ...
    def build_serialized_network(
        self, network: Network, config: Config, /
    ) -> HostMemory | None: ...


class Context(Protocol):
    """``IExecutionContext``."""

    def set_tensor_address(self, name: str, address: int, /) -> bool: ...
    def execute_async_v3(self, stream: int, /) -> bool: ...


class CudaEngine(Protocol):
    """``ICudaEngine``."""

    num_io_tensors: int

    def get_tensor_name(self, index: int, /) -> str: ...
    def get_tensor_shape(self, name: str, /) -> Sequence[int]: ...
    def get_tensor_dtype(self, name: str, /) -> Any: ...
    def create_execution_context(self) -> Context | None: ...


class Runtime(Protocol):
    """``Runtime``."""

    def deserialize_cuda_engine(self, plan: bytes, /) -> CudaEngine | None: ...


class CreationFlag(Protocol):
    """``NetworkDefinitionCreationFlag``."""

    STRONGLY_TYPED: Any


class BuilderFlag(Protocol):
    """``BuilderFlag``."""

    TF32: Any


class MemoryPoolType(Protocol):
    """``MemoryPoolType``."""

    WORKSPACE: Any


class DataType(Protocol):
    """``DataType``."""

    FLOAT: Any
    UINT8: Any


class TensorRT(Protocol):
    """The module."""

    __version__: str
    ILogger: Any  # these two are subclassed, which no type of a module's attribute allows
    IProgressMonitor: Any
    NetworkDefinitionCreationFlag: CreationFlag
    BuilderFlag: BuilderFlag
    MemoryPoolType: MemoryPoolType
    DataType: DataType

    def Builder(self, logger: Any, /) -> Builder: ...
    def OnnxParser(self, network: Network, logger: Any, /) -> Parser: ...
    def Runtime(self, logger: Any, /) -> Runtime: ...
