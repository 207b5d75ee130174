"""Passphrases are kept only as salted digests, by the same two functions as the device (reference: its access and crypto code).

A user's is one HMAC-SHA256, because every request carries it; the unlock passphrase, asked once per start, is scrypt.
"""

import hashlib
import hmac
import secrets

import msgspec

_SCRYPT = {"n": 2**14, "r": 8, "p": 1}


class Digest(msgspec.Struct, frozen=True):
    """What is stored of a passphrase."""

    salt: bytes
    digest: bytes

    def __repr__(self) -> str:
        return "Digest(...)"


def of_user(passphrase: str) -> Digest:
    """The digest to store for a user."""
    salt = secrets.token_bytes(16)
    return Digest(salt, hmac.digest(salt, passphrase.encode(), "sha256"))


def is_user(stored: Digest, passphrase: str) -> bool:
    """Whether this is the user's passphrase."""
    return hmac.compare_digest(stored.digest, hmac.digest(stored.salt, passphrase.encode(), "sha256"))


def of_unlock(passphrase: str) -> Digest:
    """The digest to store for unlocking."""
    salt = secrets.token_bytes(16)
    return Digest(salt, hashlib.scrypt(passphrase.encode(), salt=salt, **_SCRYPT))


def is_unlock(stored: Digest, passphrase: str) -> bool:
    """Whether this is the unlock passphrase; takes some 50 ms of CPU on purpose."""
    return hmac.compare_digest(stored.digest, hashlib.scrypt(passphrase.encode(), salt=stored.salt, **_SCRYPT))
