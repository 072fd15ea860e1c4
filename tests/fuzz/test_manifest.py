"""Any manifest that a trusted key signed is read as what it says, or refused in a sentence; and no engine or chain falls over it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.mutations import mutated
from tests.tiny_bundle import H, T, W, make_bundle, manifest_values, seal
from vadfast.errors import BundleError, VadfastError
from vadfast.runtime.bundle import MANIFEST, open_bundle, takes
from vadfast.runtime.engine import open_engine
from vadfast.runtime.manifest import Manifest
from vadfast.runtime.score import run_chain

FUZZED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny.vad")


WHOLE = manifest_values()


def _said(error: VadfastError) -> None:
    message = str(error)
    assert "\n" not in message
    message.encode()  # whoever prints it can


@FUZZED
@given(values=mutated(WHOLE))
def test_a_changed_manifest_means_what_it_says_or_is_refused(
    bundle: Path, values: dict[str, Any]
) -> None:
    seal(bundle, values)
    try:
        manifest = open_bundle(bundle).manifest
    except BundleError as error:
        _said(error)
        return
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest
    kept = manifest.model_dump(mode="json")
    for key, value in values.items():
        if isinstance(value, str):
            assert kept[key] == value
    assert takes(bundle) == "frames"


@FUZZED
@given(values=mutated(WHOLE, n_most=1))
def test_what_opens_scores_or_is_refused(bundle: Path, values: dict[str, Any]) -> None:
    seal(bundle, values)
    frames = np.random.default_rng(0).integers(0, 256, (1, T, H, W, 3), np.uint8)
    try:
        opened = open_bundle(bundle)
        engine = open_engine(opened, threads=1)
        try:
            raw = engine(np.repeat(frames, engine.batch, axis=0)).components
        finally:
            engine.close()
    except VadfastError as error:
        _said(error)
        return
    manifest = opened.manifest
    for chain in (manifest.causal_chain, manifest.paper_chain):
        scores = run_chain(chain, manifest.components, raw, manifest.calibration)
        assert np.asarray(scores).shape == (len(raw),)


@pytest.mark.parametrize("text", ['{"a":1,"a":2}', '{"format_version":1e400}', '"' + "x" * 10_000_000 + '"', "[[" * 200_000])  # fmt: skip
def test_odd_json_is_refused(bundle: Path, text: str) -> None:
    import hashlib

    from vadfast.compile.signing import open_key, sign

    (bundle / MANIFEST).write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (bundle / "manifest.sha256").write_text(f"{digest}  {MANIFEST}\n")
    sign(bundle, text.encode(), open_key(None))
    with pytest.raises(BundleError) as caught:
        open_bundle(bundle)
    _said(caught.value)
    assert takes(bundle) == "frames"
