"""Key pairs: made, read, described. Algorithms and encodings are those of ``KeyType``, ``KeyPrivateData`` and ``KeyPublicData``."""

import base64
import binascii

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from attestor.emulator.errors import StatusError

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

PSS_HASHES = ("MD5", "SHA1", "SHA224", "SHA256", "SHA384", "SHA512")
_CURVES: dict[str, ec.EllipticCurve] = {"EC_P256": ec.SECP256R1(), "EC_P384": ec.SECP384R1(), "EC_P521": ec.SECP521R1()}
_RSA_MECHANISMS = frozenset(
    {"RSA_Signature_PKCS1", "RSA_Decryption_RAW", "RSA_Decryption_PKCS1"}
    | {f"RSA_{use}_{name}" for use in ("Signature_PSS", "Decryption_OAEP") for name in PSS_HASHES}
)
_MECHANISMS: dict[str, frozenset[str]] = {
    "RSA": _RSA_MECHANISMS,
    "Curve25519": frozenset({"EdDSA_Signature"}),
    **dict.fromkeys(_CURVES, frozenset({"ECDSA_Signature"})),
}


def check_mechanisms(key_type: str, mechanisms: list[str]) -> None:
    """400 for a key type that is not emulated, no mechanism at all, or one that does not belong to the type."""
    if key_type not in _MECHANISMS:
        raise StatusError(
            400, f"Keys of type {key_type!r} are not part of this emulator; it has {', '.join(_MECHANISMS)}."
        )
    if not mechanisms:
        raise StatusError(400, "Empty set of mechanisms")
    if not _MECHANISMS[key_type].issuperset(mechanisms):
        raise StatusError(400, "Mechanism does not match key type")


def generate(key_type: str, length: int) -> PrivateKey:
    """A new key; ``length`` in bits counts for RSA only. Slow for RSA: call it in a thread."""
    if key_type == "RSA":
        if not 1024 <= length <= 8192:
            raise StatusError(400, "RSA key length must be between 1024 and 8192.")
        return rsa.generate_private_key(65537, length)
    if key_type == "Curve25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(_CURVES[key_type])


def from_numbers(key_type: str, private: dict[str, str]) -> PrivateKey:
    """A key from the base64 members of ``KeyPrivateData``, else 400.

    RSA: primeP, primeQ, publicExponent, big endian. EC: data, the scalar, big endian. Curve25519: data, the RFC 8032 seed.
    """
    wanted = {"primeP", "primeQ", "publicExponent"} if key_type == "RSA" else {"data"}
    if set(private) != wanted:
        raise StatusError(400, f"A private key of type {key_type} has exactly the members {', '.join(sorted(wanted))}.")
    raw = {name: decode_base64(value, name) for name, value in private.items()}
    try:
        if key_type == "RSA":
            return _rsa(*(int.from_bytes(raw[name]) for name in ("primeP", "primeQ", "publicExponent")))
        if key_type == "Curve25519":
            return ed25519.Ed25519PrivateKey.from_private_bytes(raw["data"])
        return _elliptic(_CURVES[key_type], raw["data"])
    except ValueError:
        raise StatusError(400, f"These numbers are no private key of type {key_type}.") from None


def _rsa(p: int, q: int, e: int) -> rsa.RSAPrivateKey:
    d = pow(e, -1, (p - 1) * (q - 1))
    crt = (rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    return rsa.RSAPrivateNumbers(p, q, d, *crt, rsa.RSAPublicNumbers(e, p * q)).private_key()


def _elliptic(curve: ec.EllipticCurve, scalar: bytes) -> ec.EllipticCurvePrivateKey:
    if len(scalar) != (curve.key_size + 7) // 8:
        raise ValueError("wrong length")
    return ec.derive_private_key(int.from_bytes(scalar), curve)


def from_pem(text: bytes) -> PrivateKey:
    """A key from an unencrypted PEM, else 400."""
    try:
        key = serialization.load_pem_private_key(text, None)
    except (ValueError, TypeError) as error:
        raise StatusError(400, "The PEM does not hold an unencrypted private key.") from error
    if not isinstance(key, PrivateKey):
        raise StatusError(400, "The PEM holds a key of a type that is not part of this emulator.")
    type_of(key)
    return key


def type_of(key: PrivateKey) -> str:
    """The ``KeyType`` of a key; 400 for a curve that is not emulated."""
    if isinstance(key, rsa.RSAPrivateKey):
        return "RSA"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "Curve25519"
    for name, curve in _CURVES.items():
        if curve.name == key.curve.name:
            return name
    raise StatusError(400, "The key is on a curve that is not part of this emulator.")


def to_der(key: PrivateKey) -> bytes:
    """PKCS #8, as it is kept in the state folder."""
    encoding, form = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())


def from_der(der: bytes) -> PrivateKey:
    """What :func:`to_der` made; ValueError if it is anything else."""
    key = serialization.load_der_private_key(der, None)
    if not isinstance(key, PrivateKey):
        raise ValueError("not a key that this emulator makes")  # noqa: TRY004 - the caller treats it as one kind of damage
    return key


def public_pem(key: PrivateKey) -> bytes:
    """SubjectPublicKeyInfo in PEM."""
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(encoding, form)


def public_numbers(key: PrivateKey) -> dict[str, str]:
    """``KeyPublicData``: modulus and exponent, the uncompressed point, or the RFC 8032 public key; base64."""
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {"modulus": _encode_integer(numbers.n), "publicExponent": _encode_integer(numbers.e)}
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return {"data": encode_base64(key.public_key().public_bytes_raw())}
    encoding, form = serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    return {"data": encode_base64(key.public_key().public_bytes(encoding, form))}


def _encode_integer(number: int) -> str:
    return encode_base64(number.to_bytes((number.bit_length() + 7) // 8))


def encode_base64(raw: bytes) -> str:
    """RFC 4648 section 4."""
    return base64.b64encode(raw).decode()


def decode_base64(text: str, member: str) -> bytes:
    """The bytes, else 400; line feeds are ignored, as the device ignores them."""
    try:
        return base64.b64decode(text.replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        raise StatusError(400, f"Couldn't decode {member} from base64.") from None
