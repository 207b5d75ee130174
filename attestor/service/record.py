"""Record submissions: one transaction keeps them, decides their releases anew, and moves the signing requests that follow."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final

from attestor.core.claims import Claim
from attestor.core.dissent import dissenters
from attestor.core.errors import AttestorError, Exhausted, Missing, OverRate
from attestor.core.evidence import read_evidence
from attestor.core.naming import Release
from attestor.core.policy import Policy
from attestor.core.views import release_line
from attestor.core.wire import Receipt
from attestor.service.allowance import Allowance, Hold
from attestor.service.decide import (
    Decided,
    Moment,
    anew,
    asked_for,
    decide,
    decide_one,
    following,
    received_before,
    votes_on,
)
from attestor.service.dissent import Dissent, Lookout
from attestor.service.ports import Arrival, Changes, Ledger, Vote, Withdrawal
from attestor.service.tell import late_dissent, told_of_intake

MAX_PAYLOADS: Final = 8
"""Payloads of one operator on one release."""


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
        answers, kept = _keep(policy, submissions, votes, now, hold)
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
    policy: Policy, arrivals: Sequence[Arrival], decided: Decided, votes: Mapping[str, list[Vote]], now: datetime
) -> Iterator[Dissent]:
    """Who dissents on a release since these arrived, and did not before; by the votes, so that a replay is none."""
    arrived = {claim.release.id: claim.release for arrival in arrivals for claim in arrival.claims}
    for release in arrived.values():
        _, decision = decided[release.id]
        if decision is None or not (after := dissenters(decision)):
            continue
        _, earlier = decide_one(policy, release, received_before(now, votes[release.id]), now)
        before = dissenters(earlier) if earlier is not None else frozenset()
        yield from (Dissent(operator, release.id) for operator in sorted(after - before))


def _keep(
    policy: Policy, submissions: Sequence[Submission], votes: dict[str, list[Vote]], now: datetime, hold: Hold
) -> tuple[list[bool | AttestorError], Changes]:
    """Add each submission to the votes, in order: a replay changes nothing, one over a limit is refused."""
    arrivals: dict[tuple[str, bytes], Arrival] = {}
    withdrawals: list[Withdrawal] = []
    answers: list[bool | AttestorError] = []
    for submission in submissions:
        try:
            fresh = _fresh(submission, votes)
            taken = _take_back(policy, submission, votes)
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


def _take_back(policy: Policy, submission: Submission, votes: dict[str, list[Vote]]) -> list[Withdrawal]:
    """Mark what a withdrawal takes back, all or nothing; only a payload that its operator stated can be."""
    places = [(withdrawal, _stated(withdrawal, votes[withdrawal.release_id])) for withdrawal in submission.withdrawals]
    taken = []
    for withdrawal, place in places:
        on_release = votes[withdrawal.release_id]
        vote = on_release[place]
        if withdrawal.body not in vote.withdrawals and not _is_taken_back(vote, policy):
            on_release[place] = replace(vote, withdrawals=(*vote.withdrawals, withdrawal.body))
            taken.append(withdrawal)
    return taken


def _is_taken_back(vote: Vote, policy: Policy) -> bool:
    """Whether a key that counts has said so; what a revoked key took back, or one that left the policy, its operator says again.

    Each key so adds one withdrawal of a vote at most, as its own is there while it counts: whoever stole one fills up nothing.
    """
    claim = vote.claim
    reading = read_evidence(claim.release, (), vote.withdrawals, policy)
    return (claim.operator, claim.payload_digest) in reading.withdrawn


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
        votes[claim.release.id].append(Vote(received))
    for operator, claims in by_operator.items():
        place = (operator, submission.payload_digest)
        arrivals[place] = Arrival(operator, submission.payload_digest, submission.body, tuple(claims))


def _receipt(submission: Submission, decided: Decided, *, replay: bool) -> Receipt:
    return Receipt(
        payload_digest=submission.payload_digest.hex(),
        replay=replay,
        releases=tuple(release_line(release, decided[release.id][0].view) for release in submission.releases),
    )
