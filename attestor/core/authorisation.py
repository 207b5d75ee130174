"""May this be signed now: the one place that turns agreement, request and bytes into a permit (P1, P2, P5).

Only :func:`authorise` makes an :class:`Authorisation`, and only an ``Authorisation`` can be signed.
"""

from dataclasses import dataclass
from datetime import datetime

from attestor.core.lifecycle import State
from attestor.core.naming import Release
from attestor.core.policy import Policy, Tier
from attestor.core.quorum import Decision, Disputed, Pending, Reached
from attestor.core.requests import SigningRequest
from attestor.core.wire import HashState


@dataclass(frozen=True, slots=True)
class Authorisation:
    """The permit to sign exactly these bytes of one release with one key."""

    release: Release
    tier: str
    signing_key: str
    size: int
    sha256: bytes
    sha512: bytes
    created: datetime
    """The signature's creation time, fixed for good before the first try."""
    counted: frozenset[str]
    """The operators whose agreement it rests on."""


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


def authorise(  # noqa: PLR0913 - the permit rests on every one of these
    request: SigningRequest,
    *,
    policy: Policy,
    tier: Tier,
    decision: Decision,
    signed_digest: bytes | None,
    seen: Seen,
    created: datetime,
) -> Authorisation | NotNow | Never:
    """Permit one signature, or say why not; *decision* must be the signer's own over envelopes that it verified."""
    obstacle = standing(request, tier, decision, signed_digest)
    if obstacle is not None:
        return obstacle
    if not isinstance(decision, Reached) or tier not in policy.tiers:
        return NotNow("not-reached", "No agreement under the policy that the signer itself loaded.")
    agreed, stated = decision.agreed, decision.stated
    same = (
        (
            seen.sha256 == agreed.sha256
            if seen.sha256 is not None
            else seen.sha512 == agreed.sha512 and seen.size == agreed.size
        )
        and seen.sha512 == request.sha512
        and seen.size == request.size
        and stated.sha512 in (None, seen.sha512)
        and stated.size in (None, seen.size)
    )
    if not same:
        # The digest of what was found is not said: a pull root may hold more than its requesters may read.
        return Never("content-differs", f"The bytes are not the agreed ones: {seen.size} bytes with another digest.")
    return Authorisation(
        release=request.release,
        tier=tier.name,
        signing_key=tier.signing_key,
        size=seen.size,
        sha256=agreed.sha256,
        sha512=seen.sha512,
        created=created,
        counted=decision.tally.agreeing,
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
