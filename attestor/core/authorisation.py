"""May this be signed now: the one place that turns agreement, request, bytes and log into a permit (P1, P2, P5, P6).

:func:`judge` says whether the rules allow it, which goes into the log; :func:`authorise` turns a judgement into a permit once
the log includes exactly that. Only it makes an :class:`Authorisation`, and only an ``Authorisation`` can be signed.
"""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from attestor.core.approvals import NONE_GRANTED, Approval, Granted, spent_of
from attestor.core.entries import DecisionEntry, NamedArtifact, NamedPolicy, NamedRelease, SpentApproval
from attestor.core.errors import Halted
from attestor.core.lifecycle import State
from attestor.core.naming import Release
from attestor.core.obstacles import (
    Block,
    Never,
    NotNow,
    blocks_of_agreement,
    blocks_of_past,
    blocks_of_predecessor,
    first_obstacle,
)
from attestor.core.past import LoggedDecision, RulesPast
from attestor.core.policy import Policy, Tier
from attestor.core.predecessor import Packages, encode_packages
from attestor.core.quorum import Decision, Reached, in_favour_of
from attestor.core.requests import SigningRequest
from attestor.core.tierrules import Action


@dataclass(frozen=True, slots=True)
class Judgement:
    """The rules allow to sign exactly these bytes of one release with one key. Made only by :func:`judge`."""

    request: SigningRequest
    policy: NamedPolicy
    tier: str
    signing_key: str
    key_fingerprint: str
    size: int
    sha256: bytes
    sha512: bytes
    reached: Reached
    origin: str
    """The policy's, which names this instance."""
    log: str
    """The log's origin."""
    created: datetime
    """When it was judged, in whole seconds: the signature's creation time, once the log has the decision."""
    approvals: tuple[Approval, ...] = ()
    """Those that it spends."""
    period: str | None = None
    """The quota's period in which it counts."""
    packages: bytes | None = None
    """What the database lists, for the next one: :func:`attestor.core.predecessor.encode_packages`."""

    @property
    def spent(self) -> tuple[SpentApproval, ...]:
        """The approvals as a decision entry names them: in the order of action and document."""
        return spent_of(self.approvals)

    @property
    def requester(self) -> str | None:
        """Who asked, as a decision entry names it: only where approvals are spent."""
        return self.request.requester if self.approvals else None

    @property
    def packages_digest(self) -> str | None:
        """Lower-case hex SHA-256, as a decision entry names it."""
        return hashlib.sha256(self.packages).hexdigest() if self.packages is not None else None

    @property
    def counted(self) -> frozenset[str]:
        """The operators whose agreement it rests on."""
        return self.reached.tally.agreeing

    def is_of(self, entry: DecisionEntry) -> bool:
        """Whether a decision entry says this very judgement, whoever made it and when."""
        return (
            entry.verdict == "sign"
            and entry.request == str(self.request.id)
            and (entry.release, entry.artifact, entry.policy) == (self.release, self.artifact, self.policy)
            and (entry.tier, entry.signing_key, entry.key) == (self.tier, self.signing_key, self.key_fingerprint)
            and (entry.approvals, entry.requester, entry.period) == (self.spent, self.requester, self.period)
            and entry.packages == self.packages_digest
        )

    @property
    def release(self) -> NamedRelease:
        return named_release(self.request.release)

    @property
    def artifact(self) -> NamedArtifact:
        return NamedArtifact(size=self.size, sha256=self.sha256.hex(), sha512=self.sha512.hex())


@dataclass(frozen=True, slots=True)
class Authorisation:
    """The permit to sign exactly the judged bytes, with the time and under the log entry that the decision fixed."""

    judgement: Judgement
    created: datetime
    """The signature's creation time, fixed for good by the log."""
    decision: int
    """The index of the decision entry."""

    @property
    def sha256(self) -> bytes:
        return self.judgement.sha256

    @property
    def sha512(self) -> bytes:
        return self.judgement.sha512

    @property
    def re_signs(self) -> bool:
        """Whether people approved that other bytes of this release be signed than those that were."""
        return any(spent.action == Action.RE_SIGN.value for spent in self.judgement.spent)

    @property
    def notation(self) -> tuple[str, str]:
        """Name and value of the notation by which the signature itself points to its evidence."""
        return evidence_notation(self.judgement.origin, self.judgement.log, self.decision)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the signer itself measured: size in bytes and digests. A hash state has no SHA-256."""

    size: int
    sha256: bytes | None
    sha512: bytes
    packages: Packages | None = None
    """What a database lists."""


def standing(
    request: SigningRequest,
    tier: Tier,
    decision: Decision,
    *,
    signed: Collection[bytes] = (),
    granted: Granted = NONE_GRANTED,
) -> NotNow | Never | None:
    """Say what keeps a request from being queued; ``None`` when nothing does.

    *signed* holds the SHA-256s of this release that were signed already, by whatever key. What the past of other releases has
    to do with it, only a signer says.
    """
    return first_obstacle(blocks_of_agreement(request, tier, decision, signed), tier, granted)


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a signer weighs beside the agreement; each part is its own, from verified bytes and its own fold of the log."""

    signed: frozenset[bytes]
    """SHA-256s of this release that were signed already."""
    repeated: bool
    """The signing key signed these very bytes before: nothing new is let through."""
    past: RulesPast
    granted: Granted
    moment: datetime
    """When the decision is made, or was."""
    predecessor: Packages | None = None
    """What the database before this one lists, where the log names that and it is here."""


def at_first_sight(request: SigningRequest, tier: Tier, decision: Decision, weighed: Weighed) -> NotNow | Never | None:
    """Say what keeps a request from being signed, before its bytes are looked at."""
    return first_obstacle(_blocks(request, tier, decision, weighed), tier, weighed.granted)


def judge(  # noqa: PLR0913 - the judgement rests on every one of these
    request: SigningRequest,
    *,
    policy: Policy,
    tier: Tier,
    key_fingerprint: str,
    decision: Decision,
    weighed: Weighed,
    seen: Seen,
) -> Judgement | NotNow | Never:
    """Say whether the rules allow one signature; *decision* must be the signer's own over envelopes that it verified."""
    blocks = list(_blocks(request, tier, decision, weighed))
    if not weighed.repeated:
        blocks += blocks_of_predecessor(tier, weighed.past, weighed.predecessor, seen.packages)
    obstacle = first_obstacle(blocks, tier, weighed.granted)
    if obstacle is not None:
        return obstacle
    reached = in_favour_of(decision, request.sha256)
    if not isinstance(reached, Reached) or tier not in policy.tiers:
        return NotNow("not-reached", "No agreement under the policy that the signer itself loaded.")
    if not _same_bytes(request, reached, seen):
        # The digest of what was found is not said: a pull root may hold more than its requesters may read.
        return Never(
            "content-differs",
            f"The bytes are not the agreed ones: {seen.size} bytes with another digest. Ask anew once the agreed ones are there.",
        )
    window = weighed.past.window
    return Judgement(
        request=request,
        policy=NamedPolicy(serial=policy.serial, digest=policy.digest),
        tier=tier.name,
        signing_key=tier.signing_key,
        key_fingerprint=key_fingerprint,
        size=seen.size,
        sha256=reached.agreed.sha256,
        sha512=seen.sha512,
        reached=reached,
        origin=policy.origin,
        log=policy.log.key.name,
        created=weighed.moment,
        approvals=tuple(_spent(blocks, weighed.granted)),
        period=window.name if window is not None else None,
        packages=encode_packages(seen.packages) if tier.compare_predecessor and seen.packages is not None else None,
    )


def _blocks(request: SigningRequest, tier: Tier, decision: Decision, weighed: Weighed) -> Iterable[Block]:
    yield from blocks_of_agreement(request, tier, decision, weighed.signed)
    if not weighed.repeated:
        yield from blocks_of_past(request.release, tier, weighed.past)


def _spent(blocks: Iterable[Block], granted: Granted) -> Iterable[Approval]:
    """The approvals of every exception that is made; those that were given and not needed stay unspent."""
    actions = {block.action for block in blocks if block.action is not None}
    for action in actions:
        yield from granted[action]


def authorise(judgement: Judgement, logged: LoggedDecision) -> Authorisation:
    """Permit one signature under a decision entry of the signer's own that its log was seen to include.

    Raises ``Halted`` ``decision-differs`` when that entry says anything else.
    """
    if not judgement.is_of(logged.entry):
        raise Halted("decision-differs", f"Log entry {logged.index} is not the decision on this request.")
    return Authorisation(judgement, logged.created, logged.index)


def evidence_notation(origin: str, log: str, decision: int) -> tuple[str, str]:
    """``log-entry@ORIGIN`` and ``LOG-ORIGIN INDEX``: an OpenPGP notation (RFC 4880, 5.2.3.16) of this instance's own."""
    return f"log-entry@{origin}", f"{log} {decision}"


def named_release(release: Release) -> NamedRelease:
    return NamedRelease(id=release.id, kind=release.kind.value, purl=release.purl, file_name=release.file_name)


def _same_bytes(request: SigningRequest, decision: Reached, seen: Seen) -> bool:
    agreed, stated = decision.agreed, decision.stated
    named = (
        seen.sha256 == agreed.sha256
        if seen.sha256 is not None
        else seen.sha512 == agreed.sha512 and seen.size == agreed.size
    )
    return (
        named
        and (seen.sha512, seen.size) == (request.sha512, request.size)
        and stated.sha512 in (None, seen.sha512)
        and stated.size in (None, seen.size)
    )


def next_state(obstacle: NotNow | Never | None) -> State:
    """Where a request that nobody works on stands."""
    match obstacle:
        case None:
            return State.QUEUED
        case NotNow():
            return State.WAITING
        case Never():
            return State.REFUSED
