"""Read what people approved, what waits for them, and what the tiers still let through."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from attestor.core.approvals import Approval, Asking, read_given, why_not
from attestor.core.approvalviews import Waiting, approval_view, period_of, tier_view, wanted_view
from attestor.core.approvalwire import (
    ApprovalDetail,
    ApprovalPage,
    PairView,
    TierPage,
    WantedApproval,
    WantedPage,
)
from attestor.core.claims import Claim
from attestor.core.errors import Malformed
from attestor.core.lifecycle import State
from attestor.core.obstacles import LIFTED_BY
from attestor.core.policy import Policy, Tier
from attestor.core.quorum import Reached, in_favour_of
from attestor.core.requests import SigningRequest
from attestor.core.strictjson import encode_base64
from attestor.core.tierrules import Action
from attestor.service.approvalports import ApprovalBook, ApprovalFilter, QuotaUse
from attestor.service.approve import known_approval
from attestor.service.decide import Asked, Decided, asked_beside, decide, votes_on
from attestor.service.ports import Ledger


async def approvals(  # noqa: PLR0913 - what is read, under what, and which page
    book: ApprovalBook,
    policy: Policy,
    now: Callable[[], datetime],
    *,
    wanted: ApprovalFilter,
    cursor: str | None,
    limit: int,
) -> ApprovalPage:
    """List approvals in the order of their digests."""
    page = await book.approvals(wanted, bytes.fromhex(cursor) if cursor is not None else None, limit + 1)
    moment = now()
    return ApprovalPage(
        approvals=tuple(approval_view(record, policy, moment) for record in page[:limit]),
        cursor=page[limit - 1].given.digest.hex() if len(page) > limit else None,
    )


async def approval(book: ApprovalBook, policy: Policy, now: Callable[[], datetime], digest: str) -> ApprovalDetail:
    """Show one approval with what was signed. Raises ``Missing`` ``approval-unknown``."""
    record = await known_approval(book, bytes.fromhex(digest))
    pairs = await book.pairs(bytes.fromhex(digest))
    return ApprovalDetail(
        approval=approval_view(record, policy, now()),
        document=encode_base64(record.given.document),
        signature=encode_base64(record.given.signature),
        pairs=tuple(PairView(release_id=each.pair[0], sha256=each.pair[1], spent_at=each.spent_at) for each in pairs),
    )


async def wanted(ledger: Ledger, book: ApprovalBook, policy: Policy, *, cursor: str | None, limit: int) -> WantedPage:
    """List requests that people may let through, in the order of their ids (random)."""
    held = [(tier.name, reason) for tier in policy.tiers for reason, action in LIFTED_BY.items() if tier.needs(action)]
    page = await book.waiting(held, _uuid(cursor) if cursor is not None else None, limit + 1)
    looked_at = await _looked_at(ledger, policy, page[:limit])
    return WantedPage(
        wanted=tuple(looked_at.views()),
        cursor=str(page[limit - 1].id) if len(page) > limit else None,
    )


async def wanted_one(ledger: Ledger, policy: Policy, request_id: str) -> WantedPage:
    """The same of one request: an empty page where nobody's approval would move it now."""
    request = await ledger.request(UUID(request_id))
    held = request is not None and request.state is State.WAITING and request.reason in LIFTED_BY
    looked_at = await _looked_at(ledger, policy, [request] if request is not None and held else [])
    return WantedPage(wanted=tuple(looked_at.views()), cursor=None)


async def tiers(book: ApprovalBook, policy: Policy, now: Callable[[], datetime]) -> TierPage:
    """Show the rules of every tier, and what is left of each quota."""
    moment = now()
    periods = [period for tier in policy.tiers if (period := period_of(tier, moment)) is not None]
    uses = {(use.tier, use.signing_key, use.period): use for use in await book.quota_uses(periods)}
    shown = sorted(policy.tiers, key=lambda tier: tier.name)
    return TierPage(
        origin=policy.origin,
        policy_serial=policy.serial,
        policy_digest=policy.digest,
        tiers=tuple(tier_view(tier, policy, moment, _places(tier, moment, uses)) for tier in shown),
    )


def _places(tier: Tier, moment: datetime, uses: dict[tuple[str, str, str], QuotaUse]) -> tuple[int, int]:
    period = period_of(tier, moment)
    use = uses.get(period) if period is not None else None
    return (use.used, use.reserved) if use is not None else (0, 0)


@dataclass(frozen=True, slots=True)
class _LookedAt:
    """A page of requests with everything that is weighed for them."""

    policy: Policy
    requests: list[SigningRequest]
    decided: Decided
    asked: Asked
    claims: dict[str, list[Claim]]
    now: datetime

    def views(self) -> Iterator[WantedApproval]:
        for request in self.requests:
            waiting = self._waiting(request)
            if waiting is not None:
                yield wanted_view(waiting, self.policy.tier_of(request.release), self.policy)

    def _waiting(self, request: SigningRequest) -> Waiting | None:
        """``None`` where nobody's approval would let it through: no tier, no such exception, or too few votes in a dispute."""
        stored, decision = self.decided[request.release.id]
        if decision is None:
            return None
        tier, action = self.policy.tier_of(request.release), LIFTED_BY[request.reason]
        disputed_in_vain = action is Action.DISPUTE and not isinstance(in_favour_of(decision, request.sha256), Reached)
        if not tier.needs(action) or disputed_in_vain:
            return None
        return Waiting(
            request=request,
            action=action,
            decision=stored.view,
            approvals=tuple(self._counting(request, tier, action)),
            signed=self.asked.signed.get(request.release.id, frozenset()),
            claims=tuple(self.claims[request.release.id]),
        )

    def _counting(self, request: SigningRequest, tier: Tier, action: Action) -> Iterator[Approval]:
        pair = (request.release.id, request.sha256.hex())
        asking = Asking(str(request.id), request.requester, pair)
        for given in self.asked.approvals.get((request.release.id, request.sha256), ()):
            read = read_given(given, pair, self.policy)
            if read is None or read.document.action != action:
                continue
            if why_not(read, asking, tier=tier, policy=self.policy, at=self.now) is None:
                yield read


async def _looked_at(ledger: Ledger, policy: Policy, requests: list[SigningRequest]) -> _LookedAt:
    releases = {request.release.id: request.release for request in requests}
    async with ledger.transaction() as transaction:
        # None of them is locked: what is read here is only shown.
        now = await transaction.lock([])
        votes = await votes_on(transaction, releases)
        decided = decide(policy, releases.values(), votes, now)
        asked = await asked_beside(transaction, decided, requests, votes)
    claims = {release_id: [vote.claim for vote in on_release] for release_id, on_release in votes.items()}
    return _LookedAt(policy, requests, decided, asked, claims, now)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Malformed("cursor-unknown", "The cursor is none that this list gave.") from None
