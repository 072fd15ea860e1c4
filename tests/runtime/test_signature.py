"""Whose bundle it is: signed by a trusted key, by an unknown one, by nobody, by one who lies; and the machine's own key."""

import logging
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny_bundle import make_bundle
from vadfast.compile.signing import open_key, sign
from vadfast.errors import BundleError, UsageError
from vadfast.runtime.bundle import open_bundle
from vadfast.runtime.signature import SIGNATURE, Trust, config_folder, fingerprint, trusted_folder
from vadfast.runtime.zipped import pack


@pytest.fixture(autouse=True)
def _own_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VADFAST_CONFIG", str(tmp_path / "config"))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny.vad")


def _stranger(folder: Path) -> tuple[Ed25519PrivateKey, Path]:
    key, public = Ed25519PrivateKey.generate(), folder / "stranger.pub"
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return key, public


def _resign(bundle: Path, key: Ed25519PrivateKey) -> None:
    sign(bundle, (bundle / "manifest.json").read_bytes(), key)


def test_the_machine_trusts_what_it_signed(bundle: Path) -> None:
    assert open_bundle(bundle).manifest.method == "tiny"
    private = config_folder() / "signing.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    before = private.read_bytes()
    assert open_key(None).private_bytes_raw() == open_key(None).private_bytes_raw()
    assert private.read_bytes() == before, "the key of a machine is made once"
    (trusted_folder() / "own.pub").unlink()
    open_key(None)
    assert open_bundle(bundle).manifest.method == "tiny", "its public key is put back"


@pytest.mark.parametrize("zipped", [False, True])
def test_a_strangers_bundle_opens_with_the_strangers_key(
    bundle: Path, tmp_path: Path, zipped: bool
) -> None:
    key, public = _stranger(tmp_path)
    _resign(bundle, key)
    if zipped:
        pack(bundle, tmp_path / "a.vad.zip")
    path = tmp_path / "a.vad.zip" if zipped else bundle
    with pytest.raises(BundleError, match=fingerprint(key.public_key())[:16]) as caught:
        open_bundle(path)
    assert f"{path}: " in str(caught.value)
    assert "--trust KEY.pub" in str(caught.value)
    assert open_bundle(path, Trust(keys=(public,))).manifest.method == "tiny"
    assert open_bundle(path, Trust(allow_unsigned=True)).manifest.method == "tiny"
    public.rename(trusted_folder() / "stranger.pub")
    assert open_bundle(path).manifest.method == "tiny"


def test_an_unsigned_bundle_must_be_allowed(bundle: Path) -> None:
    (bundle / SIGNATURE).unlink()
    with pytest.raises(BundleError, match=r"SIGNATURE is missing.* --allow-unsigned"):
        open_bundle(bundle)
    assert open_bundle(bundle, Trust(allow_unsigned=True)).manifest.method == "tiny"


def test_a_changed_bundle_is_refused_whatever_is_allowed(bundle: Path) -> None:
    import hashlib

    manifest = (bundle / "manifest.json").read_bytes().replace(b'"tiny"', b'"evil"')
    (bundle / "manifest.json").write_bytes(manifest)
    (bundle / "manifest.sha256").write_text(
        f"{hashlib.sha256(manifest).hexdigest()}  manifest.json\n"
    )
    for trust in (Trust(), Trust(allow_unsigned=True)):
        with pytest.raises(BundleError, match="do not belong together"):
            open_bundle(bundle, trust)


def test_the_manifest_is_not_parsed_before_its_signature(bundle: Path) -> None:
    (bundle / "manifest.json").write_bytes(b"{")
    with pytest.raises(BundleError, match="do not belong together"):
        open_bundle(bundle)


@pytest.mark.parametrize("junk", ["text", "folder", "another kind"])
def test_a_file_that_is_no_key_trusts_nobody_and_is_named(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, junk: str
) -> None:
    """Among the keys of the machine: the others open what they opened, and nothing more is opened."""
    odd = trusted_folder() / "a.pub"  # before own.pub
    if junk == "text":
        odd.write_text("no key")
    elif junk == "folder":
        odd.mkdir()
    else:
        public = X25519PrivateKey.generate().public_key()
        odd.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert open_bundle(bundle).manifest.method == "tiny"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    assert message.startswith(f"{odd}: trusts nobody: it must be an ed25519 public key as PEM, ")
    assert message.endswith("; delete it, or put the .pub of who signs there")
    assert "--trust" not in message
    _resign(bundle, _stranger(tmp_path)[0])
    with pytest.raises(BundleError, match=r"a key that this machine trusts \(1 known\)"):
        open_bundle(bundle)


@given(content=st.binary(max_size=300))
def test_any_signature_file_is_read_or_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match=SIGNATURE):
        Trust().check(Path("a.vad"), b"{}", content)


def test_keys_that_are_none_are_named(tmp_path: Path) -> None:
    wrong = X25519PrivateKey.generate()
    (tmp_path / "x.pem").write_bytes(
        wrong.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    (tmp_path / "locked.pem").write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
    )
    (tmp_path / "x.pub").write_bytes(
        wrong.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "text").write_text("no key")
    for name, words in (
        ("x.pem", "must be an ed25519 private key, is another kind"),
        ("locked.pem", "without a password"),
        ("text", "openssl genpkey"),
        ("absent", "cannot be read"),
    ):
        with pytest.raises(UsageError, match=f"--sign: .*{name} .*{words}"):
            open_key(tmp_path / name)
    for name in ("x.pub", "text", "absent"):
        with pytest.raises(UsageError, match=f"--trust: .*{name} must be an ed25519 public key"):
            Trust(keys=(tmp_path / name,)).check(Path("a.vad"), b"{}", None)
