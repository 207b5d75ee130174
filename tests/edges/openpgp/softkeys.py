"""Keys in software behind the contract of a NetHSM, and OpenPGP packets written by hand, without the code under test."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestor.core.algorithm import Algorithm
from attestor.openpgp.certificate import Certificate, draft_certificate, parse_certificate

BORN = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
USER_ID = "Attestor packages <packages@example.org>"
PUBLIC_KEY_ALGORITHM = {"ed25519": 22, "rsa": 1, "p256": 19, "p384": 19, "p521": 19}
MAKERS = {
    "ed25519": (Algorithm.ED25519, ed25519.Ed25519PrivateKey.generate),
    "rsa2048": (Algorithm.RSA, lambda: rsa.generate_private_key(65537, 2048)),
    "rsa3072": (Algorithm.RSA, lambda: rsa.generate_private_key(65537, 3072)),
    "p256": (Algorithm.P256, lambda: ec.generate_private_key(ec.SECP256R1())),
    "p384": (Algorithm.P384, lambda: ec.generate_private_key(ec.SECP384R1())),
    "p521": (Algorithm.P521, lambda: ec.generate_private_key(ec.SECP521R1())),
}


@dataclass(frozen=True)
class SoftDevice:
    """One key. `sign` takes a SHA-512 digest and answers as the device does for that key type."""

    algorithm: Algorithm
    key: object

    @property
    def pem(self):
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, digest):
        match self.algorithm:
            case Algorithm.ED25519:
                return self.key.sign(digest)
            case Algorithm.RSA:
                return self.key.sign(digest, padding.PKCS1v15(), Prehashed(SHA512()))
            case Algorithm.P256:
                return self.key.sign(digest[:32], ec.ECDSA(Prehashed(SHA256())))
            case Algorithm.P384:
                return self.key.sign(digest[:48], ec.ECDSA(Prehashed(SHA384())))
            case Algorithm.P521:
                return self.key.sign(digest, ec.ECDSA(Prehashed(SHA512())))


@dataclass(frozen=True)
class ReleaseKey:
    device: SoftDevice
    raw: bytes
    certificate: Certificate


@cache
def release_key(name):
    algorithm, make = MAKERS[name]
    device = SoftDevice(algorithm, make())
    draft = draft_certificate(device.pem, algorithm, USER_ID, BORN)
    raw = draft.seal(device.sign(draft.digest))
    return ReleaseKey(device, raw, parse_certificate(raw))


def frame(tag, body):
    return bytes([0xC0 | tag, 255]) + len(body).to_bytes(4, "big") + body


def subpacket(type_, body):
    return bytes([255]) + (len(body) + 1).to_bytes(4, "big") + bytes([type_]) + body


def notation(name, value, flags=0):
    head = bytes([flags, 0, 0, 0]) + len(name).to_bytes(2, "big") + len(value).to_bytes(2, "big")
    return subpacket(20, head + name + value)


def mpi(number):
    return number.bit_length().to_bytes(2, "big") + number.to_bytes((number.bit_length() + 7) // 8, "big")


def signed_packet(device, data, kind, hashed, *, unhashed=b"", hash_name="sha512", hash_id=10):
    """A signature packet over `data` by RFC 4880, 5.2.3 and 5.2.4, with any subpackets."""
    start = bytes([4, kind, PUBLIC_KEY_ALGORITHM[device.algorithm], hash_id])
    start += len(hashed).to_bytes(2, "big") + hashed
    digest = hashlib.new(hash_name, data + start + b"\x04\xff" + len(start).to_bytes(4, "big")).digest()
    raw = device.key.sign(digest) if device.algorithm is Algorithm.ED25519 else device.sign(digest)
    match device.algorithm:
        case Algorithm.ED25519:
            numbers = [int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")]
        case Algorithm.RSA:
            numbers = [int.from_bytes(raw, "big")]
        case _:
            numbers = decode_dss_signature(raw)
    tail = len(unhashed).to_bytes(2, "big") + unhashed + digest[:2] + b"".join(map(mpi, numbers))
    return frame(2, start + tail)


def flips(raw, *, every_bit):
    """`raw` with one bit changed: each bit once, or in each byte another one (which keeps slow key types quick)."""
    for at in range(len(raw)):
        for bit in range(8) if every_bit else (at % 8,):
            yield (at, bit), raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]
