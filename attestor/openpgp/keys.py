"""A release key's public half: as the HSM exports it (PEM), and as a version 4 public key packet."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, SECP521R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from attestor.core.algorithm import Algorithm
from attestor.core.errors import Malformed, Rejected, TooLarge
from attestor.openpgp.reading import read_time
from attestor.openpgp.vendor import MPI, ECPoint, ECPointFormat, EllipticCurveOID, Packet, PubKeyV4
from attestor.openpgp.writing import PUBLIC_KEY_ALGORITHM, write_packet

PublicKey = Ed25519PublicKey | RSAPublicKey | EllipticCurvePublicKey

MAX_PEM: Final = 16 * 1024
MAX_BODY: Final = 2048  # an RSA key of 8192 bits has 1035
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192  # the most that a NetHSM makes; longer ones only cost the verifier time
MIN_RSA_EXPONENT: Final = 65537  # FIPS 186-5, A.1.1

_UNSUPPORTED: Final = "The key is no OpenPGP version 4 key of type Ed25519, RSA, P-256, P-384 or P-521."
_CURVES: Final = {SECP256R1: Algorithm.P256, SECP384R1: Algorithm.P384, SECP521R1: Algorithm.P521}
_OIDS: Final = {
    Algorithm.ED25519: EllipticCurveOID.Ed25519,
    Algorithm.P256: EllipticCurveOID.NIST_P256,
    Algorithm.P384: EllipticCurveOID.NIST_P384,
    Algorithm.P521: EllipticCurveOID.NIST_P521,
}


@dataclass(frozen=True, slots=True)
class KeyPacket:
    """A public key packet: its body, and what it says."""

    body: bytes
    created: datetime
    algorithm: Algorithm
    key: PublicKey

    @property
    def hashed(self) -> bytes:
        """The key as digests over it start (RFC 4880, 5.2.4 and 12.2)."""
        return b"\x99" + len(self.body).to_bytes(2, "big") + self.body

    @property
    def fingerprint(self) -> str:
        """40 upper-case hex digits (RFC 4880, 12.2)."""
        return hashlib.sha1(self.hashed, usedforsecurity=False).hexdigest().upper()


def key_from_pem(pem: str, algorithm: Algorithm, created: datetime) -> KeyPacket:
    """The packet of the key that an HSM exports, with its creation time in whole seconds of UTC.

    :raises Malformed: not a public key in PEM.
    :raises Rejected: the key is weak, of an unsupported type, or not of this algorithm.
    """
    if len(pem) > MAX_PEM:
        raise TooLarge("key-too-large", f"A public key in PEM has at most {MAX_PEM} bytes.")
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("key-malformed", "The public key is not a PEM that OpenSSL can read.") from error
    found, supported = _supported(key)
    if found is not algorithm:
        raise Rejected("key-mismatch", f"The public key is of type {found}, not {algorithm}.")
    return KeyPacket(_write(supported, algorithm, created), created, algorithm, supported)


def read_key(body: bytes) -> KeyPacket:
    """The key that a version 4 public key packet's body holds.

    :raises Malformed: unreadable, or not in the one form in which such a key is written.
    :raises Rejected: the key is weak or of an unsupported type.
    """
    if not 6 < len(body) <= MAX_BODY or body[0] != 4 or body[5] not in PUBLIC_KEY_ALGORITHM.values():
        raise Rejected("key-unsupported", _UNSUPPORTED)
    algorithm, key = _supported(_read_material(body))
    created = read_time(body[1:5])
    if _write(key, algorithm, created) != body:
        raise Malformed("openpgp-malformed", "The public key packet is not written in its one canonical form.")
    return KeyPacket(body, created, algorithm, key)


def _read_material(body: bytes) -> object:
    try:
        return Packet(bytearray(write_packet(6, body))).keymaterial.__pubkey__()
    except Exception as error:  # PGPy lets out whatever it trips over: IndexError, AttributeError, pyasn1's own
        raise Malformed(
            "openpgp-malformed", "The public key cannot be read: of a curve that is not supported here, or damaged."
        ) from error


def _supported(key: object) -> tuple[Algorithm, PublicKey]:
    """:raises Rejected: weak or unsupported."""
    if isinstance(key, Ed25519PublicKey):
        return Algorithm.ED25519, key
    if isinstance(key, EllipticCurvePublicKey) and type(key.curve) in _CURVES:
        return _CURVES[type(key.curve)], key
    if not isinstance(key, RSAPublicKey):
        raise Rejected("key-unsupported", _UNSUPPORTED)
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS or key.public_numbers().e < MIN_RSA_EXPONENT:
        raise Rejected("key-weak", f"An RSA key has {MIN_RSA_BITS} to {MAX_RSA_BITS} bits and an exponent from 65537.")
    return Algorithm.RSA, key


def _write(key: PublicKey, algorithm: Algorithm, created: datetime) -> bytes:
    packet = PubKeyV4()
    packet.created = created
    packet.pkalg = PUBLIC_KEY_ALGORITHM[algorithm]
    material = packet.keymaterial
    if isinstance(key, RSAPublicKey):
        numbers = key.public_numbers()
        material.n, material.e = MPI(numbers.n), MPI(numbers.e)
    else:
        material.oid, material.p = _OIDS[algorithm], _point(key)
    packet.update_hlen()
    return bytes(packet)[len(packet.header) :]


def _point(key: Ed25519PublicKey | EllipticCurvePublicKey) -> Any:
    if isinstance(key, Ed25519PublicKey):
        return ECPoint.from_values(256, ECPointFormat.Native, key.public_bytes_raw())
    numbers = key.public_numbers()
    return ECPoint.from_values(key.key_size, ECPointFormat.Standard, numbers.x, numbers.y)
