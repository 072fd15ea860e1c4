"""The bill of materials of a bundle (CycloneDX 1.6): its networks with their hashes, and every package that runs it, with its licence.

A bundle holds no code of others, so their licences' texts lie beside it for those who must hand them on with a box.
"""

import hashlib
import uuid
from datetime import datetime
from importlib import metadata
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from vadfast.runtime.bag_manifest import BagManifest
from vadfast.runtime.manifest import Manifest

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

SBOM = "sbom.cdx.json"
LICENCES = "licences"
# The texts of the package itself; notices on what it was built from are hundreds of kilobytes and stay in the package.
_LARGEST_TEXT = 64_000


def write_bill(bundle: Path, manifest: Manifest | BagManifest) -> None:
    """Writes SBOM and LICENCES into the folder ``bundle``, which holds its other files already."""
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6

    whole = Component(
        name=manifest.method,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        version=manifest.checkpoint_sha256[:16],
        bom_ref="bundle",
    )
    packages = _packages(manifest)
    bill = Bom(
        # The same model compiled at the same time is the same bill.
        serial_number=uuid.uuid5(uuid.NAMESPACE_OID, manifest.checkpoint_sha256 + manifest.created),
        metadata=BomMetaData(
            component=whole,
            timestamp=datetime.fromisoformat(manifest.created),
            tools=ToolRepository(
                components=[
                    Component(
                        name="vadfast",
                        type=ComponentType.APPLICATION,
                        version=manifest.vadfast_version,
                        bom_ref="compiler",
                    )
                ]
            ),
        ),
        components=[*_files(bundle), *(_package(name) for name in packages)],
    )
    known = {component.name: component for component in bill.components}
    bill.register_dependency(whole, [known["vadfast"]])
    bill.register_dependency(
        known["vadfast"], [component for name, component in known.items() if name in packages and name != "vadfast"]
    )  # fmt: skip
    text = JsonV1Dot6(bill).output_as_string(indent=1)
    (bundle / SBOM).write_text(text + "\n", encoding="utf-8")
    (bundle / LICENCES).mkdir()
    for name in packages:
        found = _licence_text(name)
        if found is not None:
            (bundle / LICENCES / f"{name}.txt").write_bytes(found)


def _packages(manifest: Manifest | BagManifest) -> list[str]:
    """The distributions that vadfast itself needs, and those that the engines of the bundle were measured with."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    wanted = {"vadfast"}
    for line in metadata.requires("vadfast") or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            wanted.add(requirement.name)
    wanted.update(name for artefact in manifest.artefacts for name in artefact.versions)
    found = {_distribution(name) for name in wanted} - {None}
    return sorted(canonicalize_name(name) for name in found if name is not None)


def _distribution(name: str) -> str | None:
    """A manifest names what is imported, which may be called otherwise where it is installed: cupy is cupy-cuda13x's."""
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return next(iter(metadata.packages_distributions().get(name, ())), None)
    return name


def _package(name: str) -> "Component":
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    version, licence = metadata.version(name), _licence(name)
    return Component(
        name=name,
        type=ComponentType.LIBRARY,
        version=version,
        bom_ref=f"pkg:pypi/{name}@{version}",
        purl=PackageURL("pypi", name=name, version=version),
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
    )


def _licence(name: str) -> str | None:
    """The licence as the package names it: an SPDX expression where it has one, else a name, else what it classifies itself as."""
    about = metadata.metadata(name)
    said = about["License-Expression"] or about["License"] or ""
    if said and len(said.splitlines()) == 1:
        return said
    classified = [
        c.rpartition(" :: ")[2]
        for c in about.get_all("Classifier") or []
        if c.startswith("License")
    ]
    return classified[0] if classified else None


def _licence_text(name: str) -> bytes | None:
    for file in metadata.files(name) or []:
        inside = PurePath(file)
        if ".dist-info" in inside.parts[0] and inside.stem.upper() in ("LICENSE", "LICENCE"):
            text = file.read_binary()
            return text if len(text) <= _LARGEST_TEXT else None
    return None


def _files(bundle: Path) -> list["Component"]:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    found = []
    for path in sorted(bundle.rglob("*")):
        name = path.relative_to(bundle).as_posix()
        if path.is_file() and not name.startswith("golden/"):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found.append(
                Component(
                    name=name,
                    # Eager's weights come with their configuration; all others are networks.
                    type=ComponentType.FILE
                    if path.suffix == ".toml"
                    else ComponentType.MACHINE_LEARNING_MODEL,
                    bom_ref=name,
                    hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
                )
            )
    return found
