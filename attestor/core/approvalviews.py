"""Approvals, the requests that wait for them, and the rules of tiers, as they are shown."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from attestor.core.approvaldocuments import ApprovalDocument, read_approval
from attestor.core.approvals import Approval, Given, rules_digest, why_for_nobody
from attestor.core.approvalwire import ApprovalView, EvidenceLink, QuotaView, Terms, TierView, WantedApproval
from attestor.core.claims import Claim
from attestor.core.policy import Policy, Tier
from attestor.core.quota import window_of
from attestor.core.requests import SigningRequest
from attestor.core.tierrules import Action
from attestor.core.views import request_view
from attestor.core.wire import DecisionView


@dataclass(frozen=True, slots=True)
class ApprovalRecord:
    """What is known of one approval beside what was signed."""

    given: Given
    approver: str
    reason: str
    received_at: datetime
    revoked_at: datetime | None
    pairs: int
    spent: int


def approval_view(record: ApprovalRecord, policy: Policy, now: datetime) -> ApprovalView:
    """Show an approval and how it stands at *now* (aware). Raises ``Malformed`` on a document that was never one."""
    document = read_approval(record.given.document)
    begin, end = document.window()
    state, why = _standing(record, document, policy, now)
    return ApprovalView(
        digest=record.given.digest.hex(),
        state=state,
        why=why,
        approver=record.approver,
        key=record.given.key,
        action=document.action,
        tier=document.tier,
        reason=record.reason,
        request=document.request,
        release_id=document.release,
        sha256=document.digest,
        manifest=document.manifest,
        pairs=record.pairs,
        spent=record.spent,
        not_before=begin,
        until=end,
        received_at=record.received_at,
        revoked_at=record.revoked_at,
    )


def _standing(
    record: ApprovalRecord, document: ApprovalDocument, policy: Policy, now: datetime
) -> tuple[Literal["standing", "spent", "revoked", "over", "not-counting"], str | None]:
    if record.spent == record.pairs:
        return "spent", None
    if record.revoked_at is not None:
        return "revoked", None
    if now >= document.window()[1]:
        return "over", None
    tier = next((each for each in policy.tiers if each.name == document.tier), None)
    if tier is None:
        return "not-counting", "approval-elsewhere"
    person = policy.persons.get(record.approver, "")
    approval = Approval(record.given, document, record.approver, person, frozenset())
    why = why_for_nobody(approval, tier=tier, policy=policy, at=now)
    return ("standing", None) if why is None else ("not-counting", why)


def terms_of(tier: Tier, policy: Policy) -> Terms:
    """What an approval for this tier is bound to."""
    hours = tier.approvals.hours if tier.approvals is not None else 0
    return Terms(origin=policy.origin, tier=tier.name, rules=rules_digest(tier, policy), hours=hours)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that people may let through, with all that it is shown by."""

    request: SigningRequest
    action: Action
    decision: DecisionView
    approvals: tuple[Approval, ...]
    """Those that count for it now."""
    signed: Collection[bytes]
    claims: tuple[Claim, ...]


def wanted_view(waiting: Waiting, tier: Tier, policy: Policy) -> WantedApproval:
    """Show what an approver must see."""
    shown, release = request_view(waiting.request), waiting.request.release
    path = f"/v1/releases/{release.id}"
    return WantedApproval(
        request=shown.id,
        requester=shown.requester,
        release=shown.release,
        release_id=release.id,
        artifact=shown.artifact,
        action=waiting.action.value,
        reason=shown.reason,
        sentence=shown.sentence,
        needed=tier.needs(waiting.action),
        approved_by=tuple(sorted({each.approver for each in waiting.approvals})),
        terms=terms_of(tier, policy),
        decision=waiting.decision,
        signed=tuple(sorted(each.hex() for each in waiting.signed)),
        evidence=tuple(_link(claim, path) for claim in sorted(waiting.claims, key=_in_order)),
        release_path=path,
        since=shown.updated_at,
    )


def _link(claim: Claim, path: str) -> EvidenceLink:
    return EvidenceLink(
        operator=claim.operator,
        outcome=claim.outcome.value,
        sha256=claim.sha256.hex() if claim.sha256 is not None else None,
        envelope=f"{path}/envelopes/{claim.operator}/{claim.payload_digest.hex()}",
    )


def _in_order(claim: Claim) -> tuple[str, bytes]:
    return claim.operator, claim.payload_digest


def tier_view(tier: Tier, policy: Policy, now: datetime, places: tuple[int, int]) -> TierView:
    """Show a tier; *places* of its quota's period at *now* are used, and reserved."""
    return TierView(
        name=tier.name,
        kind=tier.kind.value,
        purl=tier.pattern.text,
        threshold=tier.threshold,
        operators=tuple(sorted(tier.operators)),
        signing_key=tier.signing_key,
        version_order=tier.version_order.value,
        quota=_quota_view(tier, now, *places),
        approvals={action.value: needed for action in Action if (needed := tier.needs(action))},
        terms=terms_of(tier, policy),
    )


def period_of(tier: Tier, now: datetime) -> tuple[str, str, str] | None:
    """(tier, signing key, period's name) of the places that its quota counts at *now*."""
    if tier.quota is None:
        return None
    return tier.name, tier.signing_key, window_of(tier.quota.period, now).name


def _quota_view(tier: Tier, now: datetime, used: int, reserved: int) -> QuotaView | None:
    if tier.quota is None:
        return None
    window = tier.quota.window(now)
    return QuotaView(
        limit=tier.quota.limit,
        period=tier.quota.period.value,
        name=window.name,
        used=used,
        reserved=reserved,
        left=max(0, tier.quota.limit - used - reserved),
        opens_at=window.end,
    )
