"""DSSE v1.0.2 envelopes, and the one way from signed bytes to verified ones.

An envelope is transport. What counts is the payload's exact signed bytes and the key material that signed them:
:func:`verify` alone makes a :class:`Verified`, and only a ``Verified`` can be decoded into a statement.

Unknown members of an envelope and of a signature are ignored, as DSSE's envelope.md demands of consumers: nothing outside
the signed bytes is ever a claim, and other people's tools add such members (certificates, timestamps).
"""

import base64
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Final, TypeVar

import msgspec

from attestor.core import strictjson
from attestor.core.errors import Forbidden, Malformed, TooLarge
from attestor.core.keys import KeyRing, PublicKey

MAX_ENVELOPE_BYTES: Final = 256 * 1024
MAX_SIGNATURES: Final = 16
MAX_TRIES: Final = 256
"""Signature verifications per envelope. A rightly hinted signature takes one and an unknown signer one per key of the ring
(`keys.MAX_KEYS`), so 15 operators beside one unpublished worker always fit; what needs more is refused, not left unchecked."""
MAX_DEPTH: Final = 32

IN_TOTO: Final = "application/vnd.in-toto+json"
WITHDRAWAL: Final = "application/vnd.attestor.withdrawal+json"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature as it was sent; ``keyid`` is an unauthenticated hint and may be empty."""

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True)
class Signed:
    """Bytes that claim to be signed; nothing in them may be believed yet."""

    payload_type: str | None
    """The type under which the payload is signed; ``None`` for a legacy link, which has none."""
    payload: bytes
    signatures: tuple[Signature, ...]
    signed_bytes: bytes
    """Exactly what the signatures cover."""
    payload_digest: bytes = field(init=False)
    """The SHA-256 of ``signed_bytes`` (32 bytes): the identity of what was said, whatever it was wrapped in."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "payload_digest", hashlib.sha256(self.signed_bytes).digest())


class Envelope(Signed):
    """A DSSE envelope; its signed bytes are the PAE."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Verified:
    """A payload and the keys whose signatures over it verified, at least one. Made only by :func:`verify`."""

    payload_type: str | None
    payload: bytes
    payload_digest: bytes
    keys: frozenset[PublicKey]


class _Signature(msgspec.Struct):
    sig: str
    keyid: str = ""


class _Envelope(msgspec.Struct, rename="camel"):
    payload: str
    payload_type: str
    signatures: Annotated[list[_Signature], msgspec.Meta(min_length=1, max_length=MAX_SIGNATURES)]


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding (protocol.md): what a signature covers. Lengths count bytes."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def parse_envelope(raw: bytes) -> Envelope:
    """Read a DSSE envelope; both base64 alphabets, canonical only; 1 to 16 signatures.

    Raises ``TooLarge`` ``envelope-too-large``; ``Malformed``: those of :mod:`attestor.core.strictjson`, ``not-an-envelope``.
    """
    refuse_oversized(raw)
    return envelope_of(strictjson.decode(raw, limit_depth=MAX_DEPTH))


def envelope_of(document: object) -> Envelope:
    """The envelope in an already decoded document; as :func:`parse_envelope`."""
    read = read_form(document, _Envelope, "not-an-envelope")
    payload = strictjson.decode_base64(read.payload)
    signatures = tuple(Signature(one.keyid, strictjson.decode_base64(one.sig)) for one in read.signatures)
    return Envelope(read.payload_type, payload, signatures, pae(read.payload_type, payload))


def encode_envelope(payload_type: str, payload: bytes, signatures: Iterable[Signature]) -> bytes:
    """Wrap a payload and the signatures over its :func:`pae` as a DSSE envelope, standard base64."""
    document = {
        "payloadType": payload_type,
        "payload": base64.b64encode(payload).decode("ascii"),
        "signatures": [{"keyid": one.keyid, "sig": base64.b64encode(one.sig).decode("ascii")} for one in signatures],
    }
    return msgspec.json.encode(document)


def refuse_oversized(raw: bytes) -> None:
    """Raise ``TooLarge`` ``envelope-too-large`` before anything is read."""
    if len(raw) > MAX_ENVELOPE_BYTES:
        raise TooLarge(
            "envelope-too-large", f"The attestation has {len(raw)} bytes; {MAX_ENVELOPE_BYTES} are the limit."
        )


def read_form(document: object, form: type[_T], code: str) -> _T:
    """Convert a decoded document into a form, or raise ``Malformed`` with ``code``."""
    try:
        return msgspec.convert(document, form)
    except msgspec.ValidationError as error:
        # The text may quote what a stranger sent: bounded, and with no character that a terminal would act on.
        raise Malformed(code, f"The document has another form than expected: {str(error)[:200]!a}.") from None


def verify(signed: Signed, known: KeyRing) -> Verified:
    """Check every signature and return the permit to decode, with the set of keys that really signed.

    A key id only says where to look first. A signature that names a known key and verifies under none is refused; one that
    names no known key is an unknown signer's and ignored; at least one must verify. One key counts once, however many
    signatures it made and under whatever names.

    Raises ``Forbidden``: ``signature-invalid``, ``unknown-key``, ``too-many-candidates`` (more than ``MAX_TRIES``).
    """
    tries = iter(range(MAX_TRIES))
    signers: set[PublicKey] = set()
    for signature in signed.signatures:
        hinted = known.hinted(signature.keyid)
        signer = _signer(signature.sig, signed.signed_bytes, _candidates(hinted, known), tries)
        if signer is not None:
            signers.add(signer)
        elif hinted is not None:
            raise Forbidden("signature-invalid", f"The signature named {hinted.fingerprint} is not over these bytes.")
    if not signers:
        raise Forbidden(
            "unknown-key", "No signature is by a key that the policy knows; ask the operator to add the key."
        )
    return Verified(signed.payload_type, signed.payload, signed.payload_digest, frozenset(signers))


def _candidates(hinted: PublicKey | None, known: KeyRing) -> Iterator[PublicKey]:
    if hinted is None:
        return iter(known)
    return itertools.chain((hinted,), (key for key in known if key is not hinted))


def _signer(sig: bytes, message: bytes, candidates: Iterator[PublicKey], tries: Iterator[int]) -> PublicKey | None:
    for key in candidates:
        if not key.fits(sig):
            continue
        if next(tries, None) is None:
            raise Forbidden(
                "too-many-candidates", f"Finding the signers takes more than {MAX_TRIES} tries; send right key ids."
            )
        if key.verify(sig, message):
            return key
    return None
