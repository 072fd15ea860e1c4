"""From what a compile run decided to what lies on disk: the manifest, and the files that belong to it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vadfast.cli import talk
from vadfast.compile.backends import compute_capability, needs, versions
from vadfast.compile.bundle import GOLDEN, MINIMUM_RUNTIME, GoldenWindows, now, write_bundle
from vadfast.compile.candidates import Candidate
from vadfast.compile.gate import bounds_of
from vadfast.compile.plan import Plan
from vadfast.compile.report import Row
from vadfast.compile.triton_repository import write_model
from vadfast.runtime.manifest import (
    FORMAT_VERSION,
    AlertRule,
    Artefact,
    Calibration,
    InputSpec,
    Manifest,
    RaceLoad,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def make_manifest(
    plan: Plan,
    *,
    spec: InputSpec,
    heatmap: tuple[int, int],
    calibration: Calibration,
    alert: AlertRule,
    shipped: Sequence[Candidate],
    gate: dict[str, Any],
    rows: Sequence[Row],
    load: tuple[float, float],
) -> Manifest:
    """Returns all that the bundle says about itself but the hashes of its files."""
    from vadfast import __version__

    model = plan.model
    return Manifest(
        format_version=FORMAT_VERSION,
        minimum_runtime=MINIMUM_RUNTIME,
        vadfast_version=__version__,
        created=now(),
        method=model.method,
        checkpoint_sha256=model.checkpoint_sha256,
        input=spec,
        components=model.components,
        heatmap=heatmap,
        paper_chain=model.paper_chain,
        causal_chain=model.causal_chain,
        calibration=calibration,
        alert=alert,
        artefacts=tuple(
            Artefact(
                backend=c.backend.name,
                precision=c.precision,
                batch=c.batch,
                path=c.backend.path(c.precision),
                versions=versions(c.backend),
                needs=needs(c.backend, c.precision),
                compute_capability=compute_capability(c.backend),
                threads=c.threads,
                median_ms=c.median_ms,
                tolerance=bounds_of(plan.bounds[c.precision], model.components),
            )
            for c in shipped
        ),
        golden=GOLDEN,
        gate=gate,
        race=tuple(asdict(row) for row in rows),
        race_load=RaceLoad(before=load[0], after=load[1]),
        files={},
    )


def write_sealed(
    plan: Plan,
    manifest: Manifest,
    folder: Path,
    shipped: Sequence[Candidate],
    golden: GoldenWindows,
    networks: Sequence[str],
    key: "Ed25519PrivateKey",
) -> Manifest:
    """Writes the bundle, or the model of Triton's repository, from what lies in ``folder``; returns the sealed manifest."""
    # An artefact may be a file with neighbours (eager: weights and configuration).
    files = ["model.onnx", *networks]
    for candidate in shipped:
        path = Path(candidate.backend.path(candidate.precision))
        if path.parent != Path():
            files += sorted(
                p.relative_to(folder).as_posix() for p in (folder / path).parent.iterdir()
            )
    talk.print(f"writing {plan.out}", markup=False)
    if plan.options.format == "bundle":
        return write_bundle(plan.out, manifest, folder=folder, files=files, golden=golden, key=key)
    return write_model(
        plan.out,
        manifest,
        folder=folder,
        files=files,
        golden=golden,
        key=key,
        threads=plan.options.threads,
    )
