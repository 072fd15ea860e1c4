"""The bill of materials of a bundle (CycloneDX 1.6): its networks with their hashes, every package that runs it, what that carries of others.

A bundle holds no code of others, so their licences' texts lie beside it for those who must hand them on with a box. What is declared
(by a package) and what is known (here) are told apart; what is unknown is said to be.
"""

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from vadfast.compile.distributions import closure, distribution_of
from vadfast.compile.licences import licence, words_of
from vadfast.compile.shared_libraries import Library, libraries_of
from vadfast.errors import BuildError
from vadfast.runtime.bag_manifest import BagManifest
from vadfast.runtime.manifest import Manifest

if TYPE_CHECKING:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

SBOM = "sbom.cdx.json"
LICENCES = "licences"


def write_bill(
    bundle: Path, manifest: Manifest | BagManifest, *, served_as: str | None = None
) -> None:
    """Writes SBOM and LICENCES into the folder ``bundle``, which holds its other files already.

    Args:
        bundle: the folder.
        manifest: says what was compiled, and with what its engines run.
        served_as: where the model will lie in the folder of a server that brings its own engine; no package ships there, and none
            is listed.

    Raises:
        BuildError: vadfast is no installed package, so what it needs is not known.
    """
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6

    engines = {name: v for a in manifest.artefacts for name, v in a.versions.items()}
    whole = Component(
        name=manifest.method,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        version=manifest.checkpoint_sha256[:16],
        bom_ref="bundle",
        properties=_properties(engine=None if served_as is None else _server_words(engines)),
    )
    networks = _networks(bundle, {} if served_as is None else {manifest.model: served_as})
    asked = {} if served_as is not None else closure(_roots(engines))
    libraries = {name: _libraries(name) for name in asked}
    packages = {name: _package(name, libraries[name]) for name in asked}
    if served_as is None:
        packages |= {
            name: _unpackaged(name, version)
            for name, version in engines.items()
            if distribution_of(name) is None
        }
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
        components=[*networks, *packages.values()],
    )
    bill.register_dependency(whole, [*networks, *packages.values()])
    for name, needs in asked.items():
        bill.register_dependency(packages[name], [packages[needed] for needed in sorted(needs)])
    text = JsonV1Dot6(bill).output_as_string(indent=1)
    (bundle / SBOM).write_text(text + "\n", encoding="utf-8")
    if packages:
        (bundle / LICENCES).mkdir()
    for name in filter(_installed, asked):
        text_of = words_of(name, metadata.version(name), libraries[name] or [])
        (bundle / LICENCES / f"{name}.txt").write_bytes(text_of)


def _roots(engines: Iterable[str]) -> list[str]:
    """Vadfast, and the packages that the engines of the bundle were measured with."""
    if not _installed("vadfast"):
        raise BuildError(
            "sbom: vadfast must be installed for the list of what runs a bundle, only its source is here; pip install -e '.[compile]'"
        )
    return ["vadfast", *(name for e in engines if (name := distribution_of(e)) is not None)]


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _libraries(name: str) -> list[Library] | None:
    return libraries_of(name) if _installed(name) else None


def _package(name: str, libraries: list[Library] | None) -> "Component":
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    if not _installed(name):
        return Component(
            name=name,
            type=ComponentType.LIBRARY,
            bom_ref=f"pkg:pypi/{name}",
            purl=PackageURL("pypi", name=name),
            properties=_properties(package="asked for, and not installed where this was compiled"),
        )
    version = metadata.version(name)
    reference, said = f"pkg:pypi/{name}@{version}", licence(name)
    return Component(
        name=name,
        type=ComponentType.LIBRARY,
        version=version,
        bom_ref=reference,
        purl=PackageURL("pypi", name=name, version=version),
        licenses=_declared(said.spdx, said.words, said.known and said.known.licence),
        components=[_library(reference, library) for library in libraries or ()],
        properties=_properties(
            **{
                "licence": None if said.spdx or said.words or said.known else "not known",
                "licence-source": said.known and said.known.source,
                "libraries": "not known: the package has no list of its files"
                if libraries is None
                else None,
            }
        ),
    )


def _unpackaged(name: str, version: str) -> "Component":
    """An engine that was installed without a package's metadata."""
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        name=name,
        type=ComponentType.LIBRARY,
        version=version,
        bom_ref=f"module:{name}",
        properties=_properties(licence="not known", package="none: a module without metadata"),
    )


def _library(package: str, library: Library) -> "Component":
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    known, digest = library.known, library.sha256
    return Component(
        name=library.name,
        type=ComponentType.LIBRARY,
        version=library.version,
        bom_ref=f"{package}#{library.path}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)] if digest else [],
        licenses=_declared(None, None, known and known.licence),
        properties=_properties(
            **{
                "path": library.path,
                "version": "of the file name, which often counts interfaces"
                if library.version
                else "not known",
                "licence": None if known else "not known",
                "licence-source": known and known.source,
            }
        ),
    )


def _declared(spdx: str | None, words: str | None, known: str | None) -> list["License"]:
    """An expression stands alone (so CycloneDX wants it); words may have what is known beside them."""
    from cyclonedx.model.license import (
        DisjunctiveLicense,
        LicenseAcknowledgement,
        LicenseExpression,
    )

    if words and known:
        return [
            DisjunctiveLicense(name=words, acknowledgement=LicenseAcknowledgement.DECLARED),
            DisjunctiveLicense(id=known, acknowledgement=LicenseAcknowledgement.CONCLUDED),
        ]
    if words:
        return [DisjunctiveLicense(name=words, acknowledgement=LicenseAcknowledgement.DECLARED)]
    if spdx:
        return [LicenseExpression(spdx, acknowledgement=LicenseAcknowledgement.DECLARED)]
    return (
        [LicenseExpression(known, acknowledgement=LicenseAcknowledgement.CONCLUDED)]
        if known
        else []
    )


def _properties(**facts: str | None) -> list["Property"]:
    from cyclonedx.model import Property

    return [Property(name=f"vadfast:{name}", value=value) for name, value in facts.items() if value]


def _server_words(engines: dict[str, str]) -> str:
    judged = ", ".join(f"{name} {version}" for name, version in sorted(engines.items()))
    return f"the server's own; judged with {judged}"


def _networks(bundle: Path, moved: Mapping[str, str]) -> list["Component"]:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    found = []
    for path in sorted(bundle.rglob("*")):
        name = path.relative_to(bundle).as_posix()
        if path.is_file() and not name.startswith("golden/"):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            place = moved.get(name, name)
            found.append(
                Component(
                    name=place,
                    # Eager's weights come with their configuration; all others are networks.
                    type=ComponentType.FILE
                    if path.suffix == ".toml"
                    else ComponentType.MACHINE_LEARNING_MODEL,
                    bom_ref=place,
                    hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
                )
            )
    return found
