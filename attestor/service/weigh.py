"""Weigh a release as a signer does: what the database shows, held against what the log names, under the signer's own policy.

A database may hide a vote, spoil its envelope, or bring one that was never taken in. The first two halt the signer, because
the log names what is missing; the third counts for nothing until the log names it.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attestor.core.claims import Claim
from attestor.core.errors import Halted, Rejected
from attestor.core.evidence import Reading, read_evidence
from attestor.core.naming import Release
from attestor.core.obstacles import NotNow
from attestor.core.past import Remembered
from attestor.core.policy import Policy, Tier
from attestor.core.quorum import Decision, evaluate
from attestor.core.statement import parse_attestation
from attestor.service.signports import Evidence, Stated

_REMEDY: Final = "Nothing is signed. Restore what is missing, or have the operator submit the same attestation again, then restart the signer."
Pair = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Shown:
    """One envelope of the evidence, by what it is and not by what the database says of it."""

    operator: str
    payload_digest: bytes
    envelope: bytes
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Sight:
    """The evidence as the signer sees it: its envelopes by what they are, and what they say under the signer's keys."""

    evidence: Evidence
    shown: Mapping[Pair, Shown]
    """Every envelope that can be read at all, by operator and payload digest."""
    reading: Reading
    """Verified with the keys of the signer's own policy file (P1, P9)."""

    @property
    def pairs(self) -> set[Pair]:
        """Every (operator, payload digest) that the database shows, or that an envelope in it holds."""
        return {*self.shown, *map(pair_of, self.reading.claims)}


def sight_of(release: Release, evidence: Evidence, policy: Policy, before: Sight | None) -> Sight:
    """Look at the evidence; where it is byte for byte what was seen *before*, that sight holds."""
    if before is not None and before.evidence == evidence:
        return before
    shown = {(vote.operator, vote.payload_digest): vote for vote in _readable(evidence)}
    envelopes = [(vote.operator, vote.body, vote.received_at) for vote in shown.values()]
    return Sight(evidence, shown, read_evidence(release, envelopes, evidence.withdrawals, policy))


def _readable(evidence: Evidence) -> Iterator[Shown]:
    for operator, body, received_at in evidence.envelopes:
        with suppress(Rejected):
            payload_digest = parse_attestation(body).payload_digest
            yield Shown(operator, payload_digest, hashlib.sha256(body).digest(), body, received_at)


def decide(  # noqa: PLR0913 - the decision rests on every one of these
    reading: Reading, remembered: Remembered, index: int | None, *, tier: Tier, policy: Policy, now: datetime
) -> Decision:
    """The signer's own decision; with *index*, from the votes alone that the log names before it: what came later is late."""
    claims = [
        claim
        for claim in reading.claims
        if index is None or ((receipt := remembered.received.get(pair_of(claim))) is not None and receipt.index < index)
    ]
    # What the log says was taken back, by a key that left the policy since, is final all the same (design §5): it votes for
    # nothing, and as nobody can verify the withdrawal any more, it ends no dissent either.
    taken_back = reading.doubted | reading.unverified(remembered.withdrawn.keys())
    return evaluate(tier, policy, claims, reading.withdrawn, now, doubted=taken_back)


def pair_of(claim: Claim) -> Pair:
    return claim.operator, claim.payload_digest


def refuse_changed(release: Release, sight: Sight) -> None:
    """Raise ``Halted`` ``claim-changed`` unless stored claims say what the envelopes say that they stand for."""
    read = {pair_of(claim): claim for claim in sight.reading.claims}
    for stated in sight.evidence.stated:
        claim = read.get((stated.operator, stated.payload_digest))
        if claim is not None and stated != Stated.of(claim):
            raise Halted(
                "claim-changed",
                f"The database states another result for {release.file_name} than operator {claim.operator} does in the "
                f"attestation with the payload {claim.payload_digest.hex()}. {_REMEDY}",
            )


def refuse_withheld(release: Release, sight: Sight, remembered: Remembered) -> None:
    """Raise ``Halted`` unless the database shows everything that the log names for the release.

    ``vote-withheld``, ``withdrawal-withheld``, ``signature-lost``.
    """
    for (operator, payload), receipt in remembered.received.items():
        vote = sight.shown.get((operator, payload))
        if vote is None or vote.envelope != receipt.envelope:
            what = "does not show" if vote is None else "shows another envelope of"
            raise Halted(
                "vote-withheld",
                f"Log entry {receipt.index} names the payload {payload.hex()} of operator {operator} for "
                f"{release.file_name}, and the database {what} it. {_REMEDY}",
            )
    withdrawals = {hashlib.sha256(body).digest() for body in sight.evidence.withdrawals}
    for (operator, payload), envelopes in remembered.withdrawn.items():
        if not envelopes <= withdrawals:
            raise Halted(
                "withdrawal-withheld",
                f"The log names a withdrawal of {payload.hex()} by operator {operator} that the database does not show. {_REMEDY}",
            )
    lost = [signed for signed in remembered.signed if signed.sha256 not in sight.evidence.signed]
    if lost:
        raise Halted(
            "signature-lost",
            f"Log entry {lost[0].index} says that {release.file_name} was signed, and the database does not know "
            f"it. Nothing is signed. Restore the database from a backup that has it.",
        )


def unlogged(sight: Sight, remembered: Remembered) -> NotNow | None:
    """Say that some votes are not in the log, or ``None``; by what the envelopes say, and not by whom they are kept for."""
    missing = sorted({operator for operator, _ in sight.pairs - remembered.received.keys()})
    if not missing:
        return None
    return NotNow(
        "votes-not-logged",
        f"The log does not name every vote yet ({', '.join(missing)}); it is looked at again. If this stays, a vote was not taken in by the API.",
    )
