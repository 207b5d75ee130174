"""Decide releases from their votes, and say where the requests for them stand: what every transaction of the API does."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from attestor.core.approvals import Asking, Given, Granted, granted, read_given
from attestor.core.authorisation import next_state, standing
from attestor.core.errors import Conflict, Missing
from attestor.core.evidence import read_evidence
from attestor.core.lifecycle import State
from attestor.core.naming import Release
from attestor.core.obstacles import HELD, Never, NotNow
from attestor.core.policy import Policy, Tier
from attestor.core.quorum import Decision, evaluate
from attestor.core.requests import SigningRequest
from attestor.core.views import FOREVER, decision_view, holds_until, ungoverned_view
from attestor.service.ports import Changes, RequestMove, StoredDecision, Transaction, Vote
from attestor.service.tell import told_of_refusals

_TRIES: Final = 5
_T = TypeVar("_T")


async def anew(once: Callable[[], Awaitable[_T]]) -> _T:
    """Do a whole transaction, and again when it met another; after some tries the ``Conflict`` is the caller's."""
    for _ in range(_TRIES - 1):
        with suppress(Conflict):
            return await once()
        await asyncio.sleep(0)
    return await once()


async def votes_on(transaction: Transaction, releases: Mapping[str, Release]) -> dict[str, list[Vote]]:
    """Read the votes on locked releases, by release id."""
    votes: dict[str, list[Vote]] = {release_id: [] for release_id in releases}
    for vote in await transaction.votes(list(releases)):
        votes[vote.claim.release.id].append(vote)
    return votes


Decided = dict[str, tuple[StoredDecision, Decision | None]]
"""By release id; there is no decision where no tier governs the release any more."""


def decide(policy: Policy, releases: Iterable[Release], votes: Mapping[str, list[Vote]], now: datetime) -> Decided:
    """Evaluate each release."""
    return {release.id: decide_one(policy, release, votes[release.id], now) for release in releases}


def decide_one(
    policy: Policy, release: Release, votes: Sequence[Vote], now: datetime
) -> tuple[StoredDecision, Decision | None]:
    """Evaluate one release from all votes on it."""
    try:
        tier = policy.tier_of(release)
    except Missing as error:
        return StoredDecision(release.id, ungoverned_view(error.sentence, policy), FOREVER), None
    decision = _evaluated(policy, tier, votes, now)
    view = decision_view(decision, tier, policy)
    return StoredDecision(release.id, view, holds_until(policy, (vote.claim for vote in votes), now)), decision


def _evaluated(policy: Policy, tier: Tier, votes: Sequence[Vote], now: datetime) -> Decision:
    """As a signer does: what a key took back that is revoked by now, or has left the policy, is in doubt."""
    claims = [vote.claim for vote in votes]
    taken_back = {(vote.claim.operator, vote.claim.payload_digest) for vote in votes if vote.withdrawals}
    if not taken_back:
        return evaluate(tier, policy, claims, frozenset(), now)
    withdrawals = {body for vote in votes for body in vote.withdrawals}
    reading = read_evidence(claims[0].release, (), withdrawals, policy)
    doubted = reading.doubted | reading.unverified(taken_back)
    return evaluate(tier, policy, claims, reading.withdrawn, now, doubted=doubted)


def received_before(moment: datetime, votes: Iterable[Vote]) -> list[Vote]:
    """As of a moment, but for what was taken back since: that is taken back."""
    return [vote for vote in votes if vote.claim.received_at < moment]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of some releases, what of them is signed, what people approved, all votes on them, and the log's policy."""

    requests: Sequence[SigningRequest]
    signed: Mapping[str, frozenset[bytes]]
    approvals: Mapping[tuple[str, bytes], Sequence[Given]]
    votes: Mapping[str, Sequence[Vote]]
    policy_serial: int
    """The newest that the log names; 0 before there is one."""


async def asked_for(transaction: Transaction, decided: Decided, votes: Mapping[str, Sequence[Vote]]) -> Asked:
    """Read the requests for these releases; also a pending one may have been reached before, or waits for another reason now."""
    requests = await transaction.requests(list(decided))
    return await asked_beside(transaction, decided, requests, votes) if requests else Asked((), {}, {}, votes, 0)


async def asked_beside(
    transaction: Transaction,
    decided: Decided,
    requests: Sequence[SigningRequest],
    votes: Mapping[str, Sequence[Vote]],
) -> Asked:
    """What is to be known beside these requests for some releases."""
    ids = list(decided)
    signed, approvals = await transaction.signed_digests(ids), await transaction.approvals(ids)
    return Asked(requests, signed, approvals, votes, await transaction.policy_serial())


def obstacle_to(
    policy: Policy, request: SigningRequest, decided: Decided, asked: Asked, now: datetime
) -> NotNow | Never | None:
    """Say what keeps a request from being queued under these decisions.

    What an older policy than the log's would refuse, waits for this process to load the newer one.
    """
    obstacle = _obstacle(policy, request, decided, asked, now)
    if not isinstance(obstacle, Never) or asked.policy_serial <= policy.serial:
        return obstacle
    return NotNow(
        "policy-older",
        f"The log says that policy serial {asked.policy_serial} is in force, and the API process that was asked has serial "
        f"{policy.serial}: the request waits until it has loaded the newer one (attestor policy reload).",
    )


def _obstacle(
    policy: Policy, request: SigningRequest, decided: Decided, asked: Asked, now: datetime
) -> NotNow | Never | None:
    stored, decision = decided[request.release.id]
    if decision is None:
        return NotNow(stored.view.reason, stored.view.sentence)
    tier = policy.tier_of(request.release)
    let_through = granted_to(policy, request, tier, asked, now)
    signed = asked.signed.get(request.release.id, frozenset())
    obstacle = standing(request, tier, decision, signed=signed, granted=let_through)
    if obstacle is None or request.decided_at is None or request.decided_under != policy.digest:
        return obstacle
    # A signer has told its decision under this very policy, and signs by the votes that it was made from: what came later is
    # late. What takes those votes away since, a withdrawal or the end of a key, does so here as there. Approvals had to hold then.
    let_through = granted_to(policy, request, tier, asked, request.decided_at)
    before = received_before(request.decided_at, asked.votes.get(request.release.id, ()))
    return standing(request, tier, _evaluated(policy, tier, before, now), signed=signed, granted=let_through)


def granted_to(policy: Policy, request: SigningRequest, tier: Tier, asked: Asked, now: datetime) -> Granted:
    """Which exceptions enough people let through for a request; what is spent already, only a signer knows for sure."""
    pair = (request.release.id, request.sha256.hex())
    given = asked.approvals.get((request.release.id, request.sha256), ())
    approvals = [read for each in given if (read := read_given(each, pair, policy)) is not None]
    asking = Asking(str(request.id), request.requester, pair)
    return granted(approvals, asking, tier=tier, policy=policy, at=now, spent=())


@dataclass(frozen=True, slots=True)
class Moment:
    """When a transaction looks, and whether what it looks for may change what a signer alone knows."""

    now: datetime
    anew: bool = False


def moves_for(policy: Policy, asked: Asked, decided: Decided, moment: Moment) -> list[RequestMove]:
    """Say where requests that nobody works on stand now, under these decisions."""
    moves = []
    for request in asked.requests:
        if request.state not in {State.WAITING, State.QUEUED} or _is_held(request, moment):
            continue
        obstacle = obstacle_to(policy, request, decided, asked, moment.now)
        reason, sentence = (obstacle.reason, obstacle.sentence) if obstacle else ("queued", "The signer takes it next.")
        after = next_state(obstacle)
        if after is request.state is State.QUEUED:
            # Why it is still in the queue, a paused tier or a try that failed, is not for votes to say.
            continue
        if (after, reason, sentence) != (request.state, request.reason, request.sentence):
            moves.append(RequestMove(request.id, request.release.id, request.state, after, reason, sentence))
    return moves


def _is_held(request: SigningRequest, moment: Moment) -> bool:
    """Whether a signer holds it for what no vote changes, so that asking it again at every vote would be in vain."""
    held = request.reason in HELD and request.not_before is not None and request.not_before > moment.now
    return held and not moment.anew


def following(policy: Policy, decided: Decided, asked: Asked, moment: Moment) -> Changes:
    """What follows from decisions: themselves, the requests that they move, and what the log is told of that."""
    moves = moves_for(policy, asked, decided, moment)
    return Changes(
        decisions=[stored for stored, _ in decided.values()],
        moves=moves,
        entries=told_of_refusals(moves, asked.requests, policy),
    )
