"""The votes of a bundle, weighed again: the very envelopes that the decision weighed, by the rules of its policy, at its time."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from attestor.core.bundle import Bundle
from attestor.core.bundleplace import place, refuse
from attestor.core.dossier import Dossier, counted_votes, dossier, not_counted_votes, read_dossier, received_at
from attestor.core.entries import MAX_NOT_COUNTED, DecisionEntry, NamedArtifact
from attestor.core.evidence import Reading, read_evidence
from attestor.core.naming import Release
from attestor.core.policy import Policy
from attestor.core.quorum import Reached, evaluate
from attestor.core.statement import parse_attestation


@dataclass(frozen=True, slots=True)
class Weighed:
    """The evidence document, and the bodies that it names."""

    document: Dossier
    votes: tuple[tuple[str, bytes, bytes, datetime], ...]
    """(operator, payload digest, envelope, received at), in the document's order."""
    withdrawals: tuple[bytes, ...]


def weighed_in(bundle: Bundle, decision: DecisionEntry) -> Weighed:
    """The evidence that the decision names, with exactly the envelopes and withdrawals that the evidence names, by digest.

    Raises ``Rejected`` ``bundle-evidence``, ``bundle-envelopes``, ``bundle-withdrawals``.
    """
    if hashlib.sha256(bundle.evidence).hexdigest() != decision.evidence:
        refuse("bundle-evidence", f"The evidence is not the document {decision.evidence} that the decision weighed.")
    with place("bundle-evidence", "evidence"):
        document = read_dossier(bundle.evidence)
    named = {vote.envelope for vote in document.votes}
    envelopes = _exactly(bundle.envelopes, named, "bundle-envelopes", "envelopes")
    withdrawals = _exactly(bundle.withdrawals, set(document.withdrawals), "bundle-withdrawals", "withdrawals")
    try:
        votes = tuple(
            (vote.operator, bytes.fromhex(vote.payload), envelopes[vote.envelope], received_at(vote))
            for vote in document.votes
        )
    except ValueError:
        refuse("bundle-evidence", "The evidence says that a vote came at a moment that no calendar has.")
    return Weighed(document, votes, tuple(withdrawals.values()))


def agreement(
    weighed: Weighed, decision: DecisionEntry, release: Release, policy: Policy, created: datetime
) -> Reached:
    """Count again at the decision's own time: the rule must reach these bytes with the same votes, for the same reasons.

    Raises ``Rejected`` ``bundle-votes``.
    """
    _refuse_other_payloads(weighed)
    tier = policy.tier_of(release)
    envelopes = [(operator, body, received) for operator, _, body, received in weighed.votes]
    reading = read_evidence(release, envelopes, weighed.withdrawals, policy)
    reached = evaluate(tier, policy, reading.claims, reading.withdrawn, created, doubted=reading.doubted)
    if not isinstance(reached, Reached) or not are_bytes_of(reached, decision.artifact):
        refuse(
            "bundle-votes",
            f"The attestations do not come to {tier.threshold} operators who agree on these bytes: "
            f"{len(reached.tally.agreeing)} do, {len(reached.tally.dissenting | reached.tally.equivocating)} object.",
        )
    _refuse_other_count(weighed, reading, reached, decision)
    return reached


def _exactly(bodies: tuple[bytes, ...], named: set[str], code: str, name: str) -> dict[str, bytes]:
    found = {hashlib.sha256(body).hexdigest(): body for body in bodies}
    if found.keys() != named:
        missing, strange = len(named - found.keys()), len(found.keys() - named)
        refuse(
            code,
            f"The {name} are not exactly those that the evidence names: {missing} are missing, {strange} are not named there.",
        )
    return found


def _refuse_other_payloads(weighed: Weighed) -> None:
    for operator, payload, body, _ in weighed.votes:
        with place("bundle-votes", f"attestation of {operator}"):
            stated = parse_attestation(body).payload_digest
        if stated != payload:
            refuse(
                "bundle-votes",
                f"The evidence says that the payload of {operator} is {payload.hex()}; in the envelope it is {stated.hex()}.",
            )


def _refuse_other_count(weighed: Weighed, reading: Reading, reached: Reached, decision: DecisionEntry) -> None:
    claimed = {(claim.operator, claim.payload_digest.hex()) for claim in reading.claims}
    counted = counted_votes(weighed.document, reached.tally.agreeing)
    same = (
        dossier(weighed.votes, weighed.withdrawals, reached) == weighed.document
        and counted == decision.counted
        and not_counted_votes(weighed.document, MAX_NOT_COUNTED) == decision.not_counted
        and all((vote.operator, vote.payload) in claimed for vote in counted)
    )
    if not same:
        refuse(
            "bundle-votes",
            f"Counted again, the votes are others than the decision lists; {', '.join(sorted(reached.tally.agreeing))} agree.",
        )


def are_bytes_of(reached: Reached, artifact: NamedArtifact) -> bool:
    agreed, stated = reached.agreed, reached.stated
    return (
        agreed.sha256.hex() == artifact.sha256
        and stated.sha512 in {None, bytes.fromhex(artifact.sha512)}
        and stated.size in {None, artifact.size}
    )
