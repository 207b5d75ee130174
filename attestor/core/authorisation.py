"""May this be signed now: the one place that turns agreement, request, bytes and log into a permit (P1, P2, P5, P6).

:func:`judge` says whether the rules allow it, which goes into the log; :func:`authorise` turns a judgement into a permit once
the log includes exactly that. Only it makes an :class:`Authorisation`, and only an ``Authorisation`` can be signed.
"""

from dataclasses import dataclass
from datetime import datetime

from attestor.core.entries import DecisionEntry, NamedArtifact, NamedPolicy, NamedRelease
from attestor.core.errors import Halted
from attestor.core.lifecycle import State
from attestor.core.naming import Release
from attestor.core.past import LoggedDecision
from attestor.core.policy import Policy, Tier
from attestor.core.quorum import Decision, Disputed, Pending, Reached
from attestor.core.requests import SigningRequest
from attestor.core.wire import HashState


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
    def notation(self) -> tuple[str, str]:
        """Name and value of the notation by which the signature itself points to its evidence."""
        return evidence_notation(self.judgement.origin, self.judgement.log, self.decision)


@dataclass(frozen=True, slots=True)
class NotNow:
    """It may be signed later; the request waits."""

    reason: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Never:
    """It cannot change; the request is refused."""

    reason: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What the signer itself measured: size in bytes and digests. A hash state has no SHA-256."""

    size: int
    sha256: bytes | None
    sha512: bytes


def standing(
    request: SigningRequest, tier: Tier, decision: Decision, signed_digest: bytes | None
) -> NotNow | Never | None:
    """Say what keeps a request from being queued; ``None`` when nothing does."""
    if signed_digest is not None and signed_digest != request.sha256:
        return Never("other-digest-signed", f"Another digest of this release is signed: {signed_digest.hex()}.")
    if request.requester not in tier.requesters:
        return NotNow("requester-not-allowed", f"Tier {tier.name} does not let requester {request.requester} ask.")
    if isinstance(request.content, HashState) and tier.single_builder:
        return Never(
            "hash-state-not-allowed",
            f"Tier {tier.name} has a single builder, so it takes the bytes, never a hash state.",
        )
    return _against_decision(request, tier, decision)


def _against_decision(request: SigningRequest, tier: Tier, decision: Decision) -> NotNow | None:
    match decision:
        case Pending(tally) if not (tally.agreeing or tally.failed):
            return NotNow("no-claims", f"Nobody has attested this release yet; {tier.threshold} operators must agree.")
        case Pending(tally):
            return NotNow(
                "not-reached", f"{len(tally.agreeing)} of {tier.threshold} operators agree; {tally.missing} missing."
            )
        case Disputed(tally):
            against = ", ".join(sorted(tally.dissenting | tally.equivocating))
            return NotNow("disputed", f"The release is disputed: dissent by {against} is more than the tier allows.")
        case Reached():
            return _against_agreement(request, decision)


def _against_agreement(request: SigningRequest, decision: Reached) -> NotNow | None:
    if request.sha256 != decision.agreed.sha256:
        return NotNow("other-digest-reached", f"The operators agree on another digest: {decision.agreed.sha256.hex()}.")
    if decision.stated.sha512 not in (None, request.sha512) or decision.stated.size not in (None, request.size):
        return NotNow(
            "other-digest-reached", "The asked SHA-512 or size is not what the operators state beside the same SHA-256."
        )
    if isinstance(request.content, HashState) and None in (decision.agreed.sha512, decision.agreed.size):
        return NotNow(
            "sha512-not-agreed", "A hash state needs SHA-512 and size stated by as many operators as the threshold."
        )
    if not request.content_present:
        return NotNow("content-missing", "The bytes are not there yet; upload them.")
    return None


def judge(  # noqa: PLR0913 - the judgement rests on every one of these
    request: SigningRequest,
    *,
    policy: Policy,
    tier: Tier,
    key_fingerprint: str,
    decision: Decision,
    signed_digest: bytes | None,
    seen: Seen,
) -> Judgement | NotNow | Never:
    """Say whether the rules allow one signature; *decision* must be the signer's own over envelopes that it verified."""
    obstacle = standing(request, tier, decision, signed_digest)
    if obstacle is not None:
        return obstacle
    if not isinstance(decision, Reached) or tier not in policy.tiers:
        return NotNow("not-reached", "No agreement under the policy that the signer itself loaded.")
    if not _same_bytes(request, decision, seen):
        # The digest of what was found is not said: a pull root may hold more than its requesters may read.
        return Never("content-differs", f"The bytes are not the agreed ones: {seen.size} bytes with another digest.")
    return Judgement(
        request=request,
        policy=NamedPolicy(serial=policy.serial, digest=policy.digest),
        tier=tier.name,
        signing_key=tier.signing_key,
        key_fingerprint=key_fingerprint,
        size=seen.size,
        sha256=decision.agreed.sha256,
        sha512=seen.sha512,
        reached=decision,
        origin=policy.origin,
        log=policy.log.key.name,
    )


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
