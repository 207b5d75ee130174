"""The votes of a bundle, weighed again: the very envelopes that the decision weighed, by the rules of its policy, at its time."""

import hashlib
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from attestor.core.approvals import Given
from attestor.core.bundle import Bundle
from attestor.core.bundleplace import place, refuse
from attestor.core.dossier import (
    Dossier,
    approvals_given,
    dossier,
    manifests_named,
    not_counted_votes,
    read_dossier,
    received_at,
    taken_back_in,
)
from attestor.core.entries import MAX_NOT_COUNTED, DecisionEntry, NamedArtifact
from attestor.core.evidence import Reading, read_evidence
from attestor.core.naming import Release
from attestor.core.policy import Policy
from attestor.core.quorum import Decision, Disputed, Reached, evaluate, in_favour_of
from attestor.core.statement import parse_attestation
from attestor.core.tierrules import Action


@dataclass(frozen=True, slots=True)
class Weighed:
    """The evidence document, and the bodies that it names."""

    document: Dossier
    votes: tuple[tuple[str, bytes, bytes, datetime], ...]
    """(operator, payload digest, envelope, received at), in the document's order."""
    withdrawals: tuple[bytes, ...]
    approvals: tuple[Given, ...]
    """In the document's order, none of them believed."""


def weighed_in(bundle: Bundle, decision: DecisionEntry) -> Weighed:
    """The evidence that the decision names, with exactly the envelopes, withdrawals and manifests that it names, by digest.

    Raises ``Rejected`` ``bundle-evidence``, ``bundle-envelopes``, ``bundle-withdrawals``, ``bundle-manifests``.
    """
    if hashlib.sha256(bundle.evidence).hexdigest() != decision.evidence:
        refuse("bundle-evidence", f"The evidence is not the document {decision.evidence} that the decision weighed.")
    with place("bundle-evidence", "evidence"):
        document = read_dossier(bundle.evidence)
        wanted = manifests_named(document)
    named = {vote.envelope for vote in document.votes}
    envelopes = _exactly(bundle.envelopes, named, "bundle-envelopes", "envelopes")
    withdrawals = _exactly(bundle.withdrawals, set(document.withdrawals), "bundle-withdrawals", "withdrawals")
    manifests = _exactly(bundle.manifests, wanted, "bundle-manifests", "manifests")
    try:
        votes = tuple(
            (vote.operator, bytes.fromhex(vote.payload), envelopes[vote.envelope], received_at(vote))
            for vote in document.votes
        )
    except ValueError:
        refuse("bundle-evidence", "The evidence says that a vote came at a moment that no calendar has.")
    with place("bundle-evidence", "evidence"):
        approvals = approvals_given(document, manifests)
    return Weighed(document, votes, tuple(withdrawals.values()), approvals)


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
    taken_back = taken_back_in(weighed.document)
    _refuse_other_doubts(weighed, reading, taken_back)
    evaluated = evaluate(tier, policy, reading.claims, reading.withdrawn, created, doubted=reading.doubted | taken_back)
    reached = in_favour_of_entry(evaluated, decision)
    if reached is None:
        tally = evaluated.tally
        refuse(
            "bundle-votes",
            f"The attestations do not come to {tier.threshold} operators who agree on these bytes: "
            f"{len(tally.agreeing)} do, {len(tally.dissenting | tally.equivocating)} object{_overruling(decision)}.",
        )
    _refuse_other_count(weighed, reading, reached, decision)
    return reached


def _exactly(bodies: tuple[bytes, ...], named: AbstractSet[str], code: str, name: str) -> dict[str, bytes]:
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


def _refuse_other_doubts(weighed: Weighed, reading: Reading, taken_back: AbstractSet[tuple[str, bytes]]) -> None:
    """What the log's word alone takes back is a vote, and of no withdrawal that can be verified; which it is, an audit finds out."""
    stated = {(operator, payload) for operator, payload, _, _ in weighed.votes}
    if not taken_back <= stated - reading.withdrawn - reading.doubted or (taken_back and not weighed.withdrawals):
        refuse(
            "bundle-votes",
            f"The evidence says of {len(taken_back)} attestations that keys took them back which the policy does not know, "
            "and they are none, or others did.",
        )


def _refuse_other_count(weighed: Weighed, reading: Reading, reached: Reached, decision: DecisionEntry) -> None:
    taken_back = taken_back_in(weighed.document)
    uncounted = {(said.operator, said.payload_digest.hex()) for said in reached.tally.uncounted}
    standing = {(claim.operator, claim.payload_digest.hex()) for claim in reading.claims} - uncounted
    same = (
        dossier(weighed.votes, weighed.withdrawals, reached, weighed.approvals, taken_back) == weighed.document
        # Which of its payloads stands for an operator is not looked at: earlier versions named a build that failed before.
        and [vote.operator for vote in decision.counted] == sorted(reached.tally.agreeing)
        and standing.issuperset((vote.operator, vote.payload) for vote in decision.counted)
        and not_counted_votes(weighed.document, MAX_NOT_COUNTED) == decision.not_counted
    )
    if not same:
        refuse(
            "bundle-votes",
            f"Counted again, the votes are others than the decision lists; {', '.join(sorted(reached.tally.agreeing))} agree.",
        )


def in_favour_of_entry(evaluated: Decision, entry: DecisionEntry) -> Reached | None:
    """The agreement on an entry's bytes: one that nobody disputes, or a disputed one where it names approvals to overrule dissent."""
    if isinstance(evaluated, Disputed) != overrules(entry):
        return None
    reached = in_favour_of(evaluated, bytes.fromhex(entry.artifact.sha256))
    return reached if isinstance(reached, Reached) and are_bytes_of(reached, entry.artifact) else None


def overrules(entry: DecisionEntry) -> bool:
    """Whether a decision rests on people's approval to overrule dissent."""
    return any(spent.action == Action.DISPUTE.value for spent in entry.approvals)


def _overruling(entry: DecisionEntry) -> str:
    return ", and approvals are named to overrule those who do" if overrules(entry) else ""


def are_bytes_of(reached: Reached, artifact: NamedArtifact) -> bool:
    agreed, stated = reached.agreed, reached.stated
    return (
        agreed.sha256.hex() == artifact.sha256
        and stated.sha512 in {None, bytes.fromhex(artifact.sha512)}
        and stated.size in {None, artifact.size}
    )
