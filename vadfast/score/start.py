"""What brings the first score earlier; it belongs to the command, whose process is its own, and not to the library."""

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CONVERTER = "openvino.tools.ovc"


@contextmanager
def without_converter() -> Iterator[None]:
    """Keeps ``import openvino`` from importing its model converter and telemetry client: 0.14 s that scoring has no use for.

    OpenVINO itself takes the converter to be optional, so an import that fails is enough.
    """
    if "openvino" in sys.modules:
        yield
        return
    sys.modules[_CONVERTER] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[_CONVERTER]


def import_meanwhile(*modules: str) -> None:
    """Imports what the reader will need while the engine is built, which leaves the interpreter free most of the time."""

    def load() -> None:
        for module in modules:
            with suppress(ImportError):  # whoever uses it says what is missing
                importlib.import_module(module)

    threading.Thread(target=load, name="import", daemon=True).start()
