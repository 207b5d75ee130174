"""Approvers' detached OpenPGP signatures, as their own gpg makes them, under the certificate that the policy pins.

RFC 4880, 5.2. PGPy's own ``verify`` is not asked: version 0.6.0 was seen to say yes to gpg's signatures with SHA-1, in text
mode, past their own expiry, with a critical notation, to the first of two, and all that under a revoked, expired key.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from attestor.core.errors import Malformed, Rejected, TooLarge
from attestor.openpgp.armor import ARMORED, read_armor
from attestor.openpgp.numbers import HASHES
from attestor.openpgp.personal import (
    CLOCKS_DIFFER,
    BoundKey,
    PersonalCertificate,
    after,
    read_personal,
    verifies_over,
)
from attestor.openpgp.reading import SignatureFields, names_issuer, read_packets, read_signature, read_time, single
from attestor.openpgp.vendor import SignatureType

MAX_SIGNATURE: Final = 16 * 1024

_CREATED, _LAPSES, _ISSUER, _FINGERPRINT = 2, 3, 16, 33
_UNDERSTOOD: Final = frozenset({_CREATED, _LAPSES, _ISSUER, _FINGERPRINT})
_ISSUERS: Final = frozenset({_ISSUER, _FINGERPRINT})


@dataclass(frozen=True, slots=True)
class OpenPgpApprover:
    """An approver's certificate; made only by :meth:`read`."""

    certificate: PersonalCertificate

    @classmethod
    def read(cls, armored: str, fingerprint: str) -> Self:
        """Read an armored certificate whose primary key has this fingerprint (40 upper-case hex digits).

        :raises Rejected: ``approver-key-invalid``: unreadable, another key, a secret one or several, revoked, weak, of an
            unsupported type, or nothing in it may sign. Whether it has expired is a question of time (:meth:`verify`).
        """
        try:
            certificate = read_personal(read_armor(armored.strip().encode(), "PUBLIC KEY BLOCK"))
        except Rejected as error:
            raise Rejected(
                "approver-key-invalid", f"The approver's certificate cannot be used. {error.sentence}"
            ) from error
        found = certificate.primary.packet.fingerprint
        if found != fingerprint:
            raise Rejected("approver-key-invalid", f"The certificate's primary key is {found}, not {fingerprint}.")
        if not any(binding.signs for key in certificate.keys for binding in key.bindings):
            raise Rejected(
                "approver-key-invalid",
                f"Nothing in the certificate {found} may sign: no signing key that is bound to it.",
            )
        return cls(certificate)

    def verify(self, signature: bytes, signed: bytes, at: datetime) -> None:
        """Return when *signature*, armored or binary, is this approver's of these bytes; what was signed is not looked at.

        :raises Malformed: ``approval-malformed``: not exactly one signature packet of version 4. :raises TooLarge: its size.
        :raises Rejected: ``approval-signature``: by another key, of other bytes or another kind, or not valid at *at* (aware).
        """
        if len(signature) > MAX_SIGNATURE:
            raise TooLarge("approval-too-large", f"A signature has at most {MAX_SIGNATURE} bytes.")
        try:
            self._judge(_read(signature), signed, at)
        except Malformed as error:
            raise Malformed(
                "approval-malformed",
                f"This is not one detached OpenPGP signature, as gpg --detach-sign makes it. {error.sentence}",
            ) from error

    def _judge(self, fields: SignatureFields, signed: bytes, at: datetime) -> None:
        _require_form(fields)
        key = self._issuer(fields)
        if not verifies_over(key.packet, fields, signed):
            raise _refused("it is not of these bytes, or was changed")
        _require_understood(fields)
        _require_time(fields, key, at)
        self._require_standing(key, at)

    def _issuer(self, fields: SignatureFields) -> BoundKey:
        named = (*fields.hashed, *fields.unhashed)
        for key in self.certificate.keys:
            if names_issuer(named, key.packet.fingerprint):
                return key
        raise _refused(
            f"it is not by {self.certificate.primary.packet.fingerprint}, nor by a subkey of it that the policy's copy has"
        )

    def _require_standing(self, key: BoundKey, at: datetime) -> None:
        for each in (self.certificate.primary, key):
            if refusal := each.refusal_at(at):
                raise _refused(
                    f"the key {each.packet.fingerprint} {refusal}; if it was renewed, renew the policy's copy"
                )
        if not key.signs_at(at):
            raise _refused(f"the key {key.packet.fingerprint} may not sign, or has not agreed to be a subkey")


def _read(signature: bytes) -> SignatureFields:
    armored = signature.startswith(ARMORED)
    packets = read_packets(read_armor(signature, "SIGNATURE") if armored else signature)
    if [packet.tag for packet in packets] != [2]:
        raise Malformed("openpgp-malformed", "It is not exactly one signature packet.")
    return read_signature(packets[0].body)


def _require_form(fields: SignatureFields) -> None:
    if fields.kind != SignatureType.BinaryDocument:
        raise _refused(f"it is of type 0x{fields.kind:02X} and not of a binary document; sign with gpg --detach-sign")
    if fields.hash not in HASHES:
        raise _refused("its hash is none of SHA-256, SHA-384 and SHA-512; sign with --digest-algo SHA512")
    if any(each.critical or each.type not in _ISSUERS for each in fields.unhashed):
        raise _refused("its unhashed subpackets, which nobody signs, hold more than the issuer")


def _require_understood(fields: SignatureFields) -> None:
    for each in fields.hashed:
        if each.critical and each.type not in _UNDERSTOOD:
            raise _refused(f"a subpacket of type {each.type} is critical, and is not understood here")


def _require_time(fields: SignatureFields, key: BoundKey, at: datetime) -> None:
    stated = single(fields.hashed, _CREATED)
    if stated is None:
        raise _refused("it does not say when it was made")
    created = read_time(stated)
    lapses = after(created, single(fields.hashed, _LAPSES))
    if created > at + CLOCKS_DIFFER:
        raise _refused(f"it was made at {created:%Y-%m-%d %H:%M:%S} UTC, which is in the future; set the clock right")
    if created < key.packet.created:
        raise _refused("it is older than its key")
    if lapses is not None and lapses <= at:
        raise _refused(f"it was valid until {lapses:%Y-%m-%d %H:%M:%S} UTC")


def _refused(why: str) -> Rejected:
    return Rejected("approval-signature", f"The OpenPGP signature does not count: {why}.")
