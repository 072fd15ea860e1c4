"""MNN: converts model.onnx to MNN's own file; Winograd convolutions in float32."""

import subprocess
import sys
from pathlib import Path

from vadfast.compile.backends import Precision, Workshop
from vadfast.errors import BackendError
from vadfast.runtime.engine import Engine

# The converter's own command reports each conversion to its makers; the function under it does not. A process of its own,
# because it prints to stdout and ends the process on what it cannot read.
_CONVERT = "import sys, _tools; _tools.mnnconvert(['mnnconvert', '-f', 'ONNX', '--bizCode', 'vadfast', *sys.argv[1:]])"


class MNNBackend:
    """One session with a static batch."""

    name = "mnn"
    precisions: tuple[Precision, ...] = ("fp32",)
    packages: tuple[str, ...] = ("MNN",)

    def path(self, precision: Precision) -> str:
        """The converter's result."""
        return "artefacts/mnn/model.mnn"

    def can_run(self, precision: Precision) -> str | None:
        """Runs on every CPU that its wheel installs on."""
        return None

    def build(self, workshop: Workshop, precision: Precision, batch: int) -> Engine:
        """Converts the exported model and opens it."""
        from vadfast.runtime.engines.mnn import MNNEngine

        target = workshop.folder / self.path(precision)
        target.parent.mkdir(parents=True, exist_ok=True)
        convert(workshop.folder / "model.onnx", target)
        return MNNEngine.load(
            target, precision=precision, batch=batch, threads=workshop.n_threads(self.name)
        )


def convert(source: Path, target: Path) -> None:
    """Writes the ONNX model ``source`` as MNN's file ``target``.

    Raises:
        BackendError: the converter cannot read it.
    """
    done = subprocess.run(
        [sys.executable, "-c", _CONVERT, "--modelFile", str(source), "--MNNModel", str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    # Its exit code is 0 whatever happened.
    if not target.is_file():
        said = (done.stdout + done.stderr).splitlines()
        reason = next((s for s in said if "rror" in s or "failed" in s), "no reason given")
        raise BackendError(f"mnn cannot convert {source}: {reason}")
