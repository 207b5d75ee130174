"""Detached signatures of files: drafted for the HSM, sealed with what it returns, verified.

There is one layout, Signstar's: version 4, binary document (0x00), SHA-512; hashed subpackets creation time, issuer key id,
issuer fingerprint, the notation `data-digest@archlinux.org`, then further notations; nothing unhashed. What is verified is
drafted again from its own values and compared, so a signature has one form and no byte that means nothing.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from attestor.core.errors import Malformed, Rejected, TooLarge
from attestor.core.hashstate import Hasher
from attestor.openpgp.certificate import Certificate, issuer_subpackets
from attestor.openpgp.numbers import read_raw, verifies
from attestor.openpgp.reading import SignatureFields, read_notation, read_packets, read_signature, read_time
from attestor.openpgp.vendor import HashAlgorithm, NotationDataFlags, SignatureType
from attestor.openpgp.writing import PUBLIC_KEY_ALGORITHM, UnsignedPacket, whole_seconds, write_signature

DATA_DIGEST: Final = "data-digest@archlinux.org"
MAX_SIGNATURE: Final = 16 * 1024 - 1  # repo-add refuses what is larger than 16384 bytes
MAX_NOTATIONS: Final = 8
MAX_NOTATION_VALUE: Final = 1024

_NOTATION_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}@[a-z0-9][a-z0-9.-]{0,127}")
_CREATED, _ISSUER, _NOTATION, _FINGERPRINT = 2, 16, 20, 33


@dataclass(frozen=True, slots=True)
class Notation:
    """A statement within the signature that people read (RFC 4880, 5.2.3.16): `name@domain` and printable ASCII.

    :raises Rejected: anything else, or the name of the notation that every signature has.
    """

    name: str
    value: str

    def __post_init__(self) -> None:
        if not _NOTATION_NAME.fullmatch(self.name) or self.name == DATA_DIGEST:
            raise Rejected("notation-invalid", "A notation's name is name@domain in lower case, and not data-digest's.")
        # PGPy writes the length in characters, so bytes and characters must be the same.
        if not 0 < len(self.value) <= MAX_NOTATION_VALUE or not (self.value.isascii() and self.value.isprintable()):
            raise Rejected(
                "notation-invalid", f"A notation's value is 1 to {MAX_NOTATION_VALUE} printable ASCII characters."
            )


@dataclass(frozen=True, slots=True)
class SignatureDraft:
    """A signature of one file, fixed for good but for the HSM's numbers; the same inputs give the same draft."""

    certificate: Certificate
    created: datetime
    file_sha512: bytes
    notations: tuple[Notation, ...]
    _unsigned: UnsignedPacket

    def digest(self, hasher: Hasher) -> bytes:
        """The 64 bytes for the HSM: SHA-512 of the file and the trailer. `hasher` has had the file, and is left as it was.

        :raises Rejected: the file is not the one that the draft was made for.
        """
        if hasher.digest() != self.file_sha512:
            raise Rejected("signature-digest", "The file's SHA-512 is not the one that the signature states.")
        whole = hasher.copy()
        whole.update(self._unsigned.trailer)
        return whole.digest()

    def seal(self, raw_signature: bytes, hasher: Hasher) -> bytes:
        """The binary signature packet, verified, with the signature as the HSM returned it for :meth:`digest`.

        :raises Malformed: the signature does not have the form that this key type's has.
        :raises Rejected: the signature does not verify, or the file is another.
        """
        return self.packet(read_raw(raw_signature, self.certificate.public_key), hasher)

    def packet(self, numbers: tuple[int, ...], hasher: Hasher) -> bytes:
        """The same from OpenPGP's numbers."""
        digest = self.digest(hasher)
        if not verifies(self.certificate.public_key, numbers, digest):
            raise Rejected("signature-invalid", "The signature does not verify with the certificate's key.")
        return self._unsigned.packet(digest, numbers)


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """What a verified signature says; made only by :func:`verify_signature`."""

    created: datetime
    issuer: str
    """The certificate's fingerprint."""
    notations: tuple[Notation, ...]
    """Those besides `data-digest@archlinux.org`."""
    file_sha512: bytes


def draft_signature(
    certificate: Certificate, *, created: datetime, file_sha512: bytes, notations: tuple[Notation, ...] = ()
) -> SignatureDraft:
    """A signature by this certificate's key over the file with this SHA-512 (64 bytes).

    :raises Rejected: `created` is outside the key's life, or there are too many notations.
    """
    created = whole_seconds(created)
    if created < certificate.created or (certificate.expires is not None and created >= certificate.expires):
        raise Rejected(
            "signature-time", "The signature's creation time is before the key's creation or after its expiry."
        )
    if len(file_sha512) != 64:
        raise Rejected("signature-digest", "A file's SHA-512 has 64 bytes.")
    if len(notations) > MAX_NOTATIONS:
        raise Rejected("notation-invalid", f"A signature has at most {MAX_NOTATIONS} further notations.")
    subpackets: list[tuple[str, dict[str, Any]]] = [
        *issuer_subpackets(created, certificate.fingerprint),
        ("NotationData", {"name": DATA_DIGEST, "value": bytearray(file_sha512)}),
        *(("NotationData", _readable(each)) for each in notations),
    ]
    unsigned = write_signature(SignatureType.BinaryDocument, certificate.algorithm, subpackets)
    return SignatureDraft(certificate, created, file_sha512, notations, unsigned)


def verify_signature(certificate: Certificate, signature: bytes, hasher: Hasher) -> VerifiedSignature:
    """What `signature` says, once it is known to be this certificate's over the file that `hasher` has had.

    The validity is the signature's own: whether the key was to be used at that time is the policy's to say.

    :raises Malformed: not exactly one binary signature packet.
    :raises Rejected: another kind, layout, issuer or file, a time outside the key's life, or it does not verify.
    """
    if len(signature) > MAX_SIGNATURE:
        raise TooLarge("signature-too-large", f"A detached signature has at most {MAX_SIGNATURE} bytes.")
    fields = _only_signature(signature)
    _require_layout(fields)
    _require_issuer(fields, certificate)
    created, _, _, stated, *further = fields.hashed
    draft = draft_signature(
        certificate,
        created=read_time(created.body),
        file_sha512=read_notation(stated.body)[1],
        notations=tuple(_further(each.body) for each in further),
    )
    if draft.packet(fields.numbers, hasher) != signature:
        raise Rejected("signature-invalid", "The signature is not written in its one form: a byte in it was changed.")
    return VerifiedSignature(draft.created, certificate.fingerprint, draft.notations, draft.file_sha512)


def _readable(notation: Notation) -> dict[str, Any]:
    return {"flags": NotationDataFlags.HumanReadable, "name": notation.name, "value": notation.value}


def _further(body: bytes) -> Notation:
    name, value = read_notation(body)
    return Notation(name.decode("latin-1"), value.decode("latin-1"))


def _only_signature(raw: bytes) -> SignatureFields:
    packets = read_packets(raw)
    if [packet.tag for packet in packets] != [2]:
        raise Malformed(
            "openpgp-malformed", "A detached signature is exactly one signature packet with nothing after it."
        )
    return read_signature(packets[0].body)


def _require_layout(fields: SignatureFields) -> None:
    types = [each.type for each in fields.hashed]
    if fields.kind != SignatureType.BinaryDocument or fields.hash != HashAlgorithm.SHA512:
        raise Rejected(
            "signature-unsupported", "Only signatures of binary documents (0x00) with SHA-512 are supported."
        )
    if types[:4] != [_CREATED, _ISSUER, _FINGERPRINT, _NOTATION] or set(types[4:]) - {_NOTATION} or fields.unhashed:
        raise Rejected(
            "signature-unsupported",
            "The hashed subpackets are not creation time, issuer key id, issuer fingerprint and notations, or some are unhashed.",
        )


def _require_issuer(fields: SignatureFields, certificate: Certificate) -> None:
    fingerprint = bytes.fromhex(certificate.fingerprint)
    if (fields.hashed[1].body, fields.hashed[2].body) != (fingerprint[-8:], b"\x04" + fingerprint):
        raise Rejected("signature-issuer", f"The signature is not by the key {certificate.fingerprint}.")
    if fields.algorithm != PUBLIC_KEY_ALGORITHM[certificate.algorithm]:
        raise Rejected("signature-issuer", "The signature's algorithm is not that of the key.")
