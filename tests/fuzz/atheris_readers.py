"""Coverage-guided fuzzing of the readers of archives, manifests, golden arrays and run.toml: run by hand, see CONTRIBUTING.md.

    python tests/fuzz/atheris_readers.py CORPUS -max_total_time=600

CORPUS is a folder that keeps what was found, or may be left out. A crash is any exception but one of VadfastError, or a message of several
lines; its input is kept as crash-*.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import atheris
import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / part) for part in ("", "kernels")]
with atheris.instrument_imports(
    include=["vadfast.runtime", "vadfast.train.config", "zipfile", "json", "tomllib", "numpy.lib"]
):
    from vadfast.runtime import bundle as reader
    from vadfast.runtime.selftest import golden_array
    from vadfast.train.config import RunConfig
from tests.tiny_bundle import make_bundle, manifest_values  # noqa: E402 (after the instrumented ones)
from vadfast.errors import VadfastError  # noqa: E402
from vadfast.runtime.manifest import Manifest  # noqa: E402
from vadfast.runtime.zipped import pack  # noqa: E402

_CONFIG = """data = "films"
dataset = "ped2"
method = "adl"
steps = 5

[options]
image_size = 64
width = 8
"""
_FOLDER = Path(tempfile.mkdtemp(prefix="vadfast-atheris-"))
_FILES = {b"z": "fuzzed.vad.zip", b"m": "manifest.json", b"n": "golden.npy", b"t": "run.toml"}


def fuzz_one(data: bytes) -> None:
    """The first byte says what the others are: an archive, a manifest that was signed, a golden array, or a run's configuration."""
    kind, content = data[:1], data[1:]
    if kind not in _FILES:
        return
    where = _FOLDER / _FILES[kind]
    where.write_bytes(content)
    try:
        if kind == b"z":
            reader.takes(where)
            reader.open_bundle(where)
        elif kind == b"m":
            reader._check_scoring(where, reader._parse(where, where, content, Manifest))
        elif kind == b"n":
            golden_array(where)
        else:
            RunConfig.load(where)
    except VadfastError as error:
        if not str(error).isprintable():
            raise AssertionError(repr(str(error))) from error


def main() -> None:
    """Begins with a whole one of each."""
    os.environ["VADFAST_CONFIG"] = str(_FOLDER / "config")
    seeds = _FOLDER / "seeds"
    seeds.mkdir()
    pack(make_bundle(_FOLDER / "tiny.vad"), _FOLDER / "tiny.vad.zip")
    (seeds / "archive").write_bytes(b"z" + (_FOLDER / "tiny.vad.zip").read_bytes())
    (seeds / "manifest").write_bytes(b"m" + json.dumps({"files": {}, **manifest_values()}).encode())
    np.save(_FOLDER / "whole.npy", np.zeros((2, 3), np.float32))
    (seeds / "array").write_bytes(b"n" + (_FOLDER / "whole.npy").read_bytes())
    (seeds / "configuration").write_bytes(b"t" + _CONFIG.encode())
    atheris.Setup([*sys.argv, str(seeds)], fuzz_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
