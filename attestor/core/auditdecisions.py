"""What an auditor asks of each decision to sign: its policy was in force, and what the log names before it leads to it.

Each rule raises ``Rejected`` with what does not hold.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime

from attestor.core.auditrules import refuse_exceptions
from attestor.core.bundlevotes import in_favour_of_entry, overrules
from attestor.core.claims import Claim
from attestor.core.entries import MAX_NOT_COUNTED, DecisionEntry, NamedPolicy, PolicyEntry, moment
from attestor.core.errors import Rejected
from attestor.core.evidence import read_evidence
from attestor.core.naming import Release, parse_release
from attestor.core.past import Receipt, Remembered
from attestor.core.policy import Policy, Tier
from attestor.core.quorum import Decision, Reached, evaluate

Pair = tuple[str, bytes]
"""Operator and payload digest."""


def refuse_decision_policy(entry: DecisionEntry, before: Iterable[PolicyEntry]) -> None:
    """Refuse a decision under another policy than the newest that the log names before it: ``policy-unlogged``, ``policy-older``."""
    logged = {NamedPolicy(serial=known.serial, digest=known.digest) for known in before}
    if entry.policy not in logged:
        raise Rejected(
            "policy-unlogged",
            f"The decision was made under policy serial {entry.policy.serial} ({entry.policy.digest}), which no signer had logged.",
        )
    newest = max(known.serial for known in logged)
    if entry.policy.serial < newest:
        raise Rejected(
            "policy-older",
            f"The decision was made under policy serial {entry.policy.serial} when serial {newest} was in force.",
        )


def refuse_decision(index: int, entry: DecisionEntry, policy: Policy, remembered: Remembered) -> None:
    """Refuse what the log alone and the policy show to be wrong with a decision to sign; *remembered* is of before it.

    ``release-differs``, ``tier-differs``, ``decision-undated``, ``decision-unsupported``, ``vote-not-received``,
    ``withdrawal-not-received``, and what :func:`attestor.core.auditrules.refuse_exceptions` raises.
    """
    _, tier = _release_and_tier(entry, policy)
    created_of(entry)
    if not entry.counted:
        raise Rejected("decision-unsupported", f"Decision {index} counts nobody.")
    for vote in entry.counted:
        if (vote.operator, bytes.fromhex(vote.payload)) not in remembered.received:
            raise Rejected(
                "vote-not-received",
                f"Decision {index} counts the payload {vote.payload} of {vote.operator}, and no entry before it says that this was "
                "received for the release.",
            )
    unlogged = _said_withdrawn(entry) - remembered.withdrawn.keys()
    if unlogged:
        operator, payload = min(unlogged)
        raise Rejected(
            "withdrawal-not-received",
            f"Decision {index} leaves out the payload {payload.hex()} of {operator} as withdrawn, and no entry before it says so.",
        )
    refuse_exceptions(index, entry, tier, policy)


def refuse_envelope(body: bytes, pair: Pair, receipt: Receipt) -> None:
    """Refuse what is not the attestation that the log names: ``envelope-differs``."""
    if hashlib.sha256(body).digest() != receipt.envelope:
        raise Rejected(
            "envelope-differs",
            f"The attestation {pair[1].hex()} of {pair[0]} is given out, and is not the one that entry {receipt.index} names.",
        )


def recount(
    index: int, entry: DecisionEntry, policy: Policy, remembered: Remembered, bodies: Mapping[Pair, bytes]
) -> None:
    """Count again from all attestations that the log names before the decision, by the rules of the policy that it names.

    ``decision-unfounded``, ``decision-miscounted``. *bodies* are the envelopes of every pair that *remembered* names. When a vote
    came is not in the log, so it is taken to have come in time; and where the decision leaves out more votes than it may name, those
    after the last it names are taken to be withdrawn, if the log says so.
    """
    release, tier = _release_and_tier(entry, policy)
    created = created_of(entry)
    reading = read_evidence(release, [(pair[0], body, created) for pair, body in bodies.items()], (), policy)
    claims = [claim for claim in reading.claims if (claim.operator, claim.payload_digest) in bodies]

    def weighed(withdrawn: frozenset[Pair]) -> Decision:
        # What a key took back that is revoked by now, or has left the policy, is not withdrawn, and counts for nothing.
        doubted = frozenset(remembered.withdrawn.keys() - withdrawn)
        return evaluate(tier, policy, claims, withdrawn, created, doubted=doubted)

    said = _said_withdrawn(entry)
    decision = weighed(said)
    if len(entry.not_counted) == MAX_NOT_COUNTED:
        last = _left_out(entry)[-1]
        further = weighed(said.union(pair for pair in remembered.withdrawn if pair > last))
        decision = further if _begins_with_those_named(further, entry) else decision
    founded = in_favour_of_entry(decision, entry)
    if founded is None:
        tally = decision.tally
        raise Rejected(
            "decision-unfounded",
            f"The attestations that the log names before decision {index} do not lead to it: {len(tally.agreeing)} operators agree, "
            f"{tier.threshold} must; {len(tally.dissenting | tally.equivocating)} object, {tier.dissent_limit} may, and approvals are "
            f"{'' if overrules(entry) else 'not '}named to overrule them.",
        )
    _refuse_miscounted(index, entry, claims, founded)


def created_of(entry: DecisionEntry) -> datetime:
    """The creation time that a decision fixes. Raises ``Rejected`` ``decision-undated``."""
    try:
        return moment(entry.created or "")
    except ValueError:
        raise Rejected("decision-undated", "The decision fixes no creation time that a calendar has.") from None


def release_of(entry: DecisionEntry) -> Release:
    """The release that a decision is on. Raises ``Rejected`` ``release-differs``, and as :func:`parse_release`."""
    release = parse_release(entry.release.kind, entry.release.purl, entry.release.file_name)
    if release.id != entry.release.id:
        raise Rejected(
            "release-differs", f"The decision names the release {entry.release.id}; its names are {release.id}'s."
        )
    return release


def _refuse_miscounted(index: int, entry: DecisionEntry, claims: Iterable[Claim], reached: Reached) -> None:
    stating = {
        (claim.operator, claim.payload_digest.hex())
        for claim in claims
        if claim.sha256 == bytes.fromhex(entry.artifact.sha256)
    }
    counted = {vote.operator for vote in entry.counted}
    agreeing = reached.tally.agreeing
    if agreeing != counted or not {(vote.operator, vote.payload) for vote in entry.counted} <= stating:
        raise Rejected(
            "decision-miscounted",
            f"Decision {index} counts {', '.join(sorted(counted))}; those who agree are {', '.join(sorted(agreeing))}.",
        )


def _release_and_tier(entry: DecisionEntry, policy: Policy) -> tuple[Release, Tier]:
    release = release_of(entry)
    tier = policy.tier_of(release)
    if (tier.name, tier.signing_key) != (entry.tier, entry.signing_key):
        raise Rejected(
            "tier-differs",
            f"The decision is by the rules of tier {entry.tier}; the policy puts the release into {tier.name}, signed with "
            f"{tier.signing_key}.",
        )
    return release, tier


def _begins_with_those_named(decision: Decision, entry: DecisionEntry) -> bool:
    left_out = sorted((said.operator, said.payload_digest) for said in decision.tally.uncounted)
    return len(left_out) > MAX_NOT_COUNTED and left_out[:MAX_NOT_COUNTED] == _left_out(entry)


def _left_out(entry: DecisionEntry) -> list[Pair]:
    return [(vote.operator, bytes.fromhex(vote.payload)) for vote in entry.not_counted]


def _said_withdrawn(entry: DecisionEntry) -> frozenset[Pair]:
    return frozenset(
        (vote.operator, bytes.fromhex(vote.payload)) for vote in entry.not_counted if vote.reason == "withdrawn"
    )
