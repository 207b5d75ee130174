"""Release keys as a NetHSM knows them: who signs with which, and how each algorithm is asked."""

import re
from dataclasses import dataclass
from typing import Final

from nethsm import KeyMechanism, KeyType, SignMode

from attestor.core.algorithm import Algorithm
from attestor.core.errors import Rejected
from attestor.core.secret import Secret

DIGEST_SIZE: Final = 64
"""Bytes of SHA-512, the only hash that release keys sign."""

_ID: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}", re.ASCII)
_SHA512_INFO: Final = bytes.fromhex("3051300d060960864801650304020305000440")  # RFC 8017, 9.2, note 1


@dataclass(frozen=True, slots=True)
class Asking:
    """How one algorithm is asked of the device (schemas ``KeyType``, ``KeyMechanism``, ``SignMode``)."""

    key_type: KeyType
    mechanism: KeyMechanism
    mode: SignMode


_ECDSA: Final = (KeyMechanism.ECDSA_SIGNATURE, SignMode.ECDSA)
ASKING: Final = {
    Algorithm.ED25519: Asking(KeyType.CURVE25519, KeyMechanism.EDDSA_SIGNATURE, SignMode.EDDSA),
    Algorithm.RSA: Asking(KeyType.RSA, KeyMechanism.RSA_SIGNATURE_PKCS1, SignMode.PKCS1),
    Algorithm.P256: Asking(KeyType.EC_P256, *_ECDSA),
    Algorithm.P384: Asking(KeyType.EC_P384, *_ECDSA),
    Algorithm.P521: Asking(KeyType.EC_P521, *_ECDSA),
}
# The device refuses any other length, although its description says "at most".
_LEFTMOST: Final = {Algorithm.P256: 32, Algorithm.P384: 48, Algorithm.P521: 64}


def message_of(algorithm: Algorithm, digest: bytes) -> bytes:
    """What the device is sent for a SHA-512 digest: all of it, its DigestInfo (RSA), or its leftmost bytes (ECDSA).

    :raises Rejected: not 64 bytes.
    """
    if len(digest) != DIGEST_SIZE:
        raise Rejected("hsm-digest", f"A digest to sign has {DIGEST_SIZE} bytes (SHA-512), not {len(digest)}.")
    if algorithm is Algorithm.RSA:
        return _SHA512_INFO + digest
    return digest[: _LEFTMOST.get(algorithm, DIGEST_SIZE)]


def place_of(namespace: str, key_id: str) -> str:
    """One key of the device, by which its uses are counted; the namespace is empty outside of all."""
    return f"{namespace}/{key_id}"


def require_id(text: str, what: str) -> None:
    """Refuse what the device takes for no ID of a key, user, namespace or tag (schema ``ID``)."""
    if not _ID.fullmatch(text):
        raise Rejected(
            "hsm-name",
            f"The {what} must have 1 to 128 letters, digits, '_', '.' or '-', and begin with none of the last.",
        )


def require_user(text: str) -> None:
    """Refuse what is no user of the device: ``namespace~name`` or ``name`` (schema ``UserID``)."""
    for part in text.split("~", 1):
        require_id(part, "user's name")


@dataclass(frozen=True, slots=True)
class Login:
    """A user of the device with its passphrase."""

    user: str
    """``namespace~name``, or ``name`` outside of all namespaces."""
    passphrase: Secret

    def __post_init__(self) -> None:
        require_user(self.user)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A release key in the device and the one Operator who may sign with it.

    :raises Rejected: a name that the device cannot have.
    """

    name: str
    """As policy and log lines name it."""
    key_id: str
    user: str
    passphrase: Secret
    algorithm: Algorithm

    def __post_init__(self) -> None:
        require_id(self.key_id, f"key ID of {self.name!r}")
        require_user(self.user)

    @property
    def login(self) -> Login:
        """The Operator."""
        return Login(self.user, self.passphrase)

    @property
    def place(self) -> str:
        """Where its uses are counted, whoever uses it."""
        namespace, _, _ = self.user.rpartition("~")
        return place_of(namespace, self.key_id)
