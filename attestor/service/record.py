"""Record submissions: one transaction keeps them, decides their releases anew, and moves the signing requests that follow."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

from attestor.core.approvals import Asking, Given, Granted, granted, read_given
from attestor.core.authorisation import next_state, standing
from attestor.core.claims import Claim
from attestor.core.dissent import dissenters
from attestor.core.errors import AttestorError, Conflict, Exhausted, Missing, OverRate
from attestor.core.lifecycle import State
from attestor.core.naming import Release
from attestor.core.obstacles import HELD, Never, NotNow
from attestor.core.policy import Policy, Tier
from attestor.core.quorum import Decision, evaluate
from attestor.core.requests import SigningRequest
from attestor.core.views import FOREVER, decision_view, holds_until, release_line, ungoverned_view
from attestor.core.wire import Receipt
from attestor.service.allowance import Allowance, Hold
from attestor.service.dissent import Dissent, Lookout
from attestor.service.ports import (
    Arrival,
    Changes,
    Ledger,
    RequestMove,
    StoredDecision,
    Transaction,
    Vote,
    Withdrawal,
)
from attestor.service.tell import late_dissent, told_of_intake, told_of_refusals

MAX_PAYLOADS: Final = 8
"""Payloads of one operator on one release."""
_TRIES: Final = 5
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Submission:
    """One verified envelope, ready to be kept: claims of one or more operators, or a withdrawal."""

    payload_digest: bytes
    body: bytes
    claims: tuple[Claim, ...]
    withdrawals: tuple[Withdrawal, ...]
    releases: tuple[Release, ...]


@dataclass(frozen=True, slots=True)
class Intake:
    """What everything that one API process takes in goes through."""

    operators: Allowance
    lookout: Lookout


async def record(
    ledger: Ledger, policy: Policy, submissions: Sequence[Submission], intake: Intake
) -> list[Receipt | AttestorError]:
    """Keep submissions in one transaction and answer each, in order; durable on return (P4).

    A deadlock or a lost race does the whole anew. Raises ``Unavailable`` when the database does not answer.
    """
    answers: dict[int, Receipt | AttestorError] = {}
    while left := [number for number in range(len(submissions)) if number not in answers]:
        together = [submissions[number] for number in left]
        try:
            recorded = await anew(partial(_record_held, ledger, policy, together, intake))
        except _SpentError as spent:
            answers |= {left[place]: error for place, error in spent.answers.items()}
        else:
            answers |= dict(zip(left, recorded, strict=True))
    return [answers[number] for number in range(len(submissions))]


class _SpentError(Exception):
    """Operators may state no more for now: all is undone, also the releases that only those payloads name."""

    def __init__(self, answers: Mapping[int, AttestorError]) -> None:
        super().__init__()
        self.answers = answers


async def _record_held(
    ledger: Ledger, policy: Policy, submissions: Sequence[Submission], intake: Intake
) -> list[Receipt | AttestorError]:
    with intake.operators.holding() as hold:
        answers, seen = await _record_once(ledger, policy, submissions, hold)
    if seen.dissents:
        intake.lookout.dissented(seen.dissents)
    if seen.late:
        intake.lookout.dissented_late(seen.late)
    return answers


async def anew(once: Callable[[], Awaitable[_T]]) -> _T:
    """Do a whole transaction, and again when it met another; after some tries the ``Conflict`` is the caller's."""
    for _ in range(_TRIES - 1):
        with suppress(Conflict):
            return await once()
        await asyncio.sleep(0)
    return await once()


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one transaction brought that people should look at."""

    dissents: Sequence[Dissent]
    late: Sequence[Dissent]


async def _record_once(
    ledger: Ledger, policy: Policy, submissions: Sequence[Submission], hold: Hold
) -> tuple[list[Receipt | AttestorError], _Seen]:
    releases = {release.id: release for submission in submissions for release in submission.releases}
    async with ledger.transaction() as transaction:
        now = await transaction.lock(list(releases.values()))
        votes = await votes_on(transaction, releases)
        answers, kept = _keep(submissions, votes, now, hold)
        spent = {place: answer for place, answer in enumerate(answers) if isinstance(answer, OverRate)}
        if spent:
            raise _SpentError(spent)
        decided = decide(policy, releases.values(), votes, now)
        asked = await asked_for(transaction, decided, votes)
        changes = following(policy, decided, asked, Moment(now))
        late = list(late_dissent(kept.arrivals, asked.requests))
        if kept.arrivals or kept.withdrawals:
            told = told_of_intake(kept.arrivals, kept.withdrawals, late)
            await transaction.write(
                replace(
                    changes, arrivals=kept.arrivals, withdrawals=kept.withdrawals, entries=[*told, *changes.entries]
                )
            )
    if changes.moves:
        # Who listens, waits for a signing request: a release that nobody asked for wakes nobody.
        await ledger.announce(sorted({move.release_id for move in changes.moves}))
    receipts = [
        answer if isinstance(answer, AttestorError) else _receipt(submission, decided, replay=answer)
        for submission, answer in zip(submissions, answers, strict=True)
    ]
    dissents = list(_new_dissents(policy, kept.arrivals, decided, votes, now))
    return receipts, _Seen(dissents, [Dissent(entry.operator, entry.release) for entry in late])


def _new_dissents(
    policy: Policy, arrivals: Sequence[Arrival], decided: "Decided", votes: Mapping[str, list[Vote]], now: datetime
) -> Iterator[Dissent]:
    """Who dissents on a release since these arrived, and did not before; by the votes, so that a replay is none."""
    arrived = {claim.release.id: claim.release for arrival in arrivals for claim in arrival.claims}
    for release in arrived.values():
        _, decision = decided[release.id]
        if decision is None or not (after := dissenters(decision)):
            continue
        _, earlier = decide_one(policy, release, _received_before(now, votes[release.id]), now)
        before = dissenters(earlier) if earlier is not None else frozenset()
        yield from (Dissent(operator, release.id) for operator in sorted(after - before))


def _received_before(moment: datetime, votes: Iterable[Vote]) -> list[Vote]:
    return [vote for vote in votes if vote.claim.received_at < moment]


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
    withdrawn = frozenset((vote.claim.operator, vote.claim.payload_digest) for vote in votes if vote.withdrawn)
    return evaluate(tier, policy, [vote.claim for vote in votes], withdrawn, now)


def obstacle_to(
    policy: Policy, request: SigningRequest, decided: Decided, asked: "Asked", now: datetime
) -> NotNow | Never | None:
    """Say what keeps a request from being queued under these decisions."""
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
    # late. What takes those votes away since, a withdrawal or the end of a key, does so here as there.
    before = _received_before(request.decided_at, asked.votes.get(request.release.id, ()))
    return standing(request, tier, _evaluated(policy, tier, before, now), signed=signed, granted=let_through)


def granted_to(policy: Policy, request: SigningRequest, tier: Tier, asked: "Asked", now: datetime) -> Granted:
    """Which exceptions enough people let through for a request; what is spent already, only a signer knows for sure."""
    pair = (request.release.id, request.sha256.hex())
    given = asked.approvals.get((request.release.id, request.sha256), ())
    approvals = [read for each in given if (read := read_given(each, pair, policy)) is not None]
    asking = Asking(str(request.id), request.requester, pair)
    return granted(approvals, asking, tier=tier, policy=policy, at=now, spent=())


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of some releases, what of them is signed, what people approved, and all votes on them."""

    requests: Sequence[SigningRequest]
    signed: Mapping[str, frozenset[bytes]]
    approvals: Mapping[tuple[str, bytes], Sequence[Given]]
    votes: Mapping[str, Sequence[Vote]]


async def asked_for(transaction: Transaction, decided: Decided, votes: Mapping[str, Sequence[Vote]]) -> Asked:
    """Read the requests for these releases; also a pending one may have been reached before, or waits for another reason now."""
    requests = await transaction.requests(list(decided))
    return await asked_beside(transaction, decided, requests, votes) if requests else Asked((), {}, {}, votes)


async def asked_beside(
    transaction: Transaction,
    decided: Decided,
    requests: Sequence[SigningRequest],
    votes: Mapping[str, Sequence[Vote]],
) -> Asked:
    """What is to be known beside these requests for some releases."""
    ids = list(decided)
    return Asked(requests, await transaction.signed_digests(ids), await transaction.approvals(ids), votes)


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


def _keep(
    submissions: Sequence[Submission], votes: dict[str, list[Vote]], now: datetime, hold: Hold
) -> tuple[list[bool | AttestorError], Changes]:
    """Add each submission to the votes, in order: a replay changes nothing, one over a limit is refused."""
    arrivals: dict[tuple[str, bytes], Arrival] = {}
    withdrawals: list[Withdrawal] = []
    answers: list[bool | AttestorError] = []
    for submission in submissions:
        try:
            fresh = _fresh(submission, votes)
            taken = _take_back(submission, votes)
            # Only here is it known what is new: who sends an operator's payloads again uses up nothing of it.
            hold.take(frozenset(claim.operator for claim in fresh))
        except AttestorError as error:
            answers.append(error)
            continue
        _add(submission, fresh, votes, arrivals, now)
        withdrawals += taken
        answers.append(not fresh and not taken)
    return answers, Changes(arrivals=list(arrivals.values()), withdrawals=withdrawals)


def _fresh(submission: Submission, votes: Mapping[str, list[Vote]]) -> list[Claim]:
    """The claims that are new: a payload counts once per operator, whatever its wrapping."""
    fresh = []
    for claim in submission.claims:
        known = {v.claim.payload_digest for v in votes[claim.release.id] if v.claim.operator == claim.operator}
        if claim.payload_digest in known:
            continue
        if len(known) >= MAX_PAYLOADS:
            raise Exhausted(
                "too-many-payloads",
                f"Operator {claim.operator} has stated {MAX_PAYLOADS} payloads on this release, withdrawn ones included; no more are taken.",
            )
        fresh.append(claim)
    return fresh


def _take_back(submission: Submission, votes: dict[str, list[Vote]]) -> list[Withdrawal]:
    """Mark what a withdrawal takes back, all or nothing; only a payload that its operator stated can be."""
    places = [(withdrawal, _stated(withdrawal, votes[withdrawal.release_id])) for withdrawal in submission.withdrawals]
    taken = []
    for withdrawal, place in places:
        on_release = votes[withdrawal.release_id]
        if not on_release[place].withdrawn:
            on_release[place] = replace(on_release[place], withdrawn=True)
            taken.append(withdrawal)
    return taken


def _stated(withdrawal: Withdrawal, votes: Sequence[Vote]) -> int:
    for place, vote in enumerate(votes):
        if (vote.claim.operator, vote.claim.payload_digest) == (withdrawal.operator, withdrawal.payload_digest):
            return place
    raise Missing("payload-unknown", f"Operator {withdrawal.operator} has stated no such payload on this release.")


def _add(
    submission: Submission,
    fresh: Sequence[Claim],
    votes: dict[str, list[Vote]],
    arrivals: dict[tuple[str, bytes], Arrival],
    now: datetime,
) -> None:
    by_operator: defaultdict[str, list[Claim]] = defaultdict(list)
    for claim in fresh:
        received = replace(claim, received_at=now)
        by_operator[claim.operator].append(received)
        votes[claim.release.id].append(Vote(received, withdrawn=False))
    for operator, claims in by_operator.items():
        place = (operator, submission.payload_digest)
        arrivals[place] = Arrival(operator, submission.payload_digest, submission.body, tuple(claims))


def _receipt(submission: Submission, decided: Decided, *, replay: bool) -> Receipt:
    return Receipt(
        payload_digest=submission.payload_digest.hex(),
        replay=replay,
        releases=tuple(release_line(release, decided[release.id][0].view) for release in submission.releases),
    )
