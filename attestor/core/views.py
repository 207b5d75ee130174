"""Decisions and requests as they are shown: a stable code for programs and a sentence for people (P10)."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

from attestor.core.claims import Claim
from attestor.core.naming import Release
from attestor.core.policy import Policy, Tier
from attestor.core.quorum import Decision, Disputed, Pending, Reached, Uncounted
from attestor.core.requests import SigningRequest
from attestor.core.suspects import Resting
from attestor.core.wire import (
    Artifact,
    DecisionView,
    ReleaseLine,
    ReleaseName,
    SigningRequestView,
    SuspectLine,
    SuspectVoteView,
    VoteView,
)

FOREVER = datetime(9999, 1, 1, tzinfo=UTC)


def decision_view(decision: Decision, tier: Tier, policy: Policy) -> DecisionView:
    """Show a decision; a reached one shows only what n operators state."""
    tally = decision.tally
    shown = decision.agreed if isinstance(decision, Reached) else tally.candidate
    state, reason, sentence = _said(decision)
    return DecisionView(
        state=state,
        reason=reason,
        sentence=sentence,
        tier=tier.name,
        threshold=tally.threshold,
        missing=tally.missing,
        sha256=shown.sha256.hex() if shown else None,
        sha512=shown.sha512.hex() if shown and shown.sha512 else None,
        size=shown.size if shown else None,
        agreeing=tuple(sorted(tally.agreeing)),
        dissenting=tuple(sorted(tally.dissenting)),
        equivocating=tuple(sorted(tally.equivocating)),
        failed=tuple(sorted(tally.failed)),
        missing_required=tuple(sorted(tally.missing_required)),
        policy_serial=policy.serial,
        policy_digest=policy.digest,
    )


def ungoverned_view(sentence: str, policy: Policy) -> DecisionView:
    """Show a release that was attested under an earlier policy and that no tier governs now: nobody's vote counts."""
    return DecisionView(
        state="pending",
        reason="no-tier",
        sentence=sentence,
        tier="",
        threshold=0,
        missing=0,
        sha256=None,
        sha512=None,
        size=None,
        agreeing=(),
        dissenting=(),
        equivocating=(),
        failed=(),
        missing_required=(),
        policy_serial=policy.serial,
        policy_digest=policy.digest,
    )


def _said(decision: Decision) -> tuple[Literal["pending", "reached", "disputed"], str, str]:
    tally = decision.tally
    agree = f"{len(tally.agreeing)} of {tally.threshold} needed operators agree"
    match decision:
        case Reached():
            return "reached", "reached", f"{agree} on these bytes: {', '.join(sorted(tally.agreeing))}."
        case Disputed():
            against = sorted(tally.dissenting | tally.equivocating)
            return (
                "disputed",
                "disputed",
                f"{agree}; dissent by {', '.join(against)} is more than the tier allows.",
            )
        case Pending() if tally.missing_required and len(tally.agreeing) >= tally.threshold:
            required = ", ".join(sorted(tally.missing_required))
            return "pending", "required-operator-missing", f"{agree}, but the tier requires {required} among them."
        case Pending():
            return "pending", "not-reached", f"{agree}; {tally.missing} more must attest the same bytes."


def holds_until(policy: Policy, claims: Iterable[Claim], now: datetime) -> datetime:
    """Say when the passing of time alone could next change an evaluation: a key begins or ends to count."""
    held = (policy.keys_by_fingerprint.get(fingerprint) for claim in claims for fingerprint in claim.keys)
    moments = (moment for key in held if key is not None for moment in (key.valid_from, key.valid_until))
    return min((moment for moment in moments if moment > now), default=FOREVER)


def release_line(release: Release, decision: DecisionView) -> ReleaseLine:
    return ReleaseLine(
        id=release.id, kind=release.kind, purl=release.purl, file_name=release.file_name, decision=decision
    )


def vote_view(claim: Claim, uncounted: frozenset[Uncounted]) -> VoteView:
    reasons = {(said.operator, said.payload_digest): said.reason for said in uncounted}
    reason = reasons.get((claim.operator, claim.payload_digest))
    return VoteView(
        operator=claim.operator,
        payload_digest=claim.payload_digest.hex(),
        form=claim.form,
        outcome=claim.outcome,
        sha256=claim.sha256.hex() if claim.sha256 else None,
        sha512=claim.sha512.hex() if claim.sha512 else None,
        size=claim.size,
        keys=tuple(sorted(claim.keys)),
        received_at=claim.received_at,
        counted=reason is None and claim.sha256 is not None,
        reason=reason,
    )


def suspect_line(resting: Resting) -> SuspectLine:
    """Show a signed release that rests on revoked keys, and what is to be done."""
    signed, release = resting.signed, resting.signed.release
    return SuspectLine(
        id=release.id,
        kind=release.kind,
        purl=release.purl,
        file_name=release.file_name,
        sha256=signed.sha256.hex(),
        decision=signed.index,
        tier=signed.decision.tier,
        counted=tuple(sorted(vote.operator for vote in signed.decision.counted)),
        votes=tuple(
            SuspectVoteView(
                operator=vote.claim.operator,
                payload_digest=vote.claim.payload_digest.hex(),
                keys=tuple(sorted(vote.keys)),
                received_at=vote.claim.received_at,
            )
            for vote in resting.votes
        ),
        remaining=tuple(sorted(resting.remaining)),
        reached=resting.reached,
        sentence=_resting_sentence(resting),
    )


def _resting_sentence(resting: Resting) -> str:
    who = ", ".join(sorted(resting.remaining)) or "nobody"
    if resting.tier is None:
        return f"No tier governs it any more; {who} stands without the revoked keys."
    stand = (
        f"{len(resting.remaining)} of {resting.tier.threshold} needed operators stand without the revoked keys: {who}"
    )
    if resting.reached:
        return f"{stand}. It is agreed without them."
    if absent := resting.tier.required - resting.remaining:
        stand += f"; the tier requires {', '.join(sorted(absent))} among them"
    return f"{stand}. Have it rebuilt and attested; if the bytes differ, revoke the release."


def request_view(request: SigningRequest) -> SigningRequestView:
    release = request.release
    return SigningRequestView(
        id=str(request.id),
        state=request.state.value,
        reason=request.reason,
        sentence=request.sentence,
        release=ReleaseName(kind=release.kind, purl=release.purl, file_name=release.file_name),
        release_id=release.id,
        artifact=Artifact(size=request.size, sha256=request.sha256.hex(), sha512=request.sha512.hex()),
        content=request.content,
        content_present=request.content_present,
        requester=request.requester,
        tier=request.tier,
        tries=request.tries,
        created_at=request.created_at,
        updated_at=request.updated_at,
    )
