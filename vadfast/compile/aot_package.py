"""AOTInductor's package, made in a process of its own: lowering and C++ keep one core busy for half a minute, and there is other work.

The program is handed over as a file. ``python -m vadfast.compile.aot_package FOLDER`` is that process; ``Packaging`` is what starts
it, waits for it and, where the run ends before, ends it.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from vadfast.errors import BackendError, first_line

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_PROGRAM, _JOB, _ERROR = "program.pt2", "job.json", "error.txt"


class Packaging:
    """A package on its way; a context manager, which leaves no process behind."""

    def __init__(
        self,
        program: "ExportedProgram",
        target: Path,
        *,
        configs: Mapping[str, Any],
        modules: Sequence[str],
    ) -> None:
        """Starts to compile ``program`` into the file ``target``.

        Args:
            program: whose shapes are all fixed.
            target: in a folder that exists.
            configs: of Inductor.
            modules: that the process imports first, for the operators that the program calls.
        """
        import torch

        self._scratch = tempfile.TemporaryDirectory(prefix="vadfast-aot-")
        folder = Path(self._scratch.name)
        job = {"target": str(target), "configs": dict(configs), "modules": list(modules)}
        (folder / _JOB).write_text(json.dumps(job), encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(program, folder / _PROGRAM)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(folder)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # its compilers are ended with it
        )

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process, if it still runs, with its compilers."""
        if self.running:  # else its number may be somebody else's by now
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._scratch.cleanup()

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    def finish(self) -> None:
        """Waits for the package. Raises BackendError where there is none."""
        code = self._process.wait()
        if code:
            reason = Path(self._scratch.name) / _ERROR
            words = reason.read_text(encoding="utf-8") if reason.is_file() else ""
            raise BackendError(
                f"cannot be built here: {words or f'its compilation ended with exit code {code}'}"
            )


def _main(folder: Path) -> int:
    gc.disable()  # it would look for garbage for seconds, in a process that ends soon
    # torch's compile errors share no base but Exception, and a peer that cannot be built is a row of the table with this reason.
    try:
        job = json.loads((folder / _JOB).read_text(encoding="utf-8"))
        for module in job["modules"]:
            with contextlib.suppress(ImportError):  # a script or notebook is none
                importlib.import_module(module)
        import torch
        from torch._inductor import aoti_compile_and_package

        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(folder / _PROGRAM)
            aoti_compile_and_package(
                program, package_path=job["target"], inductor_configs=job["configs"]
            )
    except Exception as error:
        (folder / _ERROR).write_text(first_line(error), encoding="utf-8")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
