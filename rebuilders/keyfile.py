"""The rebuilder's key: one Ed25519 key in a file that only its owner reads, and the policy lines that name it."""

import os
import stat
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from attestor.core.envelope import Signature, encode_envelope, pae
from attestor.core.errors import Missing, Rejected
from attestor.core.keys import PublicKey, parse_public_key
from rebuilders.files import write_new

MAX_KEY_BYTES: Final = 4096


class SigningKey:
    """A private key that signs envelopes; it never prints itself."""

    __slots__ = ("_private", "public_key", "public_pem")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private: Final = private
        self.public_pem: Final = (
            private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
        )
        self.public_key: Final[PublicKey] = parse_public_key(self.public_pem)

    def __repr__(self) -> str:
        return f"SigningKey({self.public_key.fingerprint})"

    def envelope(self, payload_type: str, payload: bytes) -> bytes:
        """Sign the PAE of a payload and wrap both as DSSE; the key id is the key's fingerprint."""
        signature = Signature(self.public_key.fingerprint, self._private.sign(pae(payload_type, payload)))
        return encode_envelope(payload_type, payload, [signature])


def make_key(path: Path) -> SigningKey:
    """Make a key and store it as PKCS #8 PEM, mode 0600. Raises Conflict ``file-exists``; Missing ``no-folder``."""
    private = Ed25519PrivateKey.generate()
    try:
        write_new(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    except FileNotFoundError:
        raise Missing("no-folder", f"The folder of {path} does not exist; make it first.") from None
    return SigningKey(private)


def load_key(path: Path) -> SigningKey:
    """Read a key that only its owner can read.

    Raises Missing ``no-key``; Rejected ``key-readable-by-others`` (with path and mode), ``not-a-private-key``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Missing(
            "no-key", f"The key {path} cannot be read: {error.strerror}. Make one with `attestor-rebuilder keygen`."
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        mode = stat.S_IMODE(found.st_mode)
        if not stat.S_ISREG(found.st_mode):
            raise _not_a_key(path)
        if mode & 0o077:
            raise Rejected(
                "key-readable-by-others",
                f"The key {path} has mode {mode:04o}, so others may have it: make a new one, or chmod 600 {path} if nobody read it.",
            )
        return SigningKey(_decoded(file.read(MAX_KEY_BYTES), path))


def _decoded(pem: bytes, path: Path) -> Ed25519PrivateKey:
    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # What the library says may quote the file; the cause is dropped with it.
        raise _not_a_key(path) from None
    if not isinstance(private, Ed25519PrivateKey):
        raise _not_a_key(path)
    return private


def _not_a_key(path: Path) -> Rejected:
    return Rejected("not-a-private-key", f"{path} is not an Ed25519 key as unencrypted PKCS #8 PEM.")


def policy_lines(key: SigningKey, operator: str, namespace: str, valid_from: datetime, valid_until: datetime) -> str:
    """The TOML table that the service's policy needs to count this key; times in UTC, whole seconds."""
    return f'''[[operators.{_quoted(operator)}.keys]]
# SHA-256 of the key: {key.public_key.fingerprint}
public_key = """
{key.public_pem}"""
valid_from = {_spelled(valid_from)}
valid_until = {_spelled(valid_until)}
statements = ["rebuild"]
# What the key may vote for. An absent arch means any architecture. Leave out what this rebuilder does not build.
scopes = [
  {{ kind = "package", type = "alpm", namespace = {_quoted(namespace)} }},
  # {{ kind = "package", type = "deb", namespace = "debian", arch = "amd64" }},
  # {{ kind = "database", type = "generic", namespace = {_quoted(namespace)}, arch = "x86_64" }},
  # {{ kind = "iso", type = "generic", namespace = {_quoted(namespace)} }},
  # {{ kind = "vm", type = "generic", namespace = {_quoted(namespace)} }},
]
'''


def _quoted(text: str) -> str:
    """A basic string of TOML, for names that the CLI has already held to plain ASCII."""
    return f'"{text}"'


def _spelled(moment: datetime) -> str:
    return moment.replace(microsecond=0).isoformat().replace("+00:00", "Z")
