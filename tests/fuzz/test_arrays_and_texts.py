"""Golden arrays, configurations and keys: any bytes are read as what they are, or refused in a sentence."""

import io
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.doctor.made_bags import make_bag_bundle
from tests.fuzz.mutations import damaged, mutated
from tests.tiny_bundle import manifest_values, seal
from vadfast.compile.signing import open_key
from vadfast.errors import BundleError, UsageError, VadfastError
from vadfast.runtime.bags import open_bag_bundle
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.engine import open_engine
from vadfast.runtime.selftest import golden_array
from vadfast.runtime.signature import read_public_key
from vadfast.train.config import RunConfig

FUZZED = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


def _sentence(error: BaseException) -> str:
    message = str(error)
    assert message.isprintable()
    return message


# ------------------------------------------------------------------------------------------------ golden


def _npy(shape: str, dtype: str = "|u1", data: bytes = b"\0" * 64) -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


@pytest.mark.parametrize(
    "content",
    [_npy("(1099511627776,)"), _npy("(1048576, 1048576, 1024)"), _npy("(9223372036854775807, 9)"), _npy("(-1,)"),
     _npy("(4294967296,)", "<f4"), _npy("(64,)", "|O"), _npy("(1,)", "|V2000000000"), _npy("(2,)", "<U2000000000")],
    ids=["1 TB", "1 PB", "an overflow", "negative", "16 GB", "objects", "2 GB an item", "16 GB of text"],
)  # fmt: skip
def test_a_declared_shape_is_no_memory(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(BundleError) as caught:
            golden_array(tmp_path / "a.npy")
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()
    assert "a.npy: must be a NumPy array" in _sentence(caught.value)


@pytest.mark.parametrize("name", ["frames", "components"])
@pytest.mark.parametrize(
    "array",
    [np.zeros((), np.uint8), np.zeros(0, np.float32), np.zeros((3, 5), np.uint8), np.full((3, 2), np.inf, np.float32),
     np.zeros((3, 2), ">f4"), np.zeros((3, 2), np.complex64), np.zeros(3, "M8[s]"), np.array(["a", "b", "c"])],
    ids=lambda a: f"{a.dtype} {a.shape}",
)  # fmt: skip
def test_golden_arrays_of_any_kind_are_refused(bundle: Path, name: str, array: np.ndarray) -> None:
    np.save(bundle / f"golden/{name}.npy", array)
    seal(bundle, manifest_values())
    with pytest.raises(VadfastError) as caught:
        open_engine(open_bundle(bundle), backend="onnxruntime", threads=1)
    _sentence(caught.value)


@FUZZED
@given(data=st.data())
@pytest.mark.parametrize("name", ["frames", "components"])
def test_damaged_golden_files_are_read_or_refused(
    bundle: Path, pristine: Path, name: str, data: st.DataObject
) -> None:
    file = f"golden/{name}.npy"
    (bundle / file).write_bytes(data.draw(damaged((pristine / file).read_bytes())))
    seal(bundle, manifest_values())
    try:
        open_engine(open_bundle(bundle), backend="onnxruntime", threads=1).close()
    except VadfastError as error:
        _sentence(error)


@pytest.mark.parametrize("name", ["bags", "scores"])
@pytest.mark.parametrize(
    "array",
    [np.zeros((), np.float32), np.zeros((2, 4, 3, 1), np.float32), np.zeros((0, 4, 3), np.float32), np.zeros(2, np.float64)],
    ids=lambda a: f"{a.dtype} {a.shape}",
)  # fmt: skip
def test_golden_bags_of_any_kind_are_refused(tmp_path: Path, name: str, array: np.ndarray) -> None:
    from vadfast.compile.bundle import seal as seal_record

    bundle = make_bag_bundle(tmp_path / "bags.vad")
    manifest = open_bag_bundle(bundle).manifest
    np.save(bundle / f"golden/{name}.npy", array)
    seal_record(bundle, manifest, open_key(None))
    with pytest.raises(BundleError) as caught:
        open_bag_bundle(bundle)
    _sentence(caught.value)


# ------------------------------------------------------------------------------------------------ configurations

CONFIG = {"data": "films", "dataset": "ped2", "method": "adl", "steps": 5, "seed": 3, "options": {"image_size": 64, "width": 8}}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", "a", "a = ", "[a]\n[a]\n", "a = " + "[" * 50_000, "a." * 3000 + "b = 1", "steps = " + "9" * 5000, "a = nan", "\0",
     "[[options]]\nwidth = 1", "data = 1979-05-27T07:32:00Z", 'data = "\\uD800"', "options = 3"],
    ids=range(13),
)  # fmt: skip
def test_odd_configurations_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        RunConfig.load(tmp_path / "run.toml")
    assert "run.toml" in _sentence(caught.value)


@FUZZED
@given(data=st.data())
def test_damaged_configurations_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    whole = tomli_w.dumps(CONFIG).encode()
    (tmp_path / "run.toml").write_bytes(data.draw(damaged(whole)))
    try:
        loaded = RunConfig.load(tmp_path / "run.toml")
    except UsageError as error:
        _sentence(error)
        return
    loaded.save(tmp_path / "again.toml")
    assert RunConfig.load(tmp_path / "again.toml") == loaded


@FUZZED
@given(values=mutated(CONFIG))
def test_changed_configurations_mean_what_they_say_or_are_refused(values: dict) -> None:  # type: ignore[type-arg]
    try:
        loaded = RunConfig.parse(values, where="run.toml")
    except UsageError as error:
        _sentence(error)
        return
    kept = loaded.model_dump(mode="json", exclude_none=True)
    assert RunConfig.parse(kept, where="again") == loaded


# ------------------------------------------------------------------------------------------------ keys

_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = _KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
PRIVATE = _KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@FUZZED
@given(content=damaged(PUBLIC) | damaged(PRIVATE) | st.binary(max_size=200))
def test_any_key_file_is_a_key_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    for read in (read_public_key, open_key):
        try:
            key = read(tmp_path / "key")
        except UsageError as error:
            _sentence(error)
        else:
            raw = key.public_bytes_raw() if read is read_public_key else key.private_bytes_raw()  # type: ignore[union-attr]
            assert len(raw) == 32


def test_a_buffer_is_what_the_helper_makes() -> None:
    assert np.load(io.BytesIO(_npy("(8, 8)"))).shape == (8, 8)
