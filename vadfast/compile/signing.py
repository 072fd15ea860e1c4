"""Signs bundles: with a key that is named, else with the machine's own, which is made the first time."""

import os
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from vadfast.atomic import atomic_file
from vadfast.errors import UsageError
from vadfast.runtime.signature import (
    SIGNATURE,
    config_folder,
    fingerprint,
    trusted_folder,
    written,
)

OWN_KEY, OWN_PUBLIC_KEY = "signing.pem", "own.pub"


def open_key(path: Path | None) -> Ed25519PrivateKey:
    """Reads the private key at ``path``; None: the machine's own, made and trusted here if there is none yet.

    Raises:
        UsageError: ``path`` is no ed25519 private key, or has a password.
    """
    own = config_folder() / OWN_KEY
    if path is None and not own.exists():
        _make(own)
    chosen = own if path is None else path
    try:
        key = load_pem_private_key(chosen.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(
            f"--sign: {chosen} must be an ed25519 private key as PEM without a password, cannot be read ({error}); make one with "
            "openssl genpkey -algorithm ed25519 -out KEY.pem"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(
            f"--sign: {chosen} must be an ed25519 private key, is another kind; make one with openssl genpkey -algorithm ed25519 -out KEY.pem"
        )
    if path is None:
        _trust(key)
    return key


def sign(directory: Path, manifest: bytes, key: Ed25519PrivateKey) -> None:
    """Writes SIGNATURE over ``manifest`` into ``directory``."""
    signer = fingerprint(key.public_key())
    (directory / SIGNATURE).write_bytes(written(signer, key.sign(manifest)))


def _make(private: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    private.parent.mkdir(parents=True, exist_ok=True)
    made = private.with_name(f".{private.name}.{os.getpid()}.tmp")
    made.touch(mode=0o600)
    made.write_bytes(pem)
    # Unlike a rename it fails where another process was first, and its key may have signed by now.
    with suppress(FileExistsError):
        os.link(made, private)
    made.unlink()


def _trust(key: Ed25519PrivateKey) -> None:
    public = trusted_folder() / OWN_PUBLIC_KEY
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if not public.exists() or public.read_bytes() != pem:
        with atomic_file(public) as temporary:
            temporary.write_bytes(pem)
