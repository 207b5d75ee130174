"""Read agreement: what is known of a release, shown only under the policy in force (design §5, Counting)."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from attestor.core.claims import Claim
from attestor.core.errors import AttestorError, Malformed, Missing
from attestor.core.naming import Release
from attestor.core.policy import Policy
from attestor.core.quorum import Uncounted
from attestor.core.views import release_line, vote_view
from attestor.core.wire import MAX_PAGE, DecisionView, EventView, Explanation, ReleasePage, ReleaseView
from attestor.service.decide import Decided, Moment, anew, asked_for, decide, decide_one, following, votes_on
from attestor.service.ports import Ledger, ReleaseFilter, ReleaseRecord

_TOGETHER: Final = 50
"""Releases that are evaluated again in one transaction."""


async def release(ledger: Ledger, policy: Policy, now: Callable[[], datetime], release_id: str) -> ReleaseView:
    """Show one release with every vote, counted or not. Raises ``Missing`` ``release-unknown``."""
    known = await _known(ledger, release_id)
    votes = await ledger.votes(release_id)
    stored, decision = decide_one(policy, known.release, votes, now())
    claims = [vote.claim for vote in votes]
    uncounted = decision.tally.uncounted if decision else frozenset(map(_without_tier, claims))
    asked = await ledger.requests(release_id)
    return ReleaseView(
        id=known.release.id,
        kind=known.release.kind,
        purl=known.release.purl,
        file_name=known.release.file_name,
        decision=stored.view,
        votes=tuple(vote_view(claim, uncounted) for claim in sorted(claims, key=_in_order)),
        requests=tuple(str(request.id) for request in asked),
    )


async def explain(ledger: Ledger, policy: Policy, now: Callable[[], datetime], release_id: str) -> Explanation:
    """Show the whole chain: the release, and every step of its life in order."""
    shown = await release(ledger, policy, now, release_id)
    return Explanation(
        release=shown,
        events=tuple(
            EventView(
                at=event.at,
                request=str(event.request_id) if event.request_id else None,
                what=event.what,
                detail=event.detail,
            )
            for event in await ledger.events(release_id)
        ),
    )


async def releases(  # noqa: PLR0913 - one argument per filter of the list
    ledger: Ledger,
    policy: Policy,
    now: Callable[[], datetime],
    *,
    wanted: ReleaseFilter,
    cursor: str | None,
    limit: int,
) -> ReleasePage:
    """List releases in the order of their ids; what no longer holds is evaluated again before it is shown."""
    if not 1 <= limit <= MAX_PAGE:
        raise Malformed("limit-invalid", f"The limit is 1 to {MAX_PAGE}.")
    page = await ledger.releases(wanted, cursor, limit + 1)
    lines = []
    for record in page[:limit]:
        view = _holding(record, policy, now()) or await _evaluated(ledger, policy, now, record)
        if wanted.state in {None, view.state} and wanted.tier in {None, view.tier}:
            lines.append(release_line(record.release, view))
    return ReleasePage(releases=tuple(lines), cursor=page[limit - 1].release.id if len(page) > limit else None)


async def _evaluated(ledger: Ledger, policy: Policy, now: Callable[[], datetime], known: ReleaseRecord) -> DecisionView:
    if _is_newer(known, policy):
        return decide_one(policy, known.release, await ledger.votes(known.release.id), now())[0].view
    return (await refresh(ledger, policy, [known.release]))[known.release.id][0].view


async def refresh(ledger: Ledger, policy: Policy, known: Sequence[Release]) -> Decided:
    """Evaluate releases under the policy in force in one transaction, store that, and move the requests that follow."""
    return await anew(lambda: _refresh_once(ledger, policy, known))


async def _refresh_once(ledger: Ledger, policy: Policy, known: Sequence[Release]) -> Decided:
    async with ledger.transaction() as transaction:
        moment = await transaction.lock(known)
        votes = await votes_on(transaction, {release.id: release for release in known})
        decided = decide(policy, known, votes, moment)
        changes = following(policy, decided, await asked_for(transaction, decided, votes), Moment(moment, anew=True))
        await transaction.write(changes)
    if changes.moves:
        await ledger.announce(sorted({move.release_id for move in changes.moves}))
    return decided


async def reevaluate(ledger: Ledger, policy: Policy, limit: int) -> int:
    """Evaluate again up to *limit* releases whose evaluation no longer holds: another policy, or a key's time came.

    What another process decided under a newer policy stays: this one has yet to load it. Returns how many were evaluated,
    so that the caller knows whether to go on; raises the failure of one that could not be, once the others are.
    """
    stale = [known.release for known in await ledger.stale(policy.digest, limit) if not _is_newer(known, policy)]
    failures: list[AttestorError] = []
    for start in range(0, len(stale), _TOGETHER):
        failures += await _failures_of(ledger, policy, stale[start : start + _TOGETHER])
    if failures:
        raise failures[0]
    return len(stale)


async def _failures_of(ledger: Ledger, policy: Policy, known: Sequence[Release]) -> list[AttestorError]:
    """Evaluate them together, and where that fails each by itself. A database that cannot be reached is not asked again."""
    try:
        await refresh(ledger, policy, known)
    except AttestorError as error:
        if error.code == "database-unavailable":
            raise
        if len(known) == 1:
            return [error]
        return [failure for release in known for failure in await _failures_of(ledger, policy, [release])]
    return []


def _is_newer(known: ReleaseRecord, policy: Policy) -> bool:
    """Whether another process decided it under a policy that this one has not loaded yet."""
    return known.decision is not None and known.decision.view.policy_serial > policy.serial


async def _known(ledger: Ledger, release_id: str) -> ReleaseRecord:
    known = await ledger.release(release_id)
    if known is None:
        raise Missing(
            "release-unknown", "Nobody has attested such a release here; check the id, or list releases by purl."
        )
    return known


def _holding(known: ReleaseRecord, policy: Policy, now: datetime) -> DecisionView | None:
    """The stored evaluation while it holds: made under the policy in force, and no key's time came since."""
    stored = known.decision
    return stored.view if stored and stored.view.policy_digest == policy.digest and now < stored.holds_until else None


def _without_tier(claim: Claim) -> Uncounted:
    return Uncounted(claim.operator, claim.payload_digest, "no-tier")


def _in_order(claim: Claim) -> tuple[str, bytes]:
    return claim.operator, claim.payload_digest
