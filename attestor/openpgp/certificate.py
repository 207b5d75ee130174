"""A release key's OpenPGP certificate: one primary key that signs, one user id, one self-certification.

Subkeys, other people's certifications and secret parts are refused: a release key lives in the HSM and has one purpose.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from attestor.core.algorithm import Algorithm
from attestor.core.errors import Malformed, Rejected, TooLarge
from attestor.openpgp.keys import KeyPacket, PublicKey, key_from_pem, read_key
from attestor.openpgp.numbers import HASHES, read_raw, verifies
from attestor.openpgp.reading import SignatureFields, Subpacket, names_issuer, read_packets, read_signature, read_time
from attestor.openpgp.vendor import KeyFlags, SignatureType
from attestor.openpgp.writing import PUBLIC_KEY_ALGORITHM, UnsignedPacket, whole_seconds, write_packet, write_signature

MAX_CERTIFICATE: Final = 64 * 1024
MAX_USER_ID: Final = 255

_CERTIFICATIONS: Final = range(0x10, 0x14)
_CREATED, _KEY_EXPIRES, _ISSUER, _FLAGS, _FINGERPRINT = 2, 9, 16, 27, 33
# Preferences (11, 21, 22, 23, 24, 34, 39), notation, primary user id, policy URI and features change nothing for us.
_HARMLESS: Final = frozenset({11, 20, 21, 22, 23, 24, 25, 26, 30, 34, 39})
_UNDERSTOOD: Final = frozenset({_CREATED, _KEY_EXPIRES, _ISSUER, _FLAGS, _FINGERPRINT})


@dataclass(frozen=True, slots=True)
class Certificate:
    """A verified certificate; made only by :func:`parse_certificate`."""

    raw: bytes = field(repr=False)
    fingerprint: str
    """40 upper-case hex digits."""
    key_id: str
    """The fingerprint's last 16."""
    algorithm: Algorithm
    user_id: str
    created: datetime
    expires: datetime | None
    public_key: PublicKey = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class CertificateDraft:
    """A certificate for the HSM to sign. `digest` is the SHA-512 of RFC 4880, 5.2.4."""

    digest: bytes
    _key: KeyPacket
    _user_id: str
    _binding: UnsignedPacket

    def seal(self, raw_signature: bytes) -> bytes:
        """The binary certificate, verified, with the signature as the HSM returned it for `digest`.

        :raises Malformed: the signature does not have the form that this key type's has.
        :raises Rejected: the signature does not verify.
        """
        numbers = read_raw(raw_signature, self._key.key)
        named = write_packet(6, self._key.body) + write_packet(13, self._user_id.encode())
        return parse_certificate(named + self._binding.packet(self.digest, numbers)).raw


def draft_certificate(public_key_pem: str, algorithm: Algorithm, user_id: str, created: datetime) -> CertificateDraft:
    """The certificate of an HSM's key, flagged for signing: gpg refuses the signatures of keys without that flag.

    `created` is a part of the fingerprint, so the same time has to be given to make the same certificate again.
    """
    key = key_from_pem(public_key_pem, algorithm, whole_seconds(created))
    _require_user_id(user_id)
    binding = write_signature(
        SignatureType.Positive_Cert,
        algorithm,
        [*issuer_subpackets(key.created, key.fingerprint), ("KeyFlags", {"flags": {KeyFlags.Sign}})],
    )
    return CertificateDraft(_digest(key, user_id, binding.trailer, 10), key, user_id, binding)


def parse_certificate(raw: bytes) -> Certificate:
    """The certificate in these binary bytes, its self-certification verified.

    Every byte counts: the unhashed subpackets, which nothing signs, may only repeat the issuer.

    :raises Malformed: not binary OpenPGP (armored text is not accepted), or not in canonical form.
    :raises Rejected: not exactly one signing key with one verified user id, or a weak or unsupported key.
    """
    if len(raw) > MAX_CERTIFICATE:
        raise TooLarge("certificate-too-large", f"A release key's certificate has at most {MAX_CERTIFICATE} bytes.")
    key_body, user_id_body, binding_body = _three_bodies(raw)
    key, user_id, binding = read_key(key_body), _read_user_id(user_id_body), read_signature(binding_body)
    _require_binding(key, binding)
    trailer = UnsignedPacket(binding.signed).trailer
    digest = _digest(key, user_id, trailer, binding.hash)
    if binding.left16 != digest[:2] or not verifies(key.key, binding.numbers, digest):
        raise Rejected("certificate-invalid", "The certificate's self-certification does not verify.")
    return Certificate(
        raw=raw,
        fingerprint=key.fingerprint,
        key_id=key.fingerprint[-16:],
        algorithm=key.algorithm,
        user_id=user_id,
        created=key.created,
        expires=_expiry(key, binding),
        public_key=key.key,
    )


def issuer_subpackets(created: datetime, fingerprint: str) -> list[tuple[str, dict[str, object]]]:
    """Creation time, issuer key id and issuer fingerprint: how each signature of ours begins, in Signstar's order."""
    return [
        ("CreationTime", {"created": created}),
        ("Issuer", {"issuer": bytearray.fromhex(fingerprint[-16:])}),
        ("IssuerFingerprint", {"issuer_fingerprint": fingerprint}),
    ]


def _three_bodies(raw: bytes) -> tuple[bytes, bytes, bytes]:
    packets = read_packets(raw)
    tags = [packet.tag for packet in packets]
    if 5 in tags or 7 in tags:
        raise Rejected(
            "certificate-secret", "This holds a secret key. A release key is made in the HSM and never leaves it."
        )
    if tags != [6, 13, 2]:
        raise Rejected(
            "certificate-unsupported",
            "A release key's certificate is one primary key, one user id and its self-certification, and nothing else.",
        )
    key, user_id, binding = packets
    return key.body, user_id.body, binding.body


def _read_user_id(octets: bytes) -> str:
    try:
        user_id = octets.decode()
    except UnicodeDecodeError as error:
        raise Malformed("openpgp-malformed", "The user id is not UTF-8.") from error
    _require_user_id(user_id)
    return user_id


def _require_user_id(user_id: str) -> None:
    if not user_id.isprintable() or not 0 < len(user_id.encode()) <= MAX_USER_ID:
        raise Rejected("certificate-user-id", f"A user id is 1 to {MAX_USER_ID} bytes of printable UTF-8.")


def _require_binding(key: KeyPacket, binding: SignatureFields) -> None:
    if (
        binding.kind not in _CERTIFICATIONS
        or binding.algorithm != PUBLIC_KEY_ALGORITHM[key.algorithm]
        or binding.hash not in HASHES
    ):
        raise Rejected(
            "certificate-unsupported", "The user id's signature is no certification with SHA-256, 384 or 512."
        )
    _require_subpackets(binding)
    if not names_issuer((*binding.hashed, *binding.unhashed), key.fingerprint):
        raise Rejected("certificate-invalid", "The user id's signature does not name the key itself as its issuer.")
    created = _single(binding.hashed, _CREATED)
    if created is None or read_time(created) < key.created:
        raise Rejected("certificate-invalid", "The self-certification has no creation time, or is older than its key.")
    if not (_single(binding.hashed, _FLAGS) or b"\0")[0] & KeyFlags.Sign:
        raise Rejected(
            "certificate-not-signing", "The key is not flagged for signing (0x02): gpg would refuse all it signs."
        )


def _require_subpackets(binding: SignatureFields) -> None:
    for each in binding.hashed:
        if each.type not in _UNDERSTOOD | _HARMLESS or (each.critical and each.type == 20):
            raise Rejected("certificate-unsupported", f"The self-certification has a subpacket of type {each.type}.")
    if any(each.critical or each.type not in {_ISSUER, _FINGERPRINT} for each in binding.unhashed):
        raise Rejected(
            "certificate-unsupported", "The unhashed subpackets of the self-certification hold more than the issuer."
        )


def _single(subpackets: tuple[Subpacket, ...], type_: int) -> bytes | None:
    bodies = [each.body for each in subpackets if each.type == type_]
    if len(bodies) > 1:
        raise Rejected(
            "certificate-unsupported", f"The self-certification has {len(bodies)} subpackets of type {type_}."
        )
    return bodies[0] if bodies else None


def _expiry(key: KeyPacket, binding: SignatureFields) -> datetime | None:
    """RFC 4880, 5.2.3.6: seconds after the key's creation, zero for never."""
    octets = _single(binding.hashed, _KEY_EXPIRES) or bytes(4)
    seconds = int(read_time(octets).timestamp())
    return key.created + timedelta(seconds=seconds) if seconds else None


def _digest(key: KeyPacket, user_id: str, trailer: bytes, hash_id: int) -> bytes:
    """RFC 4880, 5.2.4: the key, the user id with a length of four octets, the trailer."""
    text = user_id.encode()
    return HASHES[hash_id](key.hashed + b"\xb4" + len(text).to_bytes(4, "big") + text + trailer).digest()
