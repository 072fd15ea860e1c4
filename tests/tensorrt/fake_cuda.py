"""A CuPy of 100 lines whose GPU is host memory: it counts what is allocated, plays graphs back, and runs out of memory when told to."""

import ctypes
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np

STREAM = 7


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class FakeCuda:
    """``module`` is what ``import cupy`` gives."""

    def __init__(self) -> None:
        self.n_allocated = self.n_live = self.n_graph_launches = 0
        self.room = 1 << 30  # bytes that an allocation may ask for
        self.capturing: list[Callable[[], None]] | None = None
        self.can_capture = True
        self.module = self._make()

    def do(self, work: Callable[[], None]) -> None:
        """Runs ``work``, or records it where the stream captures."""
        if self.capturing is None:
            work()
        else:
            self.capturing.append(work)

    def _make(self) -> types.ModuleType:
        cuda = self

        class Memory:
            def __init__(self, n: int) -> None:
                if n > cuda.room:
                    raise CUDARuntimeError(2, "cudaErrorMemoryAllocation: out of memory")
                cuda.n_allocated += 1
                cuda.n_live += 1
                self.bytes = np.zeros(n, np.uint8)
                self.ptr = self.bytes.ctypes.data

            def __del__(self) -> None:
                cuda.n_live -= hasattr(self, "bytes")

        def pinned_pointer(memory: Memory, offset: int) -> Any:
            assert offset == 0
            pinned = type("Pinned", (ctypes.c_uint8 * len(memory.bytes),), {}).from_buffer(
                memory.bytes
            )
            pinned.ptr, pinned.memory = memory.ptr, memory
            return pinned

        class Graph:
            def __init__(self, work: list[Callable[[], None]]) -> None:
                self.work = work

            def launch(self, stream: "Stream") -> None:
                assert stream.ptr == STREAM
                cuda.n_graph_launches += 1
                for work in self.work:
                    work()

        class Stream:
            ptr = STREAM

            def __init__(self, non_blocking: bool) -> None:
                assert non_blocking

            def begin_capture(self) -> None:
                cuda.capturing = []

            def end_capture(self) -> Graph:
                work, cuda.capturing = cuda.capturing, None
                assert work is not None
                if not cuda.can_capture:
                    raise CUDARuntimeError(901, "cudaErrorStreamCaptureInvalidated")
                return Graph(work)

            def synchronize(self) -> None:
                assert cuda.capturing is None, "the stream was left capturing"

        def copy(target: int, source: int, n: int, kind: int, stream: int) -> None:
            assert stream == STREAM
            assert kind in (1, 2)
            cuda.do(lambda: ctypes.memmove(target, source, n) and None)

        def fill(target: int, byte: int, n: int, stream: int) -> None:
            assert stream == STREAM
            cuda.do(lambda: ctypes.memset(target, byte, n) and None)

        runtime = types.SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            memcpyHostToDevice=1,
            memcpyDeviceToHost=2,
            memcpyAsync=copy,
            memsetAsync=fill,
            memGetInfo=lambda: (100 << 20, 8000 << 20),
            driverGetVersion=lambda: 13000,
            getDeviceProperties=lambda i: {"name": b"Fake GPU", "major": 9, "minor": 0},
        )
        module = types.ModuleType("cupy")
        module.__version__ = "14.2.0"  # type: ignore[attr-defined]
        module.__spec__ = ModuleSpec("cupy", None)
        module.cuda = types.SimpleNamespace(  # type: ignore[attr-defined]
            runtime=runtime,
            Memory=Memory,
            PinnedMemory=Memory,
            PinnedMemoryPointer=pinned_pointer,
            Stream=Stream,
        )
        return module
