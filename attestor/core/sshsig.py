"""SSH signatures as ``ssh-keygen -Y sign`` makes them (OpenSSH PROTOCOL.sshsig, version 1), and the keys behind them.

Ed25519, ECDSA P-256, P-384 and P-521, RSA with SHA-2, and the two key types of FIDO tokens (OpenSSH PROTOCOL.u2f). Own code,
because the library ``sshsig`` (0.3.1) knows Ed25519 and RSA only, and lets text around the armor, trailing bytes and any
hash pass. A signature has one form here: nothing that is not signed can be changed in it, but for its line breaks.
"""

import base64
import hashlib
import re
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from attestor.core.errors import AttestorError, Malformed, Rejected, TooLarge
from attestor.core.keys import ed25519_key
from attestor.core.strictjson import decode_base64, encode_base64

MAX_LINE: Final = 4096
MAX_SIGNATURE: Final = 16 * 1024
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
MIN_RSA_EXPONENT: Final = 65537  # FIPS 186-5, A.1.1

NativeKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey

_PLAIN: Final = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
_OF_TOKENS: Final = {
    "sk-ssh-ed25519@openssh.com": "ssh-ed25519",
    "sk-ecdsa-sha2-nistp256@openssh.com": "ecdsa-sha2-nistp256",
}
_ECDSA_HASHES: Final[dict[int, HashAlgorithm]] = {256: SHA256(), 384: SHA384(), 521: SHA512()}  # RFC 5656, 6.2.1
_RSA_HASHES: Final[dict[str, HashAlgorithm]] = {"rsa-sha2-256": SHA256(), "rsa-sha2-512": SHA512()}  # RFC 8332
_MESSAGE_HASHES: Final = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_MAGIC: Final = b"SSHSIG"
_USER_PRESENT: Final = 0x01

_ARMOR: Final = re.compile(
    rb"-----BEGIN SSH SIGNATURE-----\r?\n((?:[A-Za-z0-9+/=]{1,128}\r?\n)+)-----END SSH SIGNATURE-----(?:\r?\n)?"
)


@dataclass(frozen=True, slots=True)
class SshKey:
    """A sound public key; made only by :func:`read_ssh_key`. Equality is that of the key's bytes."""

    kind: str = field(compare=False)
    """As its line begins: ``ssh-ed25519``."""
    blob: bytes = field(repr=False)
    """The key in SSH's encoding (RFC 4253 §6.6), which is what the line holds in base64."""
    fingerprint: str = field(compare=False)
    """As ``ssh-keygen -l`` prints it: ``SHA256:`` and base64 without padding."""
    application: bytes | None = field(compare=False)
    """Of a FIDO token's key: what the token was told that the key is for."""
    _native: NativeKey = field(repr=False, compare=False)

    @property
    def algorithms(self) -> frozenset[str]:
        """The signature algorithms of this key that are taken; RSA with SHA-1 is none of them."""
        return frozenset(_RSA_HASHES if self.kind == "ssh-rsa" else {self.kind})

    def verifies(self, algorithm: str, signature: bytes, message: bytes) -> bool:
        """Whether *signature*, in SSH's encoding, is of this message; ``ValueError`` when it cannot be read at all."""
        try:
            match self._native:
                case Ed25519PublicKey() as key:
                    key.verify(signature, message)
                case EllipticCurvePublicKey() as key:
                    key.verify(_der(signature), message, ECDSA(_ECDSA_HASHES[key.key_size]))
                case key:
                    key.verify(signature, message, PKCS1v15(), _RSA_HASHES[algorithm])
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Signature:
    public_key: bytes
    namespace: bytes
    reserved: bytes
    hash: bytes
    algorithm: str
    signature: bytes
    of_token: bytes
    """The token's flags (one byte) and counter (four), or nothing."""


class _Cursor:
    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._raw):
            raise ValueError("a length in it is wrong")
        self._at += count
        return self._raw[self._at - count : self._at]

    def string(self) -> bytes:
        return self.take(int.from_bytes(self.take(4)))

    def strings(self) -> list[bytes]:
        found = []
        while self._at < len(self._raw):
            found.append(self.string())
        return found

    def end(self) -> None:
        if self._at < len(self._raw):
            raise ValueError("it has bytes after its end")


def read_ssh_key(line: str) -> SshKey:
    """Read one line as a ``.pub`` file has it: ``ssh-ed25519 AAAA... comment``, without options before it.

    Raises ``Rejected`` ``approver-key-invalid``: a private key, a certificate, another type, a weak key, a second line.
    """
    if "PRIVATE KEY" in line:
        raise _bad_key("this is a private key; keep it secret and give the line of the .pub file instead")
    parts = line.strip().split(maxsplit=2)
    if len(line) > MAX_LINE or len(line.strip().splitlines()) != 1 or len(parts) < 2:
        raise _bad_key(f"it is not one line of at most {MAX_LINE} characters, as a .pub file has it")
    kind, encoded = parts[:2]
    if kind not in _PLAIN and kind not in _OF_TOKENS:
        raise _bad_key(
            f"{kind[:64]!r} is none of {', '.join((*_PLAIN, *_OF_TOKENS))}; certificates and options are not taken"
        )
    try:
        return _read_blob(kind, decode_base64(encoded))
    except (AttestorError, ValueError, UnsupportedAlgorithm) as error:
        raise _bad_key(
            error.sentence if isinstance(error, AttestorError) else "its base64 holds no such key"
        ) from error


def verify_ssh(key: SshKey, armored: bytes, signed: bytes, namespace: str) -> None:
    """Return when *armored* is this key's signature of *signed* in this namespace; what was signed is not looked at.

    Raises ``Rejected`` ``approval-signature``; ``Malformed`` ``approval-malformed``; ``TooLarge`` ``approval-too-large``.
    """
    if len(armored) > MAX_SIGNATURE:
        raise TooLarge("approval-too-large", f"A signature has at most {MAX_SIGNATURE} bytes.")
    try:
        signature = _read_signature(armored)
        refusal = _refusal(key, signature, namespace)
        if refusal is None and not key.verifies(
            signature.algorithm, signature.signature, _message(key, signature, signed)
        ):
            refusal = "it is not of these bytes, or was changed"
    except (Malformed, ValueError) as error:
        raise Malformed(
            "approval-malformed", "This is not exactly one SSH signature, as ssh-keygen -Y sign prints it."
        ) from error
    if refusal is not None:
        raise Rejected("approval-signature", f"The SSH signature does not count: {refusal}.")


def _read_blob(kind: str, blob: bytes) -> SshKey:
    fields = _Cursor(blob).strings()
    if fields[:1] != [kind.encode()]:
        raise ValueError("the key is of another type than its line says")
    application = fields.pop() if kind in _OF_TOKENS else None
    if application is not None and not application.startswith(b"ssh:"):
        raise Rejected("approver-key-invalid", "the token's key was made for something else than SSH")
    plain = _OF_TOKENS.get(kind, kind)
    encoded = b"".join(map(_string, [plain.encode(), *fields[1:]]))
    native = _sound(load_ssh_public_key(f"{plain} {encode_base64(encoded)}".encode()))
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return SshKey(kind, blob, f"SHA256:{digest}", application, native)


def _sound(key: object) -> NativeKey:
    if isinstance(key, EllipticCurvePublicKey):
        return key
    if isinstance(key, Ed25519PublicKey):
        ed25519_key(key.public_bytes_raw())
        return key
    if isinstance(key, RSAPublicKey):
        if MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS and key.public_numbers().e >= MIN_RSA_EXPONENT:
            return key
        raise Rejected(
            "approver-key-invalid", f"an RSA key has {MIN_RSA_BITS} to {MAX_RSA_BITS} bits and an exponent from 65537"
        )
    raise ValueError("not a key of the type that its line says")


def _read_signature(armored: bytes) -> _Signature:
    found = _ARMOR.fullmatch(armored)
    if found is None:
        raise ValueError("not one armored signature")
    cursor = _Cursor(decode_base64(b"".join(found[1].split()).decode()))
    if cursor.take(10) != _MAGIC + b"\0\0\0\1":
        raise ValueError("not version 1")
    public_key, namespace, reserved, hash_, inner = (cursor.string() for _ in range(5))
    cursor.end()
    cursor = _Cursor(inner)
    algorithm, raw = cursor.string().decode("ascii"), cursor.string()
    of_token = cursor.take(5) if algorithm in _OF_TOKENS else b""
    cursor.end()
    return _Signature(public_key, namespace, reserved, hash_, algorithm, raw, of_token)


def _refusal(key: SshKey, signature: _Signature, namespace: str) -> str | None:
    wrong = {
        f"it is by another key than {key.fingerprint}, or by a certificate; sign with the key itself": (
            signature.public_key != key.blob
        ),
        f"its namespace is not {namespace}; sign with ssh-keygen -Y sign -n {namespace}": (
            signature.namespace != namespace.encode()
        ),
        "its reserved field, which nobody signs, is not empty": signature.reserved != b"",
        "its hash is neither sha256 nor sha512": signature.hash not in _MESSAGE_HASHES,
        f"it was not made with {' or '.join(sorted(key.algorithms))}": signature.algorithm not in key.algorithms,
        "the token was not touched for it (no user presence)": (
            signature.of_token != b"" and not signature.of_token[0] & _USER_PRESENT
        ),
    }
    return next((why for why, found in wrong.items() if found), None)


def _message(key: SshKey, signature: _Signature, signed: bytes) -> bytes:
    """What the key itself signed: PROTOCOL.sshsig §3, and within it PROTOCOL.u2f, "SSH U2F Signatures"."""
    digest = _MESSAGE_HASHES[signature.hash](signed).digest()
    message = _MAGIC + b"".join(map(_string, [signature.namespace, b"", signature.hash, digest]))
    if key.application is None:
        return message
    return hashlib.sha256(key.application).digest() + signature.of_token + hashlib.sha256(message).digest()


def _der(signature: bytes) -> bytes:
    """RFC 5656 §3.1.2: r and s as mpints (RFC 4251 §5), here positive and in their shortest form."""
    cursor = _Cursor(signature)
    numbers = cursor.string(), cursor.string()
    cursor.end()
    r, s = (int.from_bytes(each) for each in numbers)
    if any(each != number.to_bytes(number.bit_length() // 8 + 1) for each, number in zip(numbers, (r, s), strict=True)):
        raise ValueError("a number in it is not in its shortest form")
    return encode_dss_signature(r, s)


def _string(octets: bytes) -> bytes:
    return len(octets).to_bytes(4) + octets


def _bad_key(why: str) -> Rejected:
    return Rejected("approver-key-invalid", f"This is no SSH key that an approver can use: {why.rstrip('.')}.")
