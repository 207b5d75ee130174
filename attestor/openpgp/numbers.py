"""The signature itself: from the form in which a NetHSM returns it to OpenPGP's numbers, and its verification.

Verification takes a digest, because the file is long gone: PGPy hashes whole messages, so `cryptography` verifies here.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm

from attestor.core.errors import Malformed
from attestor.openpgp.keys import PublicKey

HASHES: Final = {8: hashlib.sha256, 9: hashlib.sha384, 10: hashlib.sha512}
"""The hashes that are taken, by their ids (RFC 4880, 9.4)."""

_BY_SIZE: Final[dict[int, HashAlgorithm]] = {32: SHA256(), 48: SHA384(), 64: SHA512()}


def read_raw(raw: bytes, key: PublicKey) -> tuple[int, ...]:
    """OpenPGP's numbers in what a NetHSM returns: RSA m ** d, Ed25519 r || s, ECDSA DER SEQUENCE(r, s).

    :raises Malformed: not of that form; says nothing about its being valid.
    """
    if isinstance(key, RSAPublicKey):
        if len(raw) != (key.key_size + 7) // 8:
            raise Malformed("signature-malformed", "The RSA signature does not have the length of its modulus.")
        return (int.from_bytes(raw, "big"),)
    if isinstance(key, Ed25519PublicKey):
        if len(raw) != 64:
            raise Malformed("signature-malformed", "An Ed25519 signature has 64 bytes.")
        return (int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    try:
        return decode_dss_signature(raw)
    except ValueError as error:
        raise Malformed("signature-malformed", "The ECDSA signature is not a DER sequence of two integers.") from error


def verifies(key: PublicKey, numbers: Sequence[int], digest: bytes) -> bool:
    """Whether `numbers` are this key's signature of this SHA-256, SHA-384 or SHA-512 digest."""
    hashed_with = Prehashed(_BY_SIZE[len(digest)])
    try:
        if isinstance(key, RSAPublicKey):
            (number,) = numbers
            key.verify(number.to_bytes((key.key_size + 7) // 8, "big"), digest, PKCS1v15(), hashed_with)
        elif isinstance(key, Ed25519PublicKey):
            r, s = numbers
            # The digest is the message of PureEdDSA (draft-ietf-openpgp-rfc4880bis-10, 14.8).
            key.verify(r.to_bytes(32, "big") + s.to_bytes(32, "big"), digest)
        else:
            r, s = numbers
            # OpenSSL takes the digest's leftmost bits up to the group order's, as the HSM got them (FIPS 186-5, 6.4.2).
            key.verify(encode_dss_signature(r, s), digest, ECDSA(hashed_with))
    except (InvalidSignature, ValueError, OverflowError):
        return False  # ValueError and OverflowError: not as many numbers, or larger ones, than the key can make
    return True
