"""Signs bundles: with a key that is named, else with the machine's own, which is made the first time."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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

from vadfast.atomic import atomic_file, temporary_name
from vadfast.cli import takes_files
from vadfast.errors import UsageError
from vadfast.runtime.signature import (
    SIGNATURE,
    config_folder,
    fingerprint,
    trusted_folder,
    written,
)

OWN_KEY, OWN_PUBLIC_KEY = "signing.pem", "own.pub"


def check_key(path: Path | None) -> None:
    """Raises UsageError where ``open_key(path)`` would, as far as can be seen by making nothing."""
    if path is not None:
        _read(path)
        return
    with _own_folder():
        own = config_folder() / OWN_KEY
        trusted = own.exists() and _is_trusted(_read(own))
        if not trusted and not takes_files(trusted_folder().absolute()):
            raise PermissionError(errno.EACCES, "no file can be written there")


def open_key(path: Path | None) -> Ed25519PrivateKey:
    """Reads the private key at ``path``; None: the machine's own, made and trusted here if there is none yet.

    Raises:
        UsageError: ``path`` is no ed25519 private key, or has a password; the machine's own can be neither read nor made.
    """
    if path is not None:
        return _read(path)
    with _own_folder():
        own = config_folder() / OWN_KEY
        if not own.exists():
            _make(own)
        key = _read(own)
        if not _is_trusted(key):
            with atomic_file(trusted_folder() / OWN_PUBLIC_KEY) as temporary:
                temporary.write_bytes(_public_pem(key))
    return key


@contextmanager
def _own_folder() -> Iterator[None]:
    try:
        yield
    # RuntimeError: of Path.home(), where the user has none.
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"VADFAST_CONFIG: must be a folder that can be read and written, for the key that this machine signs with, {_config_words()} "
            f"({getattr(error, 'strerror', None) or error}); set VADFAST_CONFIG to another folder, or name a key with --sign KEY.pem"
        ) from error


def _config_words() -> str:
    try:
        return f"{config_folder()} is not"
    except RuntimeError:
        return "there is none"


def _read(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(
            f"--sign: {path} must be an ed25519 private key as PEM without a password, cannot be read ({error}); make one with "
            "openssl genpkey -algorithm ed25519 -out KEY.pem"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(
            f"--sign: {path} must be an ed25519 private key, is another kind; make one with openssl genpkey -algorithm ed25519 -out KEY.pem"
        )
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
    made = temporary_name(private)
    try:
        made.touch(mode=0o600)
        made.write_bytes(pem)
        # Unlike a rename it fails where another process was first, and its key may have signed by now.
        with suppress(FileExistsError):
            os.link(made, private)
    finally:
        made.unlink(missing_ok=True)


def _public_pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _is_trusted(key: Ed25519PrivateKey) -> bool:
    public = trusted_folder() / OWN_PUBLIC_KEY
    return public.exists() and public.read_bytes() == _public_pem(key)
