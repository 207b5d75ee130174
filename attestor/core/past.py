"""What a signer must know of the past, read from log entries: facts, and what each release's facts come to (design §8).

A fact that only a signer may state counts by its seal alone: an entry that carries no seal of a key in the policy is no
fact, whoever put it into the log.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attestor.core.entries import (
    DecisionEntry,
    Entry,
    PolicyEntry,
    Received,
    Sealed,
    SignatureEntry,
    WithdrawalEntry,
    is_signers,
    moment,
    read_entry,
    verify_seal,
)
from attestor.core.errors import Halted, Malformed, Rejected
from attestor.core.seal import SealRing


@dataclass(frozen=True, slots=True)
class WasReceived:
    """A payload of an operator on a release was taken in, in an envelope with this SHA-256."""

    release_id: str
    operator: str
    payload_digest: bytes
    envelope: bytes


@dataclass(frozen=True, slots=True)
class WasWithdrawn:
    """An operator took a payload back from a release; ``envelope`` is the SHA-256 of the withdrawal."""

    release_id: str
    operator: str
    payload_digest: bytes
    envelope: bytes


@dataclass(frozen=True, slots=True)
class WasDecided:
    """A signer decided to sign."""

    entry: DecisionEntry
    raw: bytes


@dataclass(frozen=True, slots=True)
class WasSigned:
    """A signer made a signature."""

    entry: SignatureEntry


@dataclass(frozen=True, slots=True)
class PolicySeen:
    """A signer began to decide under a policy."""

    serial: int
    digest: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Forged:
    """An entry that claims to be a signer's and carries no seal of one: it says nothing, and somebody should look."""

    code: str


Fact = WasReceived | WasWithdrawn | WasDecided | WasSigned | PolicySeen | Forged


@dataclass(frozen=True, slots=True)
class LoggedDecision:
    """The latest decision to sign a release, where it stands in the log, and its bytes there."""

    index: int
    entry: DecisionEntry
    raw: bytes

    @property
    def created(self) -> datetime:
        """Raises ``ValueError`` on an entry that decides nothing."""
        return moment(self.entry.created or "")


@dataclass(frozen=True, slots=True)
class LoggedSignature:
    """One signature of a release by one key."""

    index: int
    request: str
    sha256: bytes
    """Of the artifact."""
    key: str
    """OpenPGP fingerprint."""
    signature: bytes
    """SHA-256 of the binary signature."""
    decision: int

    @classmethod
    def of(cls, index: int, entry: SignatureEntry) -> "LoggedSignature":
        return cls(
            index=index,
            request=entry.request,
            sha256=bytes.fromhex(entry.sha256),
            key=entry.key,
            signature=bytes.fromhex(entry.signature),
            decision=entry.decision,
        )


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where the log first names a payload, and the SHA-256 of the envelope that is to be shown."""

    index: int
    envelope: bytes


@dataclass(frozen=True, slots=True)
class Remembered:
    """All that the log says of one release."""

    received: dict[tuple[str, bytes], Receipt]
    """By (operator, payload digest): the first entry that names it."""
    withdrawn: dict[tuple[str, bytes], frozenset[bytes]]
    """(operator, payload digest) to the SHA-256s of the withdrawals."""
    decision: LoggedDecision | None
    signed: tuple[LoggedSignature, ...]


NOTHING: Final = Remembered({}, {}, None, ())


def facts_of(index: int, raw: bytes, ring: SealRing) -> tuple[Fact, ...]:
    """Read one entry's facts. Raises ``Halted`` ``entry-unreadable``: what cannot be read may hide a dissent."""
    try:
        entry = read_entry(raw)
    except Malformed as error:
        raise Halted(
            "entry-unreadable",
            f"Log entry {index} cannot be read: {error.sentence} Is a newer version writing the log?",
        ) from error
    return tuple(_facts(entry, raw, ring))


def _facts(entry: Entry, raw: bytes, ring: SealRing) -> Iterator[Fact]:
    if is_signers(entry):
        yield _sealed(entry, raw, ring)
    match entry:
        case Received():
            for vote in entry.votes:
                for release in vote.releases:
                    yield WasReceived(release, vote.operator, bytes.fromhex(vote.payload), bytes.fromhex(vote.envelope))
        case WithdrawalEntry():
            yield WasWithdrawn(
                entry.release, entry.operator, bytes.fromhex(entry.payload), bytes.fromhex(entry.envelope)
            )


def _sealed(entry: Sealed, raw: bytes, ring: SealRing) -> Fact:
    try:
        verify_seal(entry, ring)
    except Rejected as error:
        return Forged(error.code)
    match entry:
        case DecisionEntry():
            return WasDecided(entry, raw)
        case SignatureEntry():
            return WasSigned(entry)
        case PolicyEntry():
            return PolicySeen(entry.serial, entry.digest, entry.anchor)
