"""The bill of materials: valid CycloneDX, with the networks' hashes, the engines that ship, and licences; the same twice."""

import hashlib
import json
from importlib import metadata
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.compile.test_bundle import write
from tests.compile.tiny import manifest
from vadfast.compile.bundle import now
from vadfast.compile.sbom import LICENCES, SBOM, write_bill
from vadfast.errors import UsageError


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write(tmp_path / "tiny.vad", tmp_path)
    return tmp_path / "tiny.vad"


def test_it_is_cyclonedx_and_names_what_is_inside(bundle: Path) -> None:
    text = (bundle / SBOM).read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found = {c["name"]: c for c in json.loads(text)["components"]}
    digest = hashlib.sha256((bundle / "model.onnx").read_bytes()).hexdigest()
    assert found["model.onnx"]["hashes"] == [{"alg": "SHA-256", "content": digest}]
    for name in ("vadfast", "onnxruntime", "numpy", "cryptography"):
        assert found[name]["version"] == metadata.version(name)
        assert found[name]["licenses"], name
    assert "torch" not in found, "it is not needed to run"
    listed = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["files"]
    assert SBOM in listed
    assert f"{LICENCES}/numpy.txt" in listed


def test_a_package_of_another_name_than_its_import_is_listed_and_a_configuration_is_no_network(
    tmp_path: Path,
) -> None:
    made = manifest()
    (artefact,) = made.artefacts
    # Scikit-learn stands for CuPy, whose distribution has another name too.
    measured = artefact.model_copy(
        update={"versions": {"sklearn": metadata.version("scikit-learn")}}
    )
    for name in ("model.safetensors", "run.toml"):
        (tmp_path / name).write_bytes(b"a")
    write_bill(tmp_path, made.model_copy(update={"artefacts": (measured,)}))
    components = json.loads((tmp_path / SBOM).read_text(encoding="utf-8"))["components"]
    found = {c["name"]: c["type"] for c in components}
    assert found["scikit-learn"] == "library"
    assert (found["model.safetensors"], found["run.toml"]) == ("machine-learning-model", "file")


def test_licence_texts_are_those_of_the_packages(bundle: Path) -> None:
    text = (bundle / LICENCES / "openvino.txt").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert sum(p.stat().st_size for p in (bundle / LICENCES).iterdir()) < 400_000


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
