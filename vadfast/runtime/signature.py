"""Whose bundle it is: an ed25519 signature over manifest.json, whose hashes cover every other file; checked before anything is parsed.

Trusted are the public keys in ``VADFAST_CONFIG``/trusted (else ~/.config/vadfast/trusted), among them the one that this machine signs
its own bundles with, and those that a command is given.

SIGNATURE is two lines of ASCII: ``ed25519`` and the SHA-256 of the public key's 32 bytes as hex, then the signature as base64.
"""

import base64
import binascii
import hashlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vadfast.errors import BundleError, UsageError, first_line

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

log = logging.getLogger(__name__)

SIGNATURE = "SIGNATURE"
_SCHEME = "ed25519"
MAX_BYTES = 256  # of a SIGNATURE; what is longer is none


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose bundles are opened."""

    keys: tuple[Path, ...] = ()  # public keys as PEM, beside those of the machine
    allow_unsigned: bool = False  # also bundles of nobody, or of an unknown key

    def check(self, path: Path, manifest: bytes, signature: bytes | None) -> None:
        """Returns if ``signature`` is that of ``manifest`` by a trusted key, or need not be.

        A wrong signature by a known key is refused whatever is allowed: somebody changed the bundle.

        Args:
            path: the bundle, for the error's sentence.
            manifest: the bytes of manifest.json.
            signature: the bytes of SIGNATURE; None where the bundle has none.

        Raises:
            BundleError: it is not signed, by no trusted key, or not what was signed.
            UsageError: a key that was named cannot be read.
        """
        known = {fingerprint(key): key for key in self._public_keys()}
        if signature is None:
            if not self.allow_unsigned:
                raise BundleError(
                    f"{path}: must be signed, {SIGNATURE} is missing; compile it again with this version of vadfast, or open it as it "
                    "is with --allow-unsigned"
                )
            log.warning("%s: opened although nobody signed it", path)
            return
        signer, signed = _parsed(path, signature)
        if signer not in known:
            if not self.allow_unsigned:
                raise BundleError(
                    f"{path}: {SIGNATURE} must be by a key that this machine trusts ({len(known)} known), is by {signer[:16]}; take "
                    f"the .pub of who compiled it (there ~/.config/vadfast/trusted/own.pub), name it with --trust KEY.pub or put it into "
                    f"{trusted_folder()}; --allow-unsigned opens it anyway"
                )
            log.warning("%s: opened although no trusted key signed it", path)
            return
        from cryptography.exceptions import InvalidSignature

        try:
            known[signer].verify(signed, manifest)
        except InvalidSignature:
            raise BundleError(
                f"{path}: manifest.json and {SIGNATURE} do not belong together: somebody changed one; copy the bundle again from "
                "where it was compiled"
            ) from None

    def _public_keys(self) -> "Iterator[Ed25519PublicKey]":
        yield from (read_public_key(path) for path in self.keys)
        for path in sorted(trusted_folder().glob("*.pub")):
            # Nobody asked for this file now, and without it fewer bundles are opened, not more.
            try:
                yield _parsed_key(path)
            except (OSError, ValueError) as error:
                log.warning(
                    "%s: trusts nobody: it must be an ed25519 public key as PEM, %s; delete it, or put the .pub of who signs there",
                    path,
                    first_line(error),
                )


def config_folder() -> Path:
    """Where keys lie: ``VADFAST_CONFIG``, else the user's."""
    chosen = os.environ.get("VADFAST_CONFIG")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "vadfast"


def trusted_folder() -> Path:
    """Where the public keys lie whose bundles this machine opens."""
    return config_folder() / "trusted"


def read_public_key(path: Path) -> "Ed25519PublicKey":
    """Reads an ed25519 public key; raises UsageError where ``path`` is none."""
    try:
        return _parsed_key(path)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--trust: {path} must be an ed25519 public key as PEM, {first_line(error)}; take the .pub beside the key that signed"
        ) from error


def _parsed_key(path: Path) -> "Ed25519PublicKey":
    """Raises OSError where ``path`` cannot be read, and ValueError where it holds no such key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"cannot be read ({first_line(error)})") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("is another kind")
    return key


def fingerprint(key: "Ed25519PublicKey") -> str:
    """Returns the name of a public key: the SHA-256 of its 32 bytes, as hex."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def written(signer: str, signature: bytes) -> bytes:
    """Returns the content of SIGNATURE for a ``signer``'s 64 bytes."""
    return f"{_SCHEME} {signer}\n{base64.b64encode(signature).decode()}\n".encode()


def _parsed(path: Path, content: bytes) -> tuple[str, bytes]:
    try:
        first, second = content[:MAX_BYTES].decode("ascii").split("\n")[:2]
        scheme, signer = first.split(" ")
        signed = base64.b64decode(second, validate=True)
        bytes.fromhex(signer)
    except (ValueError, binascii.Error):
        scheme, signer, signed = "", "", b""
    if scheme != _SCHEME or len(signer) != 64 or content != written(signer, signed):
        raise BundleError(
            f"{path}: {SIGNATURE} must be two lines, {_SCHEME} with the key's hash and the signature, is something else; copy the "
            "bundle again from where it was compiled"
        )
    return signer, signed
