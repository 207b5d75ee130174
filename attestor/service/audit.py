"""Audit a log from outside: what it says was decided and signed is looked at again, entry by entry, by nobody it depends on.

The log is followed as a signer follows it (:class:`Past`): each new checkpoint must come from the last seen one and from the very
entries that are served. Then each entry is judged: seals, decisions with their envelopes, signatures with their decisions.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from attestor.core.claims import Claim
from attestor.core.entries import (
    DecisionEntry,
    Entry,
    LateDissentEntry,
    PolicyEntry,
    SignatureEntry,
    moment,
    read_entry,
    verify_seal,
)
from attestor.core.errors import Halted, Missing, Rejected
from attestor.core.evidence import read_evidence
from attestor.core.naming import Release, parse_release
from attestor.core.past import Remembered
from attestor.core.policy import Policy
from attestor.core.quorum import Reached, evaluate
from attestor.core.tlog.merkle import leaf_hash
from attestor.service.logports import LogSource, Memory

AT_ONCE: Final = 1024
"""Entries that are read in one step."""


class Envelopes(Protocol):
    """Where the auditor gets attestations as they came; nothing of them is believed."""

    async def envelope(self, release_id: str, operator: str, payload_digest: str) -> bytes:
        """Raises ``Missing``, ``Unavailable``."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing in the log that does not hold; a notice only tells."""

    index: int
    code: str
    sentence: str
    notice: bool = False


@dataclass(frozen=True, slots=True)
class Audited:
    """How far an audit has come, and what it found that nobody acknowledged."""

    size: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def clean(self) -> bool:
        return all(finding.notice for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Auditor:
    """What an audit looks at: the log, the memory that has followed it, the policies by digest, the attestations."""

    source: LogSource
    memory: Memory
    policies: Mapping[str, Policy]
    newest: Policy
    envelopes: Envelopes


async def audit(auditor: Auditor, start: int, end: int, progress: Callable[[int], None]) -> AsyncIterator[Finding]:
    """Judge the entries from *start* to before *end*, all of which the memory has folded; *progress* gets the next index."""
    for first in range(start, end, AT_ONCE):
        entries = await auditor.source.entries(first, min(first + AT_ONCE, end))
        remembered = await auditor.memory.leaves(first, first + len(entries))
        for index, raw, leaf in zip(range(first, end), entries, remembered, strict=False):
            if leaf_hash(raw) != leaf:
                raise Halted(
                    "log-rewritten", f"Log entry {index} was served in two forms within one audit: there are two logs."
                )
            for finding in await _findings(auditor, index, read_entry(raw)):
                yield finding
            progress(index + 1)


async def _findings(auditor: Auditor, index: int, entry: Entry) -> Sequence[Finding]:
    try:
        match entry:
            case DecisionEntry() if entry.verdict == "sign":
                verify_seal(entry, auditor.newest.log.seals)
                await _refuse_decision(auditor, index, entry)
            case SignatureEntry():
                verify_seal(entry, auditor.newest.log.seals)
                await _refuse_signature(auditor, index, entry)
            case PolicyEntry():
                verify_seal(entry, auditor.newest.log.seals)
                _policy(auditor, entry.digest, entry.serial)
            case LateDissentEntry():
                sentence = (
                    f"Operator {entry.operator} dissents from a decision on release {entry.release}, and came late."
                )
                return [Finding(index, "late-dissent", sentence, notice=True)]
    except Rejected as error:
        return [Finding(index, error.code, error.sentence)]
    return []


async def _refuse_decision(auditor: Auditor, index: int, entry: DecisionEntry) -> None:
    """Count again, from the envelopes that the log names before the decision, under the policy that it names."""
    policy = _policy(auditor, entry.policy.digest, entry.policy.serial)
    release = parse_release(entry.release.kind, entry.release.purl, entry.release.file_name)
    if release.id != entry.release.id:
        raise Rejected("release-differs", f"Decision {index} names a release whose id is of other names.")
    tier = policy.tier_of(release)
    if (tier.name, tier.signing_key) != (entry.tier, entry.signing_key):
        raise Rejected(
            "tier-differs", f"Decision {index} is of tier {entry.tier}, and the policy puts it under {tier.name}."
        )
    remembered = await auditor.memory.release(release.id)
    claims = await _claims(auditor, release, policy, remembered, index, entry)
    withdrawn = _withdrawn(entry, remembered)
    decision = evaluate(tier, policy, claims, withdrawn, moment(entry.created or ""))
    if not isinstance(decision, Reached) or decision.agreed.sha256.hex() != entry.artifact.sha256:
        raise Rejected(
            "decision-unfounded", f"The attestations that the log names before decision {index} do not lead to it."
        )
    if decision.tally.agreeing != {vote.operator for vote in entry.counted}:
        raise Rejected("decision-miscounted", f"Decision {index} counts other operators than those that agree.")


async def _claims(  # noqa: PLR0913, PLR0917 - all that one decision rests on
    auditor: Auditor, release: Release, policy: Policy, remembered: Remembered, index: int, entry: DecisionEntry
) -> tuple[Claim, ...]:
    timely = [(pair, receipt) for pair, receipt in remembered.received.items() if receipt.index < index]
    bodies = await asyncio.gather(
        *(auditor.envelopes.envelope(release.id, operator, payload.hex()) for (operator, payload), _ in timely)
    )
    for ((operator, payload), receipt), body in zip(timely, bodies, strict=True):
        if hashlib.sha256(body).digest() != receipt.envelope:
            raise Rejected(
                "envelope-differs",
                f"The attestation {payload.hex()} of operator {operator} is not the one that was logged.",
            )
    decided = moment(entry.created or "")
    return read_evidence(
        release,
        [(operator, body, decided) for ((operator, _), _), body in zip(timely, bodies, strict=True)],
        (),
        policy,
    ).claims


def _withdrawn(entry: DecisionEntry, remembered: Remembered) -> frozenset[tuple[str, bytes]]:
    """What was withdrawn before the decision: what it says so of, as far as the log names a withdrawal of it."""
    said = {(vote.operator, bytes.fromhex(vote.payload)) for vote in entry.not_counted if vote.reason == "withdrawn"}
    return frozenset(said & remembered.withdrawn.keys())


async def _refuse_signature(auditor: Auditor, index: int, entry: SignatureEntry) -> None:
    raw = (await auditor.source.entries(entry.decision, entry.decision + 1))[0] if entry.decision < index else None
    decision = read_entry(raw) if raw is not None else None
    if not isinstance(decision, DecisionEntry) or decision.verdict != "sign":
        raise Rejected("signature-undecided", f"Signature {index} names no decision that stands before it.")
    stated = (decision.request, decision.release.id, decision.artifact.sha256, decision.key)
    if stated != (entry.request, entry.release, entry.sha256, entry.key):
        raise Rejected("signature-undecided", f"Signature {index} is not of what decision {entry.decision} allows.")
    verify_seal(decision, auditor.newest.log.seals)
    signed = (await auditor.memory.release(entry.release)).signed
    if any(known.sha256.hex() != entry.sha256 for known in signed):
        raise Rejected(
            "release-signed-twice", f"Signature {index} is of another digest than an earlier one of its release."
        )


def _policy(auditor: Auditor, digest: str, serial: int) -> Policy:
    try:
        return auditor.policies[digest]
    except KeyError:
        raise Missing(
            "policy-unknown",
            f"The log names policy serial {serial} with digest {digest}: give that file with --policy.",
        ) from None
