"""What a signer needs of the outside to bring requests to their signatures, as narrow Protocols with written promises."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from attestor.core.approvals import Given
from attestor.core.authorisation import Authorisation
from attestor.core.claims import Claim
from attestor.core.entrybytes import Outgoing
from attestor.core.hashstate import Hasher
from attestor.core.lanes import Lane
from attestor.core.lifecycle import State
from attestor.core.naming import Release
from attestor.core.obstacles import NotNow
from attestor.core.predecessor import Packages
from attestor.core.requests import Content, SigningRequest
from attestor.service.ports import Document, SignerStatus


@dataclass(frozen=True, slots=True)
class Stated:
    """What a stored claim states in an operator's name: the API decides by it, the signer by the envelope alone."""

    operator: str
    payload_digest: bytes
    form: str
    outcome: str
    sha256: bytes | None
    sha512: bytes | None
    size: int | None

    @classmethod
    def of(cls, claim: Claim) -> "Stated":
        return cls(
            claim.operator, claim.payload_digest, claim.form, claim.outcome, claim.sha256, claim.sha512, claim.size
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything on a release as it was signed; nothing in it is believed before it is verified again."""

    envelopes: tuple[tuple[str, bytes, datetime], ...]
    """(operator, envelope as it came, received at)."""
    withdrawals: tuple[bytes, ...]
    signed: frozenset[bytes]
    """SHA-256s of this release that were signed."""
    policy_digest: str | None
    """Of the policy under which the API decided the release last."""
    stated: tuple[Stated, ...]
    """The claims that are stored beside the envelopes."""
    approvals: tuple[Given, ...] = ()
    """For this release and the request's digest, those that count now or are spent on them; which these are, the log says."""


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed request: the fence makes a late holder's writes fail."""

    request: SigningRequest
    fence: int
    lease_until: datetime
    clock: datetime
    """The database's clock when it was claimed."""


@dataclass(frozen=True, slots=True)
class Made:
    """A signature that the HSM made and that verified."""

    authorisation: Authorisation
    key_fingerprint: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Concluded:
    """A decision to sign, on its way into the log."""

    entry: Outgoing
    documents: Sequence[Document]
    evidence: Evidence
    """What was weighed."""
    folded: int
    """A size of the log below which every policy entry is known: no decision comes behind the policy that replaced its own."""
    approvals: Sequence[bytes]
    """SHA-256 of each approval that it spends."""


@dataclass(frozen=True, slots=True)
class Place:
    """One of the *limit* places of a quota's period, by its name."""

    tier: str
    signing_key: str
    period: str
    limit: int


class Queue(Protocol):
    """The signer's side of signing requests."""

    async def claim(self, lease_seconds: float, last: Lane = Lane.BULK) -> Job | None:
        """Take the next due request of the lanes up to *last*, or one whose lease is over; at most one holder's fence is ever valid.

        The first lane comes first, and within it the oldest; none of a tier that is paused.

        One whose row cannot be read is set aside, so that it stops no other.
        """

    async def evidence(self, job: Job) -> Evidence: ...

    async def decide(self, job: Job, concluded: Concluded) -> None:
        """Enqueue the decision entry and keep what it names, under the release's lock, and only with the fence.

        Raises ``Conflict`` ``evidence-moved`` when votes or withdrawals are others than were weighed, ``approvals-moved`` when one
        of the approvals is spent or revoked, ``policy-moved`` when a policy entry stands or waits behind *folded*,
        ``log-behind`` when this request has a decision entry of that number already, ``lease-over`` when the fence is old.
        """

    async def reserve(self, job: Job, place: Place) -> bool:
        """Take a place of a quota's period for the job's release and digest, or keep it; say whether there was one.

        It stays until the request is given back, and for good once the decision is enqueued. Raises ``Conflict`` when the
        fence is old.
        """

    async def tell(self, entry: Outgoing, documents: Sequence[Document]) -> None:
        """Enqueue an entry that belongs to no request, once; where it is enqueued or logged already, nothing happens."""

    async def renew(self, job: Job, lease_seconds: float) -> Job:
        """Lengthen the lease. Raises ``Conflict`` when the fence is old."""

    async def give_back(  # noqa: PLR0913 - where it goes, why, when, and what the log is told
        self,
        job: Job,
        after: State,
        reason: str,
        sentence: str,
        delay_seconds: float,
        *,
        entry: Outgoing | None = None,
    ) -> None:
        """To ``queued`` (after *delay_seconds*), ``waiting``, ``refused`` or ``aside``; nothing happens when the fence is old.

        A refusal's entry is enqueued with it, once, and while its release has few refused requests.
        """

    async def signed(self, job: Job, made: Made, entry: Outgoing, documents: Sequence[Document]) -> None:
        """Store the signature sealed, enqueue its entry, mark the request, in one transaction: only with the fence, and only when there is none.

        Raises ``Conflict`` when the fence is old or a signature by this key is there, ``Rejected`` ``other-digest-signed``
        when another digest was signed.
        """

    async def signature_of(self, job: Job, key_fingerprint: str) -> bytes | None:
        """The signature, where this key signed the very bytes of the job's request before."""

    async def adopt(self, job: Job) -> None:
        """Mark the request signed by the signature that is stored already. Raises ``Conflict`` when the fence is old."""

    async def document(self, sha256: bytes) -> bytes | None:
        """What a log entry names by this digest, to be held against it; ``None`` where it is not there."""

    async def announce(self, job: Job) -> None:
        """Hint to who waits that the request moved; may be lost, so they also poll."""

    async def report(self, status: SignerStatus) -> None:
        """Say how this signer stands."""

    async def due(self, seconds: float) -> None:
        """Return when something may be queued, and at the latest after *seconds*."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What the signer itself saw of the bytes."""

    size: int
    sha256: bytes | None
    """``None`` for a hash state, which is of SHA-512 only."""
    sha512: bytes
    hasher: Hasher
    """SHA-512 over the bytes, to be extended in a copy."""
    packages: Packages | None = None
    """What a database lists, where it was looked into."""


class ArtifactBytes(Protocol):
    """Where the signer gets the bytes of an artifact."""

    async def measure(self, release: Release, content: Content, sha256: bytes, *, inspect: bool) -> Measure:
        """Hash the bytes once, from the first to the last; with *inspect*, look into the very bytes that were hashed.

        Raises ``Missing`` when they are not there (yet), ``Rejected`` when they may not be of this kind, ``Unavailable``.
        """


class Pen(Protocol):
    """A place at the HSM, taken: what is asked of it waits for nobody."""

    async def sign(self, authorisation: Authorisation, hasher: Hasher) -> bytes:
        """Make the binary detached OpenPGP signature, verified against the certificate before it is returned.

        Raises ``Unavailable`` (another try may succeed) or ``Rejected`` (the device refuses for good).
        """


class Signer(Protocol):
    """One release key on an HSM, behind its OpenPGP certificate."""

    @property
    def fingerprint(self) -> str:
        """Upper-case hex version 4 fingerprint of the certificate."""

    def verify(self, signature: bytes, hasher: Hasher) -> None:
        """Raise ``Rejected`` unless this key made *signature* over the bytes that *hasher* has had; asks no device."""

    async def held(self) -> NotNow | None:
        """Why this key makes no signature at all now; other keys go on."""

    def slot(self, lane: Lane) -> AbstractAsyncContextManager[Pen]:
        """Wait for a free place at the HSM for a request of this lane, so that the caller can look once more before it signs."""
