"""Coverage-guided fuzzing of what is read before anybody has vouched for it, and of the manifest: run by hand, see CONTRIBUTING.md.

    python tests/fuzz/atheris_manifest.py CORPUS -max_total_time=600

CORPUS is a folder that keeps what was found, or may be left out. A crash is any exception but BundleError; its input is kept as crash-*.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / part) for part in ("", "kernels")]
with atheris.instrument_imports(include=["vadfast.runtime", "zipfile", "json"]):
    from vadfast.runtime import bundle as reader
from tests.tiny_bundle import make_bundle, manifest_values  # noqa: E402 (after the instrumented ones)
from vadfast.errors import BundleError  # noqa: E402
from vadfast.runtime.manifest import Manifest  # noqa: E402
from vadfast.runtime.zipped import pack  # noqa: E402

_FOLDER = Path(tempfile.mkdtemp(prefix="vadfast-atheris-"))
_WHERE = _FOLDER / "fuzzed.vad.zip"


def fuzz_one(data: bytes) -> None:
    """The first byte says what the others are: an archive, or a manifest that was signed."""
    try:
        if data[:1] == b"z":
            _WHERE.write_bytes(data[1:])
            reader.takes(_WHERE)
            reader.open_bundle(_WHERE)
        else:
            reader._check_scoring(_WHERE, reader._parse(_WHERE, _WHERE, data[1:], Manifest))
    except BundleError as error:
        if not str(error).isprintable():
            raise AssertionError(repr(str(error))) from error


def main() -> None:
    """Begins with a whole manifest and a whole archive."""
    os.environ["VADFAST_CONFIG"] = str(_FOLDER / "config")
    seeds = _FOLDER / "seeds"
    seeds.mkdir()
    pack(make_bundle(_FOLDER / "tiny.vad"), _FOLDER / "tiny.vad.zip")
    (seeds / "archive").write_bytes(b"z" + (_FOLDER / "tiny.vad.zip").read_bytes())
    (seeds / "manifest").write_bytes(b"m" + json.dumps({"files": {}, **manifest_values()}).encode())
    atheris.Setup([*sys.argv, str(seeds)], fuzz_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
