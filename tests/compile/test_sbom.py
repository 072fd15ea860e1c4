"""The bill of materials: valid CycloneDX, with the networks' hashes, all that runs them, and what that carries; the same twice."""

import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.compile.test_bundle import write
from tests.compile.tiny import manifest
from vadfast.compile.bundle import now
from vadfast.compile.sbom import LICENCES, SBOM, write_bill
from vadfast.errors import BuildError, UsageError
from vadfast.runtime.manifest import Manifest

ENGINES = ("MNN", "onnxruntime", "openvino")


def _manifest(**versions: str) -> Manifest:
    made = manifest()
    (artefact,) = made.artefacts
    measured = artefact.model_copy(update={"versions": versions})
    return made.model_copy(update={"artefacts": (measured,)})


def _bill(folder: Path) -> dict[str, Any]:
    return json.loads((folder / SBOM).read_text(encoding="utf-8"))


def _said(component: dict[str, Any]) -> dict[str, str]:
    return {p["name"].removeprefix("vadfast:"): p["value"] for p in component["properties"]}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all three engines that a camera box has."""
    folder = tmp_path_factory.mktemp("bill")
    (folder / "model.onnx").write_bytes(b"model")
    write_bill(folder, _manifest(**{name: metadata.version(name) for name in ENGINES}))
    return folder


def test_it_is_cyclonedx_and_names_what_is_inside(bundle: Path) -> None:
    text = (bundle / SBOM).read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found = {c["name"]: c for c in _bill(bundle)["components"]}
    digest = hashlib.sha256((bundle / "model.onnx").read_bytes()).hexdigest()
    assert found["model.onnx"]["hashes"] == [{"alg": "SHA-256", "content": digest}]
    for name in ("vadfast", "onnxruntime", "mnn", "numpy", "cryptography"):
        assert found[name]["version"] == metadata.version(name)
        assert found[name]["licenses"], name
    assert "torch" not in found, "it is not needed to run"


def test_it_is_sealed_with_the_bundle(tmp_path: Path) -> None:
    sealed = write(tmp_path / "tiny.vad", tmp_path)
    assert {SBOM, f"{LICENCES}/numpy.txt"} <= sealed.files.keys()


def test_what_packages_need_in_turn_is_listed_and_who_needs_it(bundle: Path) -> None:
    bill = _bill(bundle)
    needs = {d["ref"].partition("@")[0]: d.get("dependsOn", []) for d in bill["dependencies"]}
    pillow = f"pkg:pypi/pillow@{metadata.version('pillow')}"
    assert pillow in needs["pkg:pypi/matplotlib"]
    assert pillow not in needs["pkg:pypi/vadfast"]
    assert pillow in {c["bom-ref"] for c in bill["components"]}


def test_libraries_of_others_are_named_inside_the_package_that_carries_them(bundle: Path) -> None:
    packages = {c["name"]: c for c in _bill(bundle)["components"]}
    inside = {c["name"]: c for c in packages["av"]["components"]}
    assert inside["libx264"]["licenses"] == [
        {"expression": "GPL-2.0-or-later", "acknowledgement": "concluded"}
    ]
    said = _said(inside["libx264"])
    file = Path(metadata.distribution("av").locate_file(said["path"]))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert inside["libx264"]["hashes"] == [{"alg": "SHA-256", "content": digest}]
    assert said["licence-source"].startswith("https://")
    assert inside["libx264"]["version"] == file.name.rpartition(".so.")[2]
    of_opencv = {c["name"] for c in packages["opencv-python-headless"]["components"]}
    assert "libavcodec" in of_opencv
    assert packages["av"]["licenses"][0]["acknowledgement"] == "declared"


def test_every_licence_is_told_or_said_to_be_unknown(bundle: Path) -> None:
    packages = [c for c in _bill(bundle)["components"] if c["type"] == "library"]
    parts = [*packages, *(part for c in packages for part in c.get("components", ()))]
    assert len(parts) > len(packages) + 30
    for part in parts:
        assert part.get("licenses") or _said(part)["licence"] == "not known", part["name"]


def test_a_package_of_another_name_than_its_import_is_listed_and_a_configuration_is_no_network(
    tmp_path: Path,
) -> None:
    for name in ("model.safetensors", "run.toml"):
        (tmp_path / name).write_bytes(b"a")
    # Scikit-learn stands for CuPy, whose distribution has another name too.
    write_bill(tmp_path, _manifest(sklearn=metadata.version("scikit-learn")))
    found = {c["name"]: c["type"] for c in _bill(tmp_path)["components"]}
    assert found["scikit-learn"] == "library"
    assert (found["model.safetensors"], found["run.toml"]) == ("machine-learning-model", "file")


def test_an_engine_without_a_package_is_listed_and_said_to_have_none(tmp_path: Path) -> None:
    write_bill(tmp_path, _manifest(tensorrt_of_a_box="10.3"))
    (found,) = (c for c in _bill(tmp_path)["components"] if c["name"] == "tensorrt_of_a_box")
    assert (found["version"], _said(found)["licence"]) == ("10.3", "not known")


def test_a_package_that_is_asked_for_and_absent_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        metadata, "requires", lambda name: ["absent>=1"] if name == "vadfast" else []
    )
    write_bill(tmp_path, _manifest())
    (found,) = (c for c in _bill(tmp_path)["components"] if c["name"] == "absent")
    assert "not installed" in _said(found)["package"]
    assert "version" not in found


def test_vadfast_without_metadata_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(BuildError, match="vadfast must be installed"):
        write_bill(tmp_path, _manifest())


def test_what_a_server_serves_lists_the_model_at_its_place_and_no_package(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"model")
    write_bill(tmp_path, _manifest(onnxruntime="1.31.1"), served_as="1/model.onnx")
    text = (tmp_path / SBOM).read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = _bill(tmp_path)
    assert [c["name"] for c in bill["components"]] == ["1/model.onnx"]
    said = _said(bill["metadata"]["component"])
    assert said["engine"] == "the server's own; judged with onnxruntime 1.31.1"
    assert not (tmp_path / LICENCES).exists()


def test_the_same_input_at_a_fixed_time_is_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert now() == "2023-11-14T22:13:20+00:00"
    a, b = tmp_path / "a.vad", tmp_path / "b.vad"
    for target in (a, b):
        write(target, tmp_path)
    for path in sorted(p.relative_to(a) for p in a.rglob("*") if p.is_file()):
        assert (a / path).read_bytes() == (b / path).read_bytes(), path
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH: must be seconds since 1970"):
        now()
