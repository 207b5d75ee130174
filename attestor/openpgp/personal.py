"""A person's own OpenPGP certificate: a primary key, user ids, subkeys, and what the primary key says of each.

Such a certificate comes from a keyring, with other people's certifications, encryption keys and years of renewals in it.
Only what verifies with the primary key is believed, and of that only SHA-256, 384 and 512. The newest self-signature
decides (RFC 4880, 5.2.3.3). A revocation counts without being verified, whatever its date: it can only take away.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from attestor.core.errors import Malformed, Rejected
from attestor.core.keys import ed25519_key
from attestor.openpgp.keys import KeyPacket, read_key
from attestor.openpgp.numbers import HASHES, verifies
from attestor.openpgp.reading import RawPacket, SignatureFields, read_packets, read_signature, read_time, single
from attestor.openpgp.vendor import KeyFlags
from attestor.openpgp.writing import PUBLIC_KEY_ALGORITHM, UnsignedPacket

MAX_CERTIFICATE: Final = 64 * 1024
CLOCKS_DIFFER: Final = timedelta(minutes=5)
"""How far in the future a signature of somebody else's clock may be."""

_SIGNATURE, _PRIMARY, _USER_ID, _SUBKEY, _USER_ATTRIBUTE = 2, 6, 13, 14, 17
_PARTS: Final = frozenset({_USER_ID, _SUBKEY, _USER_ATTRIBUTE})
_SECRET: Final = frozenset({5, 7})
_CERTIFICATIONS: Final = frozenset(range(0x10, 0x14))
_BINDING, _BACK, _DIRECT, _KEY_REVOKED, _SUBKEY_REVOKED, _UNCERTIFIED = 0x18, 0x19, 0x1F, 0x20, 0x28, 0x30
_CREATED, _LAPSES, _KEY_EXPIRES, _FLAGS, _EMBEDDED = 2, 3, 9, 27, 32
# Exportable, revocable, preferences, revoker (whoever it is, a revocation counts), issuer, primary user id, features: these
# change nothing of when and what for a key may be used.
_HARMLESS: Final = frozenset({4, 7, 11, 12, 16, 21, 22, 23, 24, 25, 26, 28, 30, 33, 34, 39})
_UNDERSTOOD: Final = frozenset({_CREATED, _LAPSES, _KEY_EXPIRES, _FLAGS, _EMBEDDED}) | _HARMLESS

_Group = tuple[RawPacket, list[bytes]]
"""A key or user id, and the bodies of the signatures that follow it."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One verified self-signature: what the primary key says of a key, and until when."""

    created: datetime
    lapses: datetime | None
    """Its own expiry."""
    key_expires: datetime | None
    signs: bool
    """Whether the key may sign; of a subkey only when it agreed (RFC 4880, 5.2.1: type 0x19)."""


@dataclass(frozen=True, slots=True)
class BoundKey:
    """A key with all that was ever said of it, in no order."""

    packet: KeyPacket
    bindings: tuple[Binding, ...]

    def refusal_at(self, moment: datetime) -> str | None:
        """Why the key does not stand at *moment*; ``None`` when it does."""
        newest = self._newest(moment)
        if not newest or self.packet.created > moment + CLOCKS_DIFFER:
            return "is not bound yet"
        ends = [end for each in newest for end in (each.lapses, each.key_expires) if end is not None]
        return "has expired" if ends and min(ends) <= moment else None

    def signs_at(self, moment: datetime) -> bool:
        """Whether the newest self-signatures (several of one second must agree) let the key sign."""
        newest = self._newest(moment)
        return bool(newest) and all(each.signs for each in newest)

    def _newest(self, moment: datetime) -> list[Binding]:
        known = [each for each in self.bindings if each.created <= moment + CLOCKS_DIFFER]
        newest = max((each.created for each in known), default=None)
        return [each for each in known if each.created == newest]


@dataclass(frozen=True, slots=True)
class PersonalCertificate:
    """A primary key and the subkeys that can be used here; made only by :func:`read_personal`."""

    primary: BoundKey
    subkeys: tuple[BoundKey, ...]

    @property
    def keys(self) -> tuple[BoundKey, ...]:
        """The primary key, then the subkeys."""
        return (self.primary, *self.subkeys)


def read_personal(raw: bytes) -> PersonalCertificate:
    """The certificate in these binary bytes, with every self-signature verified.

    :raises Rejected: unreadable, secret, several, revoked, weak or unsupported, or not self-signed.
    """
    if len(raw) > MAX_CERTIFICATE:
        raise Rejected(
            "approver-key-invalid",
            f"The certificate has more than {MAX_CERTIFICATE} bytes; export it with --export-options export-minimal.",
        )
    (head, direct), *rest = _groups(read_packets(raw))
    key = _sound(read_key(head.body))
    bindings = (*_direct(key, direct), *(each for group in rest for each in _of_user_id(key, group)))
    if not bindings:
        raise Rejected(
            "approver-key-invalid", "The key has no self-signature with SHA-256, SHA-384 or SHA-512; renew it."
        )
    return PersonalCertificate(BoundKey(key, bindings), tuple(_subkeys(key, rest)))


def _groups(packets: list[RawPacket]) -> list[_Group]:
    groups: list[_Group] = []
    for packet in packets:
        if packet.tag in _SECRET:
            raise Rejected(
                "approver-key-invalid", "This holds a secret key; keep it, and give gpg --export --armor instead."
            )
        if packet.tag == _SIGNATURE and groups:
            groups[-1][1].append(packet.body)
        elif packet.tag in (_PARTS if groups else {_PRIMARY}):
            groups.append((packet, []))
        else:
            raise Rejected("approver-key-invalid", "This is not exactly one certificate, as gpg --export writes it.")
    if not groups:
        raise Malformed("openpgp-malformed", "There is no certificate in this.")
    _refuse_revoked(groups)
    return groups


def _refuse_revoked(groups: list[_Group]) -> None:
    for packet, signatures in groups:
        kinds = {_kind(each) for each in signatures}
        if _KEY_REVOKED in kinds or (_SUBKEY_REVOKED in kinds and packet.tag != _SUBKEY):
            raise Rejected("approver-key-invalid", "The certificate holds a revocation of its key.")


def _kind(body: bytes) -> int:
    """A signature's type, of versions that are not read otherwise too (RFC 4880, 5.2.2: it comes third in version 3)."""
    at = 2 if body[:1] <= b"\x03" else 1
    return body[at] if len(body) > at else -1


def _sound(key: KeyPacket) -> KeyPacket:
    if isinstance(key.key, Ed25519PublicKey):
        ed25519_key(key.key.public_bytes_raw())
    return key


def _direct(key: KeyPacket, signatures: list[bytes]) -> Iterator[Binding]:
    for fields in _by(key, signatures, {_DIRECT}, key.hashed):
        # gpg names a designated revoker in one that says nothing else of the key.
        if single(fields.hashed, _FLAGS) is not None:
            yield _binding(key, fields, signs=True)


def _of_user_id(key: KeyPacket, group: _Group) -> Iterator[Binding]:
    packet, signatures = group
    if packet.tag != _USER_ID:
        return
    named = key.hashed + b"\xb4" + len(packet.body).to_bytes(4, "big") + packet.body
    taken_back = max((_created(each) for each in _by(key, signatures, {_UNCERTIFIED}, named)), default=None)
    for fields in _by(key, signatures, _CERTIFICATIONS, named):
        if taken_back is None or _created(fields) > taken_back:
            yield _binding(key, fields, signs=True)


def _subkeys(primary: KeyPacket, groups: list[_Group]) -> Iterator[BoundKey]:
    for packet, signatures in groups:
        if packet.tag != _SUBKEY or _SUBKEY_REVOKED in map(_kind, signatures):
            continue
        try:
            key = _sound(read_key(packet.body))
        except Rejected:
            continue  # for encryption, or too weak to sign with
        both = primary.hashed + key.hashed
        own = [
            _binding(key, each, signs=_agreed(key, each, both)) for each in _by(primary, signatures, {_BINDING}, both)
        ]
        yield BoundKey(key, tuple(own))


def _agreed(subkey: KeyPacket, binding: SignatureFields, both: bytes) -> bool:
    """Whether the subkey itself signed the binding: else anybody could take another's signing key for their own."""
    embedded = [each.body for each in (*binding.hashed, *binding.unhashed) if each.type == _EMBEDDED]
    # One that lapses is not written by anybody, and would be one more time to watch.
    return any(single(each.hashed, _LAPSES) is None for each in _by(subkey, embedded, {_BACK}, both))


def _by(key: KeyPacket, signatures: Iterable[bytes], kinds: Iterable[int], signed: bytes) -> Iterator[SignatureFields]:
    """Those of these kinds that verify with *key* over *signed*; all others are somebody else's, or weak."""
    for body in signatures:
        if _kind(body) not in kinds:
            continue
        try:
            fields = read_signature(body)
        except Malformed:
            continue
        if verifies_over(key, fields, signed):
            _refuse_unknown(fields)
            yield fields


def verifies_over(key: KeyPacket, fields: SignatureFields, signed: bytes) -> bool:
    """Whether this is *key*'s signature of these bytes, with SHA-256, SHA-384 or SHA-512."""
    if fields.algorithm != PUBLIC_KEY_ALGORITHM[key.algorithm] or fields.hash not in HASHES:
        return False
    digest = HASHES[fields.hash](signed + UnsignedPacket(fields.signed).trailer).digest()
    return fields.left16 == digest[:2] and verifies(key.key, fields.numbers, digest)


def _refuse_unknown(fields: SignatureFields) -> None:
    for each in fields.hashed:
        if each.critical and each.type not in _UNDERSTOOD:
            raise Rejected(
                "approver-key-invalid", f"A self-signature has a critical subpacket of the unknown type {each.type}."
            )


def _binding(key: KeyPacket, fields: SignatureFields, *, signs: bool) -> Binding:
    flags = single(fields.hashed, _FLAGS) or b"\0"
    created = _created(fields)
    return Binding(
        created,
        lapses=after(created, single(fields.hashed, _LAPSES)),
        key_expires=after(key.created, single(fields.hashed, _KEY_EXPIRES)),
        signs=signs and bool(flags[0] & KeyFlags.Sign),
    )


def _created(fields: SignatureFields) -> datetime:
    return read_time(single(fields.hashed, _CREATED) or b"")


def after(start: datetime, seconds: bytes | None) -> datetime | None:
    """RFC 4880, 5.2.3.6 and 5.2.3.10: seconds after *start*, four octets; zero or none for never."""
    count = int(read_time(seconds or bytes(4)).timestamp())
    return start + timedelta(seconds=count) if count else None
