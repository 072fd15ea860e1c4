"""A model repository for Triton Inference Server instead of a bundle: the sealed ONNX model, its configuration, and the proof.

    REPOSITORY/NAME/config.pbtxt       what Triton reads
    REPOSITORY/NAME/1/model.onnx       the same bytes as a bundle's, whose hash the manifest holds
    REPOSITORY/NAME/manifest.json ...  the rest of the bundle: manifest (chains, calibration, threshold), its hash, SIGNATURE, golden windows,
                                       bill of materials

Triton ignores what lies beside its own files. It serves windows one by one, and so the graph alone: chain and alert rule run at the client.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vadfast.atomic import atomic_directory
from vadfast.compile.bundle import GoldenWindows, write_bundle
from vadfast.errors import UsageError
from vadfast.runtime.bundle import MANIFEST
from vadfast.runtime.manifest import Manifest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ENGINE = "onnxruntime"  # the one of ours that Triton has, too: what it must have passed the gate in
CONFIG, VERSION = "config.pbtxt", "1"
# Windows of several cameras that Triton may run as one call, where --batch names none but 1.
USUAL_BATCHES = (4, 8, 16)
MAX_DELAY_US = (
    5000  # that a window waits for others: an eighth of the time between two frames at 25 frames/s
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def model_folder(repository: Path, name: str) -> Path:
    """Returns the folder of the model ``name`` in ``repository``, after a look at both.

    Raises:
        UsageError: the name is none for a model, or what lies there is no repository, or no model that this wrote.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"--format: triton-repository names the model like the run, which must have letters, digits, _ and - alone, got {name!r}; rename it"
        )
    if repository.is_symlink() or (repository.exists() and not repository.is_dir()):
        raise UsageError(
            f"--out: must be a folder of Triton models, new or not, got a file at {repository}; choose another name"
        )
    folder = repository / name
    if folder.exists() and not ((folder / CONFIG).is_file() and (folder / MANIFEST).is_file()):
        raise UsageError(
            f"--out: {folder} exists and is no model that vadfast.compile wrote, so it is not replaced; choose another name"
        )
    return folder


def write_model(
    target: Path,
    manifest: Manifest,
    *,
    folder: Path,
    files: Sequence[str],
    golden: GoldenWindows,
    key: "Ed25519PrivateKey",
    threads: int | None = None,
) -> Manifest:
    """Writes the model ``target``, whole or not at all, from the same as ``write_bundle``; returns the sealed manifest.

    ``threads`` are those that the server's engine is told to take; None: one a core, as it does by itself.
    """
    with tempfile.TemporaryDirectory(prefix="vadfast-triton-") as scratch:
        bundle = Path(scratch, "bundle")
        sealed = write_bundle(
            bundle,
            manifest,
            folder=folder,
            files=files,
            golden=golden,
            key=key,
            served_as=f"{VERSION}/model.onnx",
        )
        with atomic_directory(target) as temporary:
            shutil.copytree(bundle, temporary, dirs_exist_ok=True)
            (temporary / VERSION).mkdir()
            (temporary / sealed.model).rename(temporary / VERSION / "model.onnx")
            manifest_hash = hashlib.sha256((temporary / MANIFEST).read_bytes()).hexdigest()
            (temporary / CONFIG).write_text(
                config_text(target.name, sealed, manifest_hash, threads=threads), encoding="utf-8"
            )
    return sealed


def config_text(
    name: str, manifest: Manifest, manifest_hash: str, *, threads: int | None = None
) -> str:
    """Returns ``config.pbtxt``, a ``ModelConfig`` in protobuf's text format; dims are without the batch."""
    spec, alert = manifest.input, manifest.alert
    parameters = {
        "vadfast_method": manifest.method,
        "vadfast_manifest_sha256": manifest_hash,
        "vadfast_components": json.dumps([c.model_dump() for c in manifest.components]),
        "vadfast_causal_chain": manifest.causal_chain.model_dump_json(),
        "vadfast_calibration": manifest.calibration.model_dump_json(),
        "vadfast_alert": alert.model_dump_json(),
        "vadfast_threshold": repr(alert.threshold),
    }
    if threads is not None:
        parameters["intra_op_thread_count"] = str(threads)  # the name is Triton's
    batches = sorted({a.batch for a in manifest.artefacts} - {1}) or list(USUAL_BATCHES)
    return "".join(
        (
            f"name: {_quoted(name)}\n",
            f"backend: {_quoted(ENGINE)}\n",
            f"max_batch_size: {batches[-1]}\n",
            _tensor("input", "frames", "TYPE_UINT8", (spec.n_frames, spec.height, spec.width, 3)),
            _tensor("output", "components", "TYPE_FP32", (len(manifest.components),)),
            _tensor("output", "heatmap", "TYPE_FP32", manifest.heatmap),
            # The gate judged ONNX Runtime on a CPU.
            "instance_group { count: 1 kind: KIND_CPU }\n",
            f"dynamic_batching {{ preferred_batch_size: {batches} max_queue_delay_microseconds: {MAX_DELAY_US} }}\n",
            *_parameters(parameters),
        )
    )


def _tensor(field: str, name: str, kind: str, dims: Sequence[int]) -> str:
    return f"{field} {{ name: {_quoted(name)} data_type: {kind} dims: {list(dims)} }}\n"


def _parameters(values: Mapping[str, str]) -> list[str]:
    return [
        f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}\n"
        for key, value in values.items()
    ]


def _quoted(text: str) -> str:
    """A string of the text format, which has JSON's escapes."""
    return json.dumps(text, ensure_ascii=False)
