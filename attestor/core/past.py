"""What a signer must know of the past, read from log entries: facts, and what each release's facts come to (design §8).

A fact that only a signer may state counts by its seal alone: an entry that carries no seal of a key in the policy is no
fact, whoever put it into the log.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attestor.core.entries import (
    CanaryEntry,
    DecisionEntry,
    Entry,
    PolicyEntry,
    Received,
    RevocationEntry,
    Sealed,
    SignatureEntry,
    WithdrawalEntry,
    moment,
)
from attestor.core.entrybytes import is_signers, read_entry, verify_seal
from attestor.core.errors import Halted, Rejected
from attestor.core.naming import Release, parse_release
from attestor.core.quota import Period, Window
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
    """A signer decided to sign this release, at this time."""

    entry: DecisionEntry
    raw: bytes
    release: Release
    created: datetime


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
class WasRevoked:
    """An approval, by the SHA-256 of what was signed, was taken back."""

    approval: bytes


@dataclass(frozen=True, slots=True)
class CanaryAnnounced:
    """A signer was about to sign the canary's string."""

    entry: CanaryEntry


@dataclass(frozen=True, slots=True)
class Forged:
    """An entry that claims to be a signer's and carries no seal of one: it says nothing, and somebody should look."""

    code: str


Fact = WasReceived | WasWithdrawn | WasDecided | WasSigned | PolicySeen | WasRevoked | CanaryAnnounced | Forged


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


@dataclass(frozen=True, slots=True)
class RulesQuestion:
    """What the rules of a tier ask about the past of one release, as the log stood *before* an entry or stands now."""

    release: Release
    sha256: bytes
    tier: str
    signing_key: str
    """The tier's name for it, which stays when the key behind it is replaced."""
    period: Period | None
    moment: datetime
    """When the decision is made; a clock that stepped back opens no period that was left already."""
    approvals: frozenset[bytes]
    """SHA-256 of what was signed, of each that could be spent."""
    before: int | None = None


@dataclass(frozen=True, slots=True)
class RulesPast:
    """The answer, from the log alone."""

    newest: str | None
    """The newest version that was decided on among those that this release follows; its own is none of them."""
    used: int
    """Other releases or digests that were decided on in *window*, without an approval beyond the quota."""
    window: Window | None
    """The period that a decision made now counts in; ``None`` where the tier has no quota."""
    unspendable: frozenset[bytes]
    """Of the approvals: those that were spent on these bytes, or revoked."""
    packages: bytes | None = None
    """SHA-256 of what the database before this one lists, of the same line and architecture, where the log names it."""


NO_PAST: Final = RulesPast(newest=None, used=0, window=None, unspendable=frozenset())
"""For who asks nothing of it."""


def facts_of(index: int, raw: bytes, ring: SealRing) -> tuple[Fact, ...]:
    """Read one entry's facts. Raises ``Halted`` ``entry-unreadable``: what cannot be read may hide a dissent."""
    try:
        return tuple(_facts(read_entry(raw), raw, ring))
    except (Rejected, ValueError) as error:
        sentence = error.sentence if isinstance(error, Rejected) else f"{error}."
        raise Halted(
            "entry-unreadable",
            f"Log entry {index} cannot be read: {sentence} Is a newer version writing the log?",
        ) from error


def _facts(entry: Entry, raw: bytes, ring: SealRing) -> Iterator[Fact]:
    if is_signers(entry):
        yield _sealed(entry, raw, ring)
    match entry:
        case Received():
            for vote in entry.votes:
                for release in vote.releases:
                    yield WasReceived(release, vote.operator, bytes.fromhex(vote.payload), bytes.fromhex(vote.envelope))
        case RevocationEntry():
            yield WasRevoked(bytes.fromhex(entry.approval))
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
            return was_decided(entry, raw)
        case CanaryEntry():
            return CanaryAnnounced(entry)
        case SignatureEntry():
            return WasSigned(entry)
        case PolicyEntry():
            return PolicySeen(entry.serial, entry.digest, entry.anchor)


def was_decided(entry: DecisionEntry, raw: bytes) -> WasDecided:
    """The fact of a decision to sign whose seal was verified.

    Raises ``Rejected`` or ``ValueError`` for names and times that no release and no calendar has.
    """
    release = parse_release(entry.release.kind, entry.release.purl, entry.release.file_name)
    if release.id != entry.release.id:
        raise Rejected("release-differs", f"The decision names the release {entry.release.id} by other names.")
    return WasDecided(entry, raw, release, moment(entry.created or ""))
