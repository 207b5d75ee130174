"""``POST /keys/{KeyID}/sign``: what each mode takes and gives. A wrong mode or length is 400, never a signature over less."""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from attestor.emulator.errors import StatusError
from attestor.emulator.keys import PSS_HASHES, PrivateKey

_MECHANISM_OF_MODE = {
    "PKCS1": "RSA_Signature_PKCS1",
    "EdDSA": "EdDSA_Signature",
    "ECDSA": "ECDSA_Signature",
    **{f"PSS_{name}": f"RSA_Signature_PSS_{name}" for name in PSS_HASHES},
}
# MD5 and SHA-1 are modes of the device; whoever uses them chose so there.
_PSS: dict[str, hashes.HashAlgorithm] = {
    "PSS_MD5": hashes.MD5(),  # noqa: S303 - a mode of the device
    "PSS_SHA1": hashes.SHA1(),  # noqa: S303 - a mode of the device
    "PSS_SHA224": hashes.SHA224(),
    "PSS_SHA256": hashes.SHA256(),
    "PSS_SHA384": hashes.SHA384(),
    "PSS_SHA512": hashes.SHA512(),
}
_ECDSA: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


def mechanism_of(mode: str) -> str:
    """The mechanism that a key must carry for this mode; 400 for a mode that the API does not know."""
    if mode not in _MECHANISM_OF_MODE:
        raise StatusError(400, f"Invalid data for JSON schema: sign mode {mode!r} is not known here.")
    return _MECHANISM_OF_MODE[mode]


def sign(key: PrivateKey, mode: str, message: bytes) -> bytes:
    """The signature as the device encodes it: big endian RSA integer, r || s for EdDSA, DER for ECDSA.

    PKCS1 pads exactly the message given (type 1, RFC 8017 section 9.2 without DigestInfo), as every version but 3.0 does.
    PSS and ECDSA take a digest of exactly their hash's length. ECDSA draws a random k: no two results are equal.
    """
    try:
        match key:
            case rsa.RSAPrivateKey() if mode == "PKCS1":
                return key.sign(message, padding.PKCS1v15(), utils.NoDigestInfo())
            case rsa.RSAPrivateKey() if mode in _PSS:
                return _sign_pss(key, _PSS[mode], message)
            case ed25519.Ed25519PrivateKey() if mode == "EdDSA":
                return key.sign(message)
            case ec.EllipticCurvePrivateKey() if mode == "ECDSA":
                return key.sign(message, ec.ECDSA(utils.Prehashed(_ECDSA[key.curve.name])))
            case _:
                raise StatusError(400, "invalid sign mode")
    except ValueError:
        raise StatusError(400, _refusal(mode)) from None


def _sign_pss(key: rsa.RSAPrivateKey, algorithm: hashes.HashAlgorithm, digest: bytes) -> bytes:
    scheme = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
    return key.sign(digest, scheme, utils.Prehashed(algorithm))


def _refusal(mode: str) -> str:
    return "Signing failure: RSA key too short." if mode == "PKCS1" else "digested data of invalid size"
