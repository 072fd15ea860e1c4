"""The names of TensorRT-RTX that the adapter uses and TensorRT does not have, as types; ``api.py`` has those of both."""

from typing import Protocol

from vadfast.runtime.tensorrt.api import Context, HostMemory


class RuntimeCache(Protocol):
    """``IRuntimeCache``."""

    def deserialize(self, content: bytes, /) -> bool: ...
    def serialize(self) -> HostMemory: ...


class RuntimeConfig(Protocol):
    """``IRuntimeConfig``."""

    def create_runtime_cache(self) -> RuntimeCache: ...
    def set_runtime_cache(self, cache: RuntimeCache, /) -> bool: ...


class RtxEngine(Protocol):
    """``ICudaEngine``."""

    def create_runtime_config(self) -> RuntimeConfig: ...
    def create_execution_context(self, config: RuntimeConfig, /) -> Context | None: ...
