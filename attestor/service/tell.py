"""What intake and decisions tell the log, in the same transaction that keeps them."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from attestor.core.authorisation import named_release
from attestor.core.entries import (
    REFUSAL,
    DecisionEntry,
    Entry,
    LateDissentEntry,
    NamedArtifact,
    NamedPolicy,
    WithdrawalEntry,
)
from attestor.core.entrybytes import Outgoing, outgoing_of, received_entries
from attestor.core.lifecycle import State
from attestor.core.policy import Policy
from attestor.core.requests import SigningRequest
from attestor.service.ports import Arrival, RequestMove, Withdrawal

MAX_REFUSALS: Final = 16
"""Refusals of one release that are logged, so that whoever may ask cannot fill the log by asking."""


def told_of_intake(
    arrivals: Sequence[Arrival], withdrawals: Sequence[Withdrawal], late: Sequence[LateDissentEntry]
) -> list[Outgoing]:
    """Entries of one intake transaction: what was received and withdrawn, and dissent that comes after a decision."""
    received = received_entries(
        (arrival.operator, arrival.payload_digest, hashlib.sha256(arrival.body).digest(), claim.release.id)
        for arrival in arrivals
        for claim in arrival.claims
    )
    entries: list[Entry] = [*received, *map(_withdrawn, withdrawals), *late]
    return [outgoing_of(entry) for entry in entries]


def late_dissent(arrivals: Iterable[Arrival], asked: Sequence[SigningRequest]) -> Iterator[LateDissentEntry]:
    """The votes for other bytes than those of a decision that was told before."""
    decided = {request.release.id: request.sha256 for request in asked if request.decided_at is not None}
    for arrival in arrivals:
        for claim in arrival.claims:
            chosen = decided.get(claim.release.id)
            if chosen is not None and claim.sha256 not in (None, chosen):
                yield LateDissentEntry(
                    operator=arrival.operator, payload=arrival.payload_digest.hex(), release=claim.release.id
                )


def told_of_refusals(moves: Iterable[RequestMove], asked: Sequence[SigningRequest], policy: Policy) -> list[Outgoing]:
    """Entries of requests that are refused now, as long as their release has few such requests."""
    requests = {request.id: request for request in asked}
    refused = Counter(request.release.id for request in asked if request.state is State.REFUSED)
    told = []
    for move in moves:
        if move.after is State.REFUSED:
            refused[move.release_id] += 1
            if refused[move.release_id] <= MAX_REFUSALS:
                told.append(refusal(requests[move.request_id], move.reason, policy))
    return told


def refusal(request: SigningRequest, reason: str, policy: Policy) -> Outgoing:
    """The entry that says why a request can never be signed; it decides nothing, so it carries no seal."""
    entry = DecisionEntry(
        verdict="refuse",
        request=str(request.id),
        number=REFUSAL,
        release=named_release(request.release),
        artifact=NamedArtifact(size=request.size, sha256=request.sha256.hex(), sha512=request.sha512.hex()),
        tier=request.tier,
        policy=NamedPolicy(serial=policy.serial, digest=policy.digest),
        reason=reason,
    )
    return outgoing_of(entry)


def _withdrawn(withdrawal: Withdrawal) -> WithdrawalEntry:
    return WithdrawalEntry(
        operator=withdrawal.operator,
        payload=withdrawal.payload_digest.hex(),
        release=withdrawal.release_id,
        envelope=hashlib.sha256(withdrawal.body).hexdigest(),
    )
