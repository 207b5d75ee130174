"""What an auditor keeps of log entries, and asks of policies, signatures and bundles, given what the log said before: pure rules.

Each rule raises ``Rejected`` with what does not hold; those of decisions are :mod:`attestor.core.auditdecisions`. A fact that
only a signer may state counts by its seal alone; what is forged is a finding, and nothing rests on it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from attestor.core.approvals import Verify
from attestor.core.auditdecisions import Pair, created_of, release_of
from attestor.core.authorisation import evidence_notation
from attestor.core.bundle import read_bundle
from attestor.core.bundlecheck import MeasuredFile, OpenPgpFacts, check_bundle
from attestor.core.contradictions import re_signs
from attestor.core.dossier import read_dossier, taken_back_in
from attestor.core.entries import (
    CanaryEntry,
    DecisionEntry,
    Entry,
    LateDissentEntry,
    PolicyEntry,
    Received,
    RevocationEntry,
    SignatureEntry,
    WithdrawalEntry,
)
from attestor.core.entrybytes import read_entry
from attestor.core.errors import Missing, Rejected
from attestor.core.evidence import read_evidence
from attestor.core.past import LoggedDecision, LoggedSignature, Receipt, Remembered, WasDecided, was_decided
from attestor.core.policy import Policy

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


def refuse_signature(index: int, entry: SignatureEntry, decision: DecisionEntry | None, remembered: Remembered) -> None:
    """Refuse a signature that rests on no decision of its own, or is one too many (P5).

    ``decision-missing``, ``decision-differs``, ``signature-twice``, ``release-signed-twice``. *decision* stands at the index that
    the signature names, and before it; *remembered* is of before the signature.
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
    for signed in remembered.signed:
        if (signed.key, signed.sha256.hex()) == (entry.key, entry.sha256):
            raise Rejected(
                "signature-twice",
                f"Signatures {signed.index} and {index} are of the same bytes by one key: only one of them may leave.",
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
    facts = OpenPgpFacts(created_of(decided), decided.key or "", (notation,))
    check_bundle(bundle, file=file, policy=policy, log_key=policy.log.key, openpgp=lambda _: facts, approvals=verify)
    evidence = read_dossier(bundle.evidence)
    weighed = {(vote.operator, vote.payload, vote.envelope) for vote in evidence.votes}
    received = {
        (operator, payload.hex(), receipt.envelope.hex())
        for (operator, payload), receipt in remembered.received.items()
    }
    withdrawals = {one.hex() for envelopes in remembered.withdrawn.values() for one in envelopes}
    reading = read_evidence(release_of(decided), (), bundle.withdrawals, policy)
    taken_back = reading.unverified(remembered.withdrawn.keys() & remembered.received.keys())
    if (weighed, set(evidence.withdrawals), taken_back_in(evidence)) != (received, withdrawals, taken_back):
        raise Rejected(
            "evidence-differs",
            f"The signer weighed {len(weighed)} attestations and {len(evidence.withdrawals)} withdrawals; the log names "
            f"{len(received)} and {len(withdrawals)} before its decision, or others; of these, keys that the policy does not know took "
            f"back {len(taken_back)}.",
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
