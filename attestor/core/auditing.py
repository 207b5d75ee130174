"""What an auditor asks of each log entry, given what the log said before it and what the service gives out: pure rules.

Each rule raises ``Rejected`` with what does not hold. A fact that only a signer may state counts by its seal alone; what is
forged is a finding, and nothing rests on it.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attestor.core.approvals import Verify
from attestor.core.auditrules import refuse_exceptions
from attestor.core.authorisation import evidence_notation
from attestor.core.bundle import read_bundle
from attestor.core.bundlecheck import MeasuredFile, OpenPgpFacts, check_bundle
from attestor.core.bundlevotes import in_favour_of_entry, overrules
from attestor.core.contradictions import re_signs
from attestor.core.dossier import read_dossier, taken_back_in
from attestor.core.entries import (
    CanaryEntry,
    DecisionEntry,
    Entry,
    LateDissentEntry,
    NamedPolicy,
    PolicyEntry,
    Received,
    RevocationEntry,
    SignatureEntry,
    WithdrawalEntry,
    moment,
    read_entry,
)
from attestor.core.errors import Missing, Rejected
from attestor.core.evidence import read_evidence
from attestor.core.naming import Release, parse_release
from attestor.core.past import LoggedDecision, LoggedSignature, Receipt, Remembered, WasDecided, was_decided
from attestor.core.policy import Policy, Tier
from attestor.core.quorum import evaluate

Pair = tuple[str, bytes]
"""Operator and payload digest."""
POLICIES: Final = "policies"
"""The subject of policy entries; revocations have :func:`revocation_of`, all others the ids of releases."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not hold; a notice is only to be known. ``index`` is of the entry, where it is about one."""

    index: int | None
    code: str
    sentence: str
    notice: bool = False


def subjects_of(entry: Entry) -> frozenset[str]:
    """What a later entry's audit has to find this one by; nothing for what no other entry rests on."""
    match entry:
        case Received():
            return frozenset(release for vote in entry.votes for release in vote.releases)
        case DecisionEntry() if entry.verdict == "sign":
            return frozenset({entry.release.id})
        case SignatureEntry() | WithdrawalEntry():
            return frozenset({entry.release})
        case PolicyEntry():
            return frozenset({POLICIES})
        case RevocationEntry():
            return frozenset({revocation_of(entry.approval)})
        case DecisionEntry() | LateDissentEntry() | CanaryEntry():
            return frozenset()


def revocation_of(approval: str) -> str:
    """The subject of the entry that takes back an approval, which is named by the SHA-256 of what was signed, in hex."""
    return f"approval {approval}"


def decided_of(entry: DecisionEntry, raw: bytes) -> WasDecided | None:
    """The fact of a sealed decision; ``None`` where its names or times are none, so that no rule can count it."""
    try:
        return was_decided(entry, raw)
    except (Rejected, ValueError):
        return None


def remembered_of(release_id: str, told: Iterable[tuple[int, bytes]]) -> Remembered:
    """What entries, given in their order with their indices, say of one release; their seals were verified before."""
    received: dict[Pair, Receipt] = {}
    withdrawn: defaultdict[Pair, set[bytes]] = defaultdict(set)
    decision: LoggedDecision | None = None
    signed: dict[Pair, LoggedSignature] = {}
    for index, raw in told:
        match read_entry(raw):
            case Received(votes=votes):
                for vote in votes:
                    if release_id in vote.releases:
                        pair = vote.operator, bytes.fromhex(vote.payload)
                        received.setdefault(pair, Receipt(index, bytes.fromhex(vote.envelope)))
            case WithdrawalEntry() as entry:
                withdrawn[entry.operator, bytes.fromhex(entry.payload)].add(bytes.fromhex(entry.envelope))
            case DecisionEntry() as entry:
                decision = LoggedDecision(index, entry, raw)
            case SignatureEntry() as entry:
                signed.setdefault((entry.key, bytes.fromhex(entry.sha256)), LoggedSignature.of(index, entry))
    taken_back = {pair: frozenset(envelopes) for pair, envelopes in withdrawn.items()}
    return Remembered(received, taken_back, decision, tuple(signed.values()))


def refuse_policy(entry: PolicyEntry, before: Iterable[PolicyEntry]) -> None:
    """Refuse a policy that does not come after those logged before it: ``policy-older``, ``policy-forked``."""
    for known in before:
        if known.serial == entry.serial and known.digest != entry.digest:
            raise Rejected(
                "policy-forked",
                f"A signer decides under policy serial {entry.serial} ({entry.digest}), and the log has another one of that "
                f"serial before: {known.digest}.",
            )
        if known.serial > entry.serial:
            raise Rejected(
                "policy-older",
                f"A signer goes back to policy serial {entry.serial}; serial {known.serial} was in force before.",
            )


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
    _created(entry)
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


def recount(
    index: int, entry: DecisionEntry, policy: Policy, remembered: Remembered, bodies: Mapping[Pair, bytes]
) -> None:
    """Count again from all attestations that the log names before the decision, by the rules of the policy that it names.

    ``decision-unfounded``, ``decision-miscounted``. *bodies* are the envelopes of every pair that *remembered* names. When a vote
    came is not in the log, so it is taken to have come in time.
    """
    release, tier = _release_and_tier(entry, policy)
    created = _created(entry)
    reading = read_evidence(release, [(pair[0], body, created) for pair, body in bodies.items()], (), policy)
    claims = [claim for claim in reading.claims if (claim.operator, claim.payload_digest) in bodies]
    withdrawn = _said_withdrawn(entry)
    # What a key took back that is revoked by now, or has left the policy, is not withdrawn, and counts for nothing.
    doubted = frozenset(remembered.withdrawn.keys() - withdrawn)
    decision = evaluate(tier, policy, claims, withdrawn, created, doubted=doubted)
    founded = in_favour_of_entry(decision, entry)
    if founded is None:
        tally = decision.tally
        raise Rejected(
            "decision-unfounded",
            f"The attestations that the log names before decision {index} do not lead to it: {len(tally.agreeing)} operators agree, "
            f"{tier.threshold} must; {len(tally.dissenting | tally.equivocating)} object, {tier.dissent_limit} may, and approvals are "
            f"{'' if overrules(entry) else 'not '}named to overrule them.",
        )
    stating = {
        (claim.operator, claim.payload_digest.hex())
        for claim in claims
        if claim.sha256 == bytes.fromhex(entry.artifact.sha256)
    }
    counted = {vote.operator for vote in entry.counted}
    agreeing = founded.tally.agreeing
    if agreeing != counted or not {(vote.operator, vote.payload) for vote in entry.counted} <= stating:
        raise Rejected(
            "decision-miscounted",
            f"Decision {index} counts {', '.join(sorted(counted))}; those who agree are {', '.join(sorted(agreeing))}.",
        )


def refuse_signature(index: int, entry: SignatureEntry, decision: DecisionEntry | None, remembered: Remembered) -> None:
    """Refuse a signature that rests on no decision of its own: ``decision-missing``, ``decision-differs``, ``release-signed-twice``.

    *decision* stands at the index that the signature names, and before it; *remembered* is of before the signature.
    """
    if decision is None:
        raise Rejected(
            "decision-missing",
            f"Signature {index} rests on entry {entry.decision}, which is no earlier decision to sign of a known signer.",
        )
    if not entry.is_of(decision):
        raise Rejected(
            "decision-differs",
            f"Signature {index} rests on decision {entry.decision}, which is on another request, release, digest or key.",
        )
    known = {signed.sha256.hex(): signed.index for signed in remembered.signed}
    if known and entry.sha256 not in known and not re_signs(decision):
        other, first = next(iter(known.items()))
        raise Rejected(
            "release-signed-twice",
            f"Signatures {first} and {index} are of two digests of one release: {other} and {entry.sha256}.",
        )


def refuse_bundle(  # noqa: PLR0913 - the check, and what it is held against
    raw: bytes, entry: bytes, decision: LoggedDecision, *, policy: Policy, remembered: Remembered, verify: Verify
) -> None:
    """Check a signed release's bundle against both log entries, and its evidence against *remembered*, of before the decision.

    All that an offline check does but the OpenPGP signature itself, which only holds together with the file: ``bundle-…``,
    ``evidence-differs``.
    """
    bundle = read_bundle(raw)
    if (bundle.decision.entry, bundle.signed.entry) != (decision.raw, entry):
        raise Rejected("bundle-other-entries", "The bundle is of other log entries than these.")
    decided = decision.entry
    artifact = decided.artifact
    file = MeasuredFile(artifact.size, bytes.fromhex(artifact.sha256), bytes.fromhex(artifact.sha512))
    notation = evidence_notation(policy.origin, policy.log.key.name, decision.index)
    facts = OpenPgpFacts(_created(decided), decided.key or "", (notation,))
    check_bundle(bundle, file=file, policy=policy, log_key=policy.log.key, openpgp=lambda _: facts, approvals=verify)
    evidence = read_dossier(bundle.evidence)
    weighed = {(vote.operator, vote.payload, vote.envelope) for vote in evidence.votes}
    received = {
        (operator, payload.hex(), receipt.envelope.hex())
        for (operator, payload), receipt in remembered.received.items()
    }
    withdrawals = {one.hex() for envelopes in remembered.withdrawn.values() for one in envelopes}
    reading = read_evidence(_release(decided), (), bundle.withdrawals, policy)
    taken_back = reading.unverified(remembered.withdrawn.keys() & remembered.received.keys())
    if (weighed, set(evidence.withdrawals), taken_back_in(evidence)) != (received, withdrawals, taken_back):
        raise Rejected(
            "evidence-differs",
            f"The signer weighed {len(weighed)} attestations and {len(evidence.withdrawals)} withdrawals; the log names "
            f"{len(received)} and {len(withdrawals)} before its decision, or others; of these, keys that the policy does not know took "
            f"back {len(taken_back)}.",
        )


def refuse_envelope(body: bytes, pair: Pair, receipt: Receipt) -> None:
    """Refuse what is not the attestation that the log names: ``envelope-differs``."""
    if hashlib.sha256(body).digest() != receipt.envelope:
        raise Rejected(
            "envelope-differs",
            f"The attestation {pair[1].hex()} of {pair[0]} is given out, and is not the one that entry {receipt.index} names.",
        )


def _release(entry: DecisionEntry) -> Release:
    release = parse_release(entry.release.kind, entry.release.purl, entry.release.file_name)
    if release.id != entry.release.id:
        raise Rejected(
            "release-differs", f"The decision names the release {entry.release.id}; its names are {release.id}'s."
        )
    return release


def _release_and_tier(entry: DecisionEntry, policy: Policy) -> tuple[Release, Tier]:
    release = _release(entry)
    tier = policy.tier_of(release)
    if (tier.name, tier.signing_key) != (entry.tier, entry.signing_key):
        raise Rejected(
            "tier-differs",
            f"The decision is by the rules of tier {entry.tier}; the policy puts the release into {tier.name}, signed with "
            f"{tier.signing_key}.",
        )
    return release, tier


def _created(entry: DecisionEntry) -> datetime:
    try:
        return moment(entry.created or "")
    except ValueError:
        raise Rejected("decision-undated", "The decision fixes no creation time that a calendar has.") from None


def _said_withdrawn(entry: DecisionEntry) -> frozenset[Pair]:
    return frozenset(
        (vote.operator, bytes.fromhex(vote.payload)) for vote in entry.not_counted if vote.reason == "withdrawn"
    )


def policy_named(policies: Mapping[str, Policy], serial: int, digest: str) -> Policy:
    """Raises ``Missing`` ``policy-unknown``."""
    policy = policies.get(digest)
    if policy is None:
        raise Missing(
            "policy-unknown",
            f"The log names policy serial {serial} with the SHA-256 {digest}. Give that file too, with --policy: the audit waits here.",
        )
    return policy
