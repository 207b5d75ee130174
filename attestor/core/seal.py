"""The signer's own Ed25519 key: what it seals was said by a signer, whoever carries it (P9).

It seals the signer's log entries and verification summaries, and never a release. Messages are DSSE's pre-authentication
encoding (protocol.md), so a seal under one payload type is none under another.
"""

from collections.abc import Iterable
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from attestor.core.envelope import pae
from attestor.core.errors import Malformed, Rejected
from attestor.core.keys import PublicKey, parse_public_key

ENTRY: Final = "application/vnd.attestor.entry+json"
"""The payload type of log entries."""


class Seal:
    """The private half. Made by :func:`parse_seal`."""

    __slots__ = ("_private", "public")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.public: Final[PublicKey] = parse_public_key(pem.decode("ascii"))

    def sign(self, payload_type: str, payload: bytes) -> bytes:
        """The 64 bytes of the signature over the payload's PAE."""
        return self._private.sign(pae(payload_type, payload))

    def __repr__(self) -> str:
        return f"Seal({self.public.fingerprint})"


class SealRing:
    """The public halves that a policy names, current and former."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[PublicKey]) -> None:
        self._keys: Final = {key.fingerprint: key for key in keys}

    def __contains__(self, fingerprint: object) -> bool:
        return fingerprint in self._keys

    def verify(self, fingerprint: str, signature: bytes, payload_type: str, payload: bytes) -> None:
        """Raise ``Rejected`` ``seal-unknown`` or ``seal-invalid`` unless this key sealed the payload."""
        key = self._keys.get(fingerprint)
        if key is None:
            raise Rejected("seal-unknown", f"The policy names no signer with the key {fingerprint}.")
        if not key.verify(signature, pae(payload_type, payload)):
            raise Rejected("seal-invalid", f"The seal named {fingerprint} is not over these bytes.")


def parse_seal(pem: str) -> Seal:
    """Read an unencrypted PKCS #8 PEM of an Ed25519 key. Raises ``Malformed`` ``not-a-seal``."""
    try:
        private = load_pem_private_key(pem.encode("ascii"), password=None)
    except (ValueError, TypeError):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise Malformed(
            "not-a-seal",
            "The signer's own key is one Ed25519 private key in PKCS #8 PEM: make it with attestor log keygen.",
        )
    return Seal(private)
