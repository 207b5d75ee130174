"""Public keys that sign attestations, compared as key material and never by name.

Ed25519, ECDSA P-256 with SHA-256, ECDSA P-384 with SHA-384. A key is its canonical DER SubjectPublicKeyInfo (RFC 5480,
RFC 8410): two spellings of one key are one key. Key ids are hints only, under which a signature may name a key.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    SECP384R1,
    EllipticCurve,
    EllipticCurvePublicKey,
    EllipticCurveSignatureAlgorithm,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from attestor.core.errors import Malformed, Rejected
from attestor.core.strictjson import decode_base64

MAX_KEYS: Final = 240
"""Keys in one ring: with one search among all of them an envelope stays within the tries that `envelope.verify` allows."""
MAX_PEM_CHARACTERS: Final = 4096

Algorithm = Literal["ed25519", "ecdsa-p256", "ecdsa-p384"]

_ED25519 = bytes.fromhex("302a300506032b6570032100")
# rebuilderd publishes an explicit NULL parameter, which RFC 8410 §3 forbids and OpenSSL refuses; it is read, never written.
_ED25519_WITH_NULL = bytes.fromhex("302c300706032b65700500032100")
_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
_P384 = bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004")

_PEM = re.compile(
    r"[ \t\r\n]*-----BEGIN PUBLIC KEY-----\r?\n"
    r"((?:[A-Za-z0-9+/=]{1,76}\r?\n)+)"
    r"-----END PUBLIC KEY-----[ \t\r\n]*",
    re.ASCII,
)

_PRIME: Final = 2**255 - 19
_EDWARDS_D: Final = -121665 * pow(121666, -1, _PRIME) % _PRIME
_ORDER_8_Y: Final = int.from_bytes(
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"
)
# The y coordinates of all points whose order divides 8; under such a key one signature fits many messages.
_SMALL_ORDER_Y: Final = frozenset({0, 1, _PRIME - 1, _ORDER_8_Y, _PRIME - _ORDER_8_Y})


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One public key; equality and hash are those of the key material. Made by :func:`parse_public_key`."""

    algorithm: Algorithm = field(compare=False)
    spki: bytes
    """Canonical DER SubjectPublicKeyInfo."""
    fingerprint: str = field(compare=False)
    """Lower-case hex SHA-256 of ``spki``."""
    hints: frozenset[str] = field(compare=False, repr=False)
    """Key ids under which a signature may name this key: the fingerprint, and for Ed25519 in-toto's key id."""
    _native: Ed25519PublicKey | EllipticCurvePublicKey = field(compare=False, repr=False)

    def fits(self, signature: bytes) -> bool:
        """Say by length alone whether ``signature`` could be of this algorithm; costs no cryptography."""
        if self.algorithm == "ed25519":
            return len(signature) == 64
        # DER of two integers that fit the curve: at most 8 bytes around them.
        return 8 <= len(signature) <= 2 * _ECDSA[self.algorithm].size + 8

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Say whether ``signature`` is this key's over ``message``; anything malformed is ``False``.

        Ed25519 (RFC 8032): 64 bytes. ECDSA: DER, or r and s at full length one after the other.
        """
        if not self.fits(signature):
            return False
        if isinstance(self._native, Ed25519PublicKey):
            try:
                self._native.verify(signature, message)
            except InvalidSignature:
                return False
            return True
        curve = _ECDSA[self.algorithm]
        return any(_ecdsa_verifies(self._native, der, message, curve.hash) for der in _der_forms(signature, curve.size))


@dataclass(frozen=True, slots=True)
class _Curve:
    size: int
    """Bytes of one coordinate."""
    prefix: bytes
    """DER in front of the uncompressed point's coordinates, up to and including its 0x04."""
    curve: EllipticCurve
    hash: EllipticCurveSignatureAlgorithm


_ECDSA: Final[dict[Algorithm, _Curve]] = {
    "ecdsa-p256": _Curve(32, _P256, SECP256R1(), ECDSA(SHA256())),
    "ecdsa-p384": _Curve(48, _P384, SECP384R1(), ECDSA(SHA384())),
}


class KeyRing:
    """The keys that may sign, found by hint; at most ``MAX_KEYS``, each once however often it is given.

    Raises ``Rejected`` ``too-many-keys``.
    """

    def __init__(self, keys: Iterable[PublicKey]) -> None:
        self._keys: Final = tuple(dict.fromkeys(keys))
        if len(self._keys) > MAX_KEYS:
            raise Rejected(
                "too-many-keys", f"There are {len(self._keys)} keys; remove old ones, {MAX_KEYS} are the limit."
            )
        self._by_hint: Final = {hint: key for key in self._keys for hint in key.hints}

    def __iter__(self) -> Iterator[PublicKey]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def hinted(self, keyid: str) -> PublicKey | None:
        """The key that ``keyid`` points at, if any; it proves nothing."""
        return self._by_hint.get(keyid)


def parse_public_key(text: str) -> PublicKey:
    """Read one PEM SubjectPublicKeyInfo (RFC 7468 §13), with LF or CRLF, nothing before or after but white space.

    Raises ``Malformed`` ``not-a-public-key``; ``Rejected``: ``private-key``, ``several-keys``, ``unsupported-key``,
    ``weak-key`` (an Ed25519 point of small order, not canonical, or not on the curve).
    """
    if "PRIVATE KEY" in text:
        raise Rejected("private-key", "This is a private key; keep it secret and give the public key instead.")
    if text.count("-----BEGIN") > 1:
        raise Rejected("several-keys", "The text holds several PEM blocks; give one public key.")
    found = _PEM.fullmatch(text) if len(text) <= MAX_PEM_CHARACTERS else None
    if found is None:
        raise _not_a_key()
    try:
        return _from_spki(decode_base64("".join(found[1].split())))
    except Malformed:
        raise _not_a_key() from None


def _from_spki(der: bytes) -> PublicKey:
    for prefix in (_ED25519, _ED25519_WITH_NULL):
        if der.startswith(prefix):
            return ed25519_key(der.removeprefix(prefix))
    for algorithm, curve in _ECDSA.items():
        if der.startswith(curve.prefix):
            return _ecdsa(algorithm, curve, der)
    raise Rejected(
        "unsupported-key",
        "The key is none of Ed25519, ECDSA P-256 and ECDSA P-384 (uncompressed point); make one of those.",
    )


def ed25519_key(point: bytes) -> PublicKey:
    """Make a key of a point's 32 bytes (RFC 8032 §5.1.2); raises ``Malformed`` ``not-a-public-key``, ``Rejected`` ``weak-key``."""
    if len(point) != 32:
        raise _not_a_key()
    _refuse_weak_point(point)
    spki = _ED25519 + point
    fingerprint = hashlib.sha256(spki).hexdigest()
    hints = frozenset({fingerprint, _in_toto_keyid(point)})
    return PublicKey("ed25519", spki, fingerprint, hints, Ed25519PublicKey.from_public_bytes(point))


def _ecdsa(algorithm: Algorithm, curve: _Curve, spki: bytes) -> PublicKey:
    try:
        native = EllipticCurvePublicKey.from_encoded_point(curve.curve, b"\x04" + spki.removeprefix(curve.prefix))
    except ValueError:
        raise _not_a_key() from None
    fingerprint = hashlib.sha256(spki).hexdigest()
    return PublicKey(algorithm, spki, fingerprint, frozenset({fingerprint}), native)


def _in_toto_keyid(point: bytes) -> str:
    """The key id of in-toto-rs and securesystemslib: SHA-256 of the key as canonical JSON."""
    form = (
        '{"keyid_hash_algorithms":["sha256","sha512"],"keytype":"ed25519",'
        f'"keyval":{{"public":"{point.hex()}"}},"scheme":"ed25519"}}'
    )
    return hashlib.sha256(form.encode("ascii")).hexdigest()


def _refuse_weak_point(point: bytes) -> None:
    y = int.from_bytes(point, "little") & (2**255 - 1)
    if y >= _PRIME or y in _SMALL_ORDER_Y or not _on_curve(y):
        raise Rejected("weak-key", "The Ed25519 key is no sound point of the curve; make a new key.")


def _on_curve(y: int) -> bool:
    # RFC 8032 §5.1.3: x² = u/v must have a root; u·v has one exactly when u/v has (Euler's criterion).
    u, v = y * y - 1, _EDWARDS_D * y * y + 1
    return pow(u * v, (_PRIME - 1) // 2, _PRIME) == 1


def _der_forms(signature: bytes, size: int) -> Iterator[bytes]:
    # A DER signature can have the length of a raw one (P-256: about 1 in 2^48), so both readings are tried.
    if len(signature) == 2 * size:
        yield encode_dss_signature(int.from_bytes(signature[:size]), int.from_bytes(signature[size:]))
    yield signature


def _ecdsa_verifies(
    key: EllipticCurvePublicKey, der: bytes, message: bytes, algorithm: EllipticCurveSignatureAlgorithm
) -> bool:
    try:
        key.verify(der, message, algorithm)
    except InvalidSignature:
        return False
    return True


def _not_a_key() -> Malformed:
    return Malformed("not-a-public-key", "The text is not exactly one PEM block of a well-formed public key.")
