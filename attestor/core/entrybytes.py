"""An entry's bytes: canonical JSON (RFC 8785) with the signer's seal, and the key that follows from them.

An entry's key (subject, kind, number) follows from its bytes, so that what comes back from an export has the key it had.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard
from uuid import UUID

import msgspec

from attestor.core import canonical, strictjson
from attestor.core.entries import (
    MAX_PAIRS,
    VERSION,
    CanaryEntry,
    DecisionEntry,
    Entry,
    EntrySeal,
    LateDissentEntry,
    PolicyEntry,
    Received,
    ReceivedVotes,
    RevocationEntry,
    Sealed,
    SignatureEntry,
    WithdrawalEntry,
)
from attestor.core.errors import Malformed, Rejected
from attestor.core.seal import ENTRY, Seal, SealRing

MAX_ENTRY: Final = 65535
"""Bytes: C2SP tlog-tiles gives an entry's length 16 bits."""
_DECODER: Final = msgspec.json.Decoder(Entry)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An entry on its way into the log, under the key that makes it unique there."""

    subject: UUID
    kind: str
    number: int
    entry: bytes


def encode_entry(entry: Entry) -> bytes:
    """The entry's bytes: RFC 8785, members that are absent left out."""
    if isinstance(entry, Received):
        # Every intake writes one, and it leaves no member out: no way round over built-in values.
        return canonical.encode(entry)
    return canonical.encode(_document(entry))


def is_signers(entry: Entry) -> TypeGuard[Sealed]:
    """Whether only a signer may say this; a refusal decides nothing."""
    return isinstance(entry, SignatureEntry | PolicyEntry | CanaryEntry) or (
        isinstance(entry, DecisionEntry) and entry.verdict == "sign"
    )


def seal_entry(entry: Sealed, seal: Seal) -> bytes:
    """The bytes of an entry with the signer's seal over everything else in it."""
    unsealed = encode_entry(msgspec.structs.replace(entry, seal=None))
    signature = strictjson.encode_base64(seal.sign(ENTRY, unsealed))
    return encode_entry(
        msgspec.structs.replace(entry, seal=EntrySeal(key=seal.public.fingerprint, signature=signature))
    )


def read_entry(raw: bytes) -> Entry:
    """Decode an entry: known members only, in canonical form, at most ``MAX_ENTRY`` bytes.

    Raises ``Malformed`` ``entry-malformed``. A seal is not verified here (:func:`verify_seal`).
    """
    if len(raw) > MAX_ENTRY:
        raise _malformed(f"has {len(raw)} bytes; {MAX_ENTRY} are the limit")
    entry: Entry = canonical.decode(raw, _DECODER, "entry-malformed", "log entry")
    canonical.refuse_other_spelling(raw, encode_entry(entry), "entry-malformed", "log entry")
    return entry


def verify_seal(entry: Sealed, ring: SealRing) -> None:
    """Raises ``Rejected`` ``seal-missing``, ``seal-unknown``, ``seal-invalid``."""
    if entry.seal is None:
        raise Rejected("seal-missing", "Only a signer may say this, and the entry carries no signer's seal.")
    unsealed = encode_entry(msgspec.structs.replace(entry, seal=None))
    ring.verify(entry.seal.key, strictjson.decode_base64(entry.seal.signature), ENTRY, unsealed)


def outgoing(raw: bytes) -> Outgoing:
    """The entry with the key that its bytes have. Raises ``Malformed`` ``entry-malformed``."""
    return _keyed(read_entry(raw), raw)


def outgoing_of(entry: Entry) -> Outgoing:
    """The same of an entry that was just made."""
    return _keyed(entry, encode_entry(entry))


def _keyed(entry: Entry, raw: bytes) -> Outgoing:
    # The kind is the tag: msgspec writes it as the entry's member "type".
    kind = str(entry.__struct_config__.tag)
    match entry:
        case DecisionEntry():
            return Outgoing(UUID(entry.request), kind, entry.number, raw)
        case SignatureEntry():
            return Outgoing(UUID(entry.request), kind, 0, raw)
        case PolicyEntry(digest=subject) | RevocationEntry(approval=subject):
            return Outgoing(_content_key(bytes.fromhex(subject)), kind, 0, raw)
        case Received() | WithdrawalEntry() | LateDissentEntry() | CanaryEntry():
            return Outgoing(_content_key(raw), kind, 0, raw)


def received_entries(votes: Iterable[tuple[str, bytes, bytes, str]]) -> list[Received]:
    """The entries that name these (operator, payload digest, SHA-256 of the envelope, release id), each once, in order."""
    ordered = sorted(
        {(operator, payload.hex(), envelope.hex(), release) for operator, payload, envelope, release in votes}
    )
    return [_received(ordered[start : start + MAX_PAIRS]) for start in range(0, len(ordered), MAX_PAIRS)]


def _received(votes: Sequence[tuple[str, str, str, str]]) -> Received:
    grouped: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for operator, payload, envelope, release in votes:
        grouped[operator, payload, envelope].append(release)
    return Received(
        votes=tuple(
            ReceivedVotes(operator=operator, payload=payload, envelope=envelope, releases=tuple(releases))
            for (operator, payload, envelope), releases in grouped.items()
        )
    )


def _document(entry: Entry) -> Any:
    # A default, which msgspec leaves out, and yet the member that says how to read the others.
    return msgspec.to_builtins(entry) | {"version": VERSION}


def _content_key(raw: bytes) -> UUID:
    return UUID(bytes=hashlib.sha256(raw).digest()[:16])


def _malformed(sentence: str) -> Malformed:
    return Malformed("entry-malformed", f"The log entry {sentence}.")
