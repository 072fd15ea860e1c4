"""A TensorRT whose engines call a NumPy function, and that misbehaves in the ways that the real one is known for."""

import ctypes
import json
import time
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from math import prod
from typing import Any

import numpy as np
import onnx

from tests.tensorrt.fake_cuda import STREAM, FakeCuda

Function = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
_MEMORY = "Cuda Runtime (out of memory)"


class FakeTensorRT:
    """``module`` is what ``import tensorrt`` gives; its engines score by ``function``. Set the rest to make it misbehave."""

    def __init__(self, cuda: FakeCuda, function: Function) -> None:
        self.cuda, self.function = cuda, function
        self.n_built = self.n_executed = 0
        self.refuse = 0  # so many engines are not opened
        self.without_memory = ""  # "builder" or "context"
        self.gives_no = ""  # the name of a class: its constructor raises, its maker returns None
        self.takes_addresses = True
        self.takes_cache = True  # of kernels, TensorRT-RTX
        self.executes = True  # whether it says that it did
        self.writes = True  # whether it did
        self.float32_takes_s = 0.0  # longer than half precision and 8 bits
        self.timings_given: list[bytes] = []
        self.takes_timings = True
        self.flags: dict[str, Any] = {}
        # What TensorRT-RTX has compiled in this process, and whether it takes what it compiled before.
        self.n_compiled = 0
        self.takes_kernels = True
        self.module = self._make()

    def _make(self) -> types.ModuleType:  # one class each of TensorRT's
        fake = self

        class ILogger:
            def __init__(self) -> None:
                self.is_open = True

        class IProgressMonitor(ILogger):
            pass

        def give(name: str, make: Callable[[], Any]) -> Any:
            return None if fake.gives_no == name else make()

        def construct(name: str) -> None:
            if fake.gives_no == name:
                raise TypeError("pybind11::init(): factory function returned nullptr")

        class Network:
            num_inputs = 1
            is_float32 = True

            def __init__(self) -> None:
                self.tensors: dict[str, list[int]] = {}
                self.frames = types.SimpleNamespace(name="frames", shape=())

            def get_input(self, index: int) -> Any:
                assert index == 0
                return self.frames

        class Parser:
            num_errors = 1

            def __init__(self, network: Network, logger: Any) -> None:
                construct("OnnxParser")
                self.network = network

            def parse_from_file(self, path: str) -> bool:
                try:
                    graph = onnx.load(path).graph
                except Exception:
                    return False
                for value in (*graph.input, *graph.output):
                    sizes = [d.dim_value or -1 for d in value.type.tensor_type.shape.dim]
                    self.network.tensors[value.name] = sizes
                half = any(i.data_type == onnx.TensorProto.FLOAT16 for i in graph.initializer)
                quantised = any(node.op_type == "QuantizeLinear" for node in graph.node)
                self.network.is_float32 = not half and not quantised
                self.network.frames.name = graph.input[0].name
                self.network.frames.shape = tuple(self.network.tensors[graph.input[0].name])
                return True

            def get_error(self, index: int) -> Any:
                return types.SimpleNamespace(desc=lambda: "In node 3: unsupported")

        class Timings:
            def __init__(self, content: bytes) -> None:
                self.content = content

            def serialize(self) -> bytes:
                return self.content + b"+"

        class Config:
            progress_monitor: Any = None
            timings: Timings | None = None

            def set_memory_pool_limit(self, pool: str, size: int) -> None:
                fake.flags[pool] = size

            def clear_flag(self, flag: str) -> None:
                fake.flags[flag] = False

            def create_timing_cache(self, content: bytes) -> Timings | None:
                fake.timings_given.append(content)
                return Timings(content) if fake.takes_timings or not content else None

            def set_timing_cache(self, timings: Timings, ignore_mismatch: bool) -> bool:
                assert ignore_mismatch is False
                self.timings = timings
                return True

            def get_timing_cache(self) -> Timings | None:
                return self.timings

        class Builder:
            def __init__(self, logger: Any) -> None:
                construct("Builder")
                self.logger = logger

            def create_network(self, flags: int) -> Any:
                assert flags == 1 << 1
                return give("Network", Network)

            def create_builder_config(self) -> Any:
                return give("Config", Config)

            def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
                monitor = config.progress_monitor
                monitor.phase_start("Building engine", None, 2)
                monitor.phase_start("Timing", "Building engine", 4)
                for i in range(4):
                    if not monitor.step_complete("Timing", i):
                        return None
                monitor.phase_finish("Timing")
                monitor.phase_finish("Building engine")
                if fake.without_memory == "builder":
                    self.logger.log(1, f"{_MEMORY}\nin allocator.cpp")
                    return None
                fake.n_built += 1
                batch = network.frames.shape[0]
                tensors = {n: [batch, *s[1:]] for n, s in network.tensors.items()}
                return json.dumps([fake.module.__version__, tensors, network.is_float32]).encode()

        class RuntimeCache:
            kernels = b""

            def deserialize(self, content: bytes) -> bool:
                if fake.takes_kernels:
                    self.kernels = content
                return fake.takes_kernels

            def serialize(self) -> bytes:
                return self.kernels

        class RuntimeConfig:
            cache: RuntimeCache

            def create_runtime_cache(self) -> Any:
                return give("RuntimeCache", RuntimeCache)

            def set_runtime_cache(self, cache: RuntimeCache) -> bool:
                self.cache = cache
                return fake.takes_cache

        class Context:
            def __init__(self) -> None:
                self.addresses: dict[str, int] = {}

            def set_tensor_address(self, name: str, address: int) -> bool:
                self.addresses[name] = address
                return fake.takes_addresses

            def execute_async_v3(self, stream: int) -> bool:
                assert stream == STREAM
                if not fake.executes:
                    return False
                fake.n_executed += 1
                fake.cuda.do(self._run)
                return True

            def _run(self) -> None:
                if not fake.writes:
                    return
                if self.is_float32:
                    time.sleep(fake.float32_takes_s)
                frames = _at(self.addresses["frames"], self.shapes["frames"], np.uint8)
                for name, value in zip(
                    ("components", "heatmap"), fake.function(frames), strict=True
                ):
                    _at(self.addresses[name], self.shapes[name], np.float32)[:] = value

            shapes: dict[str, list[int]]
            is_float32: bool

        class Engine:
            def __init__(
                self, logger: Any, tensors: dict[str, list[int]], is_float32: bool
            ) -> None:
                self.logger, self.tensors, self.num_io_tensors = logger, tensors, len(tensors)
                self.is_float32 = is_float32

            def get_tensor_name(self, index: int) -> str:
                return list(self.tensors)[index]

            def get_tensor_shape(self, name: str) -> list[int]:
                return self.tensors[name]

            def get_tensor_dtype(self, name: str) -> str:
                return "uint8" if name == "frames" else "float"

            def create_runtime_config(self) -> Any:  # TensorRT-RTX has it
                return give("RuntimeConfig", RuntimeConfig)

            def create_execution_context(self, config: Any = None) -> Context | None:
                if config is not None and not config.cache.kernels:
                    config.cache.kernels = b"kernels"
                    fake.n_compiled += 1
                if fake.without_memory == "context":
                    self.logger.log(1, _MEMORY)
                    return None
                context = Context()
                context.shapes, context.is_float32 = self.tensors, self.is_float32
                return context

        class Runtime:
            def __init__(self, logger: Any) -> None:
                construct("Runtime")
                self.logger = logger

            def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
                version, tensors, is_float32 = json.loads(plan)
                if fake.refuse > 0 or version != fake.module.__version__:
                    fake.refuse -= 1
                    self.logger.log(1, "Platform specific tag mismatch")
                    return None
                return Engine(self.logger, tensors, is_float32)

        module = types.ModuleType("tensorrt")
        for name, value in {
            "__version__": "11.4.0",
            "__spec__": ModuleSpec("tensorrt", None),
            "ILogger": ILogger,
            "IProgressMonitor": IProgressMonitor,
            "Builder": Builder,
            "OnnxParser": Parser,
            "Runtime": Runtime,
            "NetworkDefinitionCreationFlag": types.SimpleNamespace(STRONGLY_TYPED=1),
            "BuilderFlag": types.SimpleNamespace(TF32="TF32"),
            "MemoryPoolType": types.SimpleNamespace(WORKSPACE="WORKSPACE"),
            "DataType": types.SimpleNamespace(FLOAT="float", UINT8="uint8"),
        }.items():
            setattr(module, name, value)
        return module


def _at(address: int, shape: list[int], dtype: Any) -> np.ndarray:
    n = prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_uint8 * n).from_address(address), dtype).reshape(shape)
