"""What the use cases need of the outside, as narrow Protocols; each method's promise is its docstring."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from attestor.core.approvals import Given
from attestor.core.claims import Claim
from attestor.core.entrybytes import Outgoing
from attestor.core.lifecycle import State
from attestor.core.naming import Release
from attestor.core.requests import SigningRequest
from attestor.core.suspects import Signed
from attestor.core.wire import DecisionView
from attestor.service.keyports import Canary, KeyStanding


@dataclass(frozen=True, slots=True)
class Document:
    """Bytes that a log entry names by their SHA-256: evidence, a verification summary, a policy."""

    sha256: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Vote:
    """A stored claim, and each withdrawal of it as it came: a second one where the first one's key did not count any more."""

    claim: Claim
    withdrawals: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Arrival:
    """One verified envelope that is to be kept, with the claims of one operator in it."""

    operator: str
    payload_digest: bytes
    body: bytes
    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """One verified withdrawal that is to be kept."""

    operator: str
    payload_digest: bytes
    release_id: str
    reason: str
    body: bytes


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """An evaluation as it is shown, and how long it may be shown."""

    release_id: str
    view: DecisionView
    holds_until: datetime


@dataclass(frozen=True, slots=True)
class RequestMove:
    """A request's next state, conditional on the state it was read in."""

    request_id: UUID
    release_id: str
    before: State
    after: State
    reason: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Changes:
    """All that one transaction writes; the store orders each set by key."""

    arrivals: Sequence[Arrival] = ()
    withdrawals: Sequence[Withdrawal] = ()
    decisions: Sequence[StoredDecision] = ()
    opened: Sequence[SigningRequest] = ()
    moves: Sequence[RequestMove] = ()
    entries: Sequence[Outgoing] = ()
    """For the log's outbox: what is kept and what is told of it stand and fall together."""


class Transaction(Protocol):
    """One short transaction on releases. Durable when its context is left without an exception, else nothing of it stays.

    Every transaction of the program takes its rows in the order releases, envelopes, claims, decisions, events, requests.
    """

    async def lock(self, releases: Sequence[Release]) -> datetime:
        """Insert what is missing, lock all in the order of their ids, and read the database's clock."""

    async def votes(self, release_ids: Sequence[str]) -> list[Vote]:
        """All claims on these releases, as of the lock."""

    async def requests(self, release_ids: Sequence[str]) -> list[SigningRequest]:
        """All signing requests for these releases, as of the lock, oldest first."""

    async def signed_digests(self, release_ids: Sequence[str]) -> dict[str, frozenset[bytes]]:
        """The SHA-256s that were signed, for each release that has any."""

    async def approvals(self, release_ids: Sequence[str]) -> dict[tuple[str, bytes], list[Given]]:
        """By release id and SHA-256 of the bytes: approvals that may still count, without manifests."""

    async def policy_serial(self) -> int:
        """The newest serial that the log names; 0 before there is one."""

    async def content_arrived(self, request_id: UUID) -> None:
        """Note that the bytes of a request are complete."""

    async def write(self, changes: Changes) -> None:
        """Raises ``Conflict`` when a request is no longer in the state that a move was decided on."""


@dataclass(frozen=True, slots=True)
class ReleaseFilter:
    """Which releases a list shows; ``None`` matches all."""

    purl: str | None = None
    file_name: str | None = None
    sha256: bytes | None = None
    tier: str | None = None
    state: str | None = None


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """A release as stored, with its last evaluation."""

    release: Release
    decision: StoredDecision | None


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One step of a release's or request's life."""

    at: datetime
    request_id: UUID | None
    what: str
    detail: str


SIGNING: Final = "signing"
"""The code of a signer that signs."""


@dataclass(frozen=True, slots=True)
class SignerStatus:
    """How a signer stands, for everybody who asks the API whether it is ready."""

    instance: str
    halted: bool
    code: str
    sentence: str
    anchor_size: int
    policy_digest: str
    at: datetime | None = None
    """When it said so, by the database's clock."""


@dataclass(frozen=True, slots=True)
class HeldRequests:
    """How many requests one reason keeps from their signature."""

    state: str
    """``waiting``, ``aside`` or ``refused``."""
    reason: str
    count: int
    """Now; of refused ones, those of the last day."""
    ever: int
    """Of refused ones, all: refused is for good, so it only grows."""


class Ledger(Protocol):
    """What is kept of releases, claims and requests; written in transactions, read anywhere."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Raises ``Unavailable`` when the database does not answer or a lock is not had in time; nothing was written."""

    async def announce(self, release_ids: Sequence[str]) -> None:
        """Hint to listeners that something moved; may be lost, so listeners also poll."""

    async def release(self, release_id: str) -> ReleaseRecord | None: ...

    async def releases(self, wanted: ReleaseFilter, after: str | None, limit: int) -> list[ReleaseRecord]:
        """In the order of ids, those after *after*."""

    async def stale(self, policy_digest: str, limit: int) -> list[ReleaseRecord]:
        """Releases without an evaluation that holds under this policy now."""

    async def votes(self, release_id: str) -> list[Vote]: ...

    async def requests(self, release_id: str) -> list[SigningRequest]: ...

    async def envelope(self, release_id: str, operator: str, payload_digest: bytes) -> bytes | None:
        """The attestation, as it came, behind one operator's claim on the release."""

    async def events(self, release_id: str) -> list[LoggedEvent]: ...

    async def request(self, request_id: UUID) -> SigningRequest | None: ...

    async def list_requests(
        self, requester: str, state: str | None, after: UUID | None, limit: int
    ) -> list[SigningRequest]:
        """What this requester asked for, in the order of ids (random), those after *after*."""

    async def awaited_contents(self) -> set[bytes]:
        """SHA-256 of every content that a request which is not settled still needs."""

    async def signature(self, request_id: UUID) -> bytes | None:
        """The signature of the release and digest that the request names, the same bytes at every read; ``None`` while sealed."""

    async def release_keys(self) -> list[KeyStanding]:
        """How a signer said that each release key stands, by name."""

    async def canaries(self) -> list[Canary]:
        """The last canary of each key that has one."""

    async def signers(self) -> list[SignerStatus]:
        """How each signer said that it stands."""

    async def signed_with(self, keys: Sequence[str], after: str | None, limit: int) -> tuple[list[Signed], str | None]:
        """Of the next *limit* signed releases, in the order of ids after *after*: those whose signature can be read, with a claim by
        one of these keys (fingerprints), once for each decision; and after which id to go on, ``None`` at the end.
        """


class Spool(Protocol):
    """Where uploads wait for the signer; keyed by SHA-256."""

    async def receive(self, chunks: AsyncIterator[bytes], *, size: int, sha256: bytes) -> object:
        """Durable on return, and complete: digest and size were compared. Raises ``Rejected``, ``TooLarge``, ``Unavailable``."""

    def has(self, sha256: bytes) -> bool: ...

    async def sweep(self, keep: set[bytes], *, before: datetime) -> int:
        """Remove contents that are not in *keep* and came before that moment, and what dead uploads left."""


class Watch(Protocol):
    """Wakes who waits for a release to move."""

    async def moved(self, release_id: str, seconds: float) -> None:
        """Return when something may have moved, and at the latest after *seconds*."""
