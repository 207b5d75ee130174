"""The offline check of a bundle: no part is believed before what is given from outside has proved it (design §8).

Given are the file, the policy, the log's key and the certificate. What differs is looked for first, by comparison and hashing
alone; then what is forged, by signatures. Every bit of a bundle is bound in the first half, so that a changed one is found
cheaply. Each failure has the code ``bundle-PLACE``.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from attestor.core.approvals import Granted, Verify
from attestor.core.authorisation import evidence_notation, named_release
from attestor.core.bundle import Bundle, LoggedEntry
from attestor.core.bundleapprovals import approved
from attestor.core.bundleplace import place, refuse
from attestor.core.bundleproof import Proven, proven_in, witnessed
from attestor.core.bundlevotes import Weighed, agreement, weighed_in
from attestor.core.entries import DecisionEntry, NamedPolicy, SignatureEntry, moment
from attestor.core.entrybytes import read_entry, verify_seal
from attestor.core.naming import Release, parse_release
from attestor.core.policy import Policy, Tier
from attestor.core.quorum import Reached
from attestor.core.summary import read_summary, summary_of
from attestor.core.tlog.note import VerifierKey

_T = TypeVar("_T", DecisionEntry, SignatureEntry)


@dataclass(frozen=True, slots=True)
class MeasuredFile:
    """What the file given for the check is."""

    size: int
    sha256: bytes
    sha512: bytes


@dataclass(frozen=True, slots=True)
class OpenPgpFacts:
    """What an OpenPGP signature says that was verified over the given file with the given certificate."""

    created: datetime
    issuer: str
    """Upper-case hex fingerprint of the certificate."""
    notations: tuple[tuple[str, str], ...]
    """(name, value), those besides the digest of the file."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked and holds."""

    name: str
    sentence: str


OpenPgpReader = Callable[[bytes], OpenPgpFacts]
"""Verifies a binary signature over the given file, and raises an ``AttestorError``."""


def check_bundle(  # noqa: PLR0913 - what is given from outside, one each
    bundle: Bundle,
    *,
    file: MeasuredFile,
    policy: Policy,
    log_key: VerifierKey,
    openpgp: OpenPgpReader,
    approvals: Verify,
) -> tuple[Check, ...]:
    """Everything that was checked and holds, one sentence each; *approvals* verifies one approver's signature.

    Raises ``Rejected``: ``bundle-file``, ``bundle-policy``, ``bundle-log-key``, ``bundle-checkpoint``, ``bundle-witnesses``,
    ``bundle-release``, ``bundle-decision``, ``bundle-signed``, ``bundle-evidence``, ``bundle-envelopes``,
    ``bundle-withdrawals``, ``bundle-manifests``, ``bundle-votes``, ``bundle-approvals``, ``bundle-signature``, ``bundle-summary``.
    """
    _refuse_other_file(bundle, file)
    _refuse_other_policy(bundle, policy, log_key)
    proven = proven_in(bundle)
    decision = _entry(bundle.decision, DecisionEntry, "bundle-decision", "decision entry")
    signed = _entry(bundle.signed, SignatureEntry, "bundle-signed", "signature entry")
    _refuse_other_decision(bundle, decision, policy)
    _refuse_other_signature(bundle, proven, decision, signed)
    created = _created(decision)
    weighed = weighed_in(bundle, decision)
    witnesses = witnessed(proven, policy.log)
    _refuse_unsealed(decision, signed, policy)
    release = _release(decision)
    tier = _tier(release, decision, policy)
    let_through = approved(weighed, decision, tier=tier, policy=policy, verify=approvals, created=created)
    reached = agreement(weighed, decision, release, policy, created)
    _refuse_other_openpgp(_facts(bundle, openpgp), proven, decision, policy, created)
    _refuse_other_summary(bundle, decision, policy)
    return (
        *_about_the_log(proven, decision, signed, policy, witnesses),
        *_about_the_votes(decision, weighed, tier, reached),
        *_about_the_approvals(decision, let_through),
        *_about_the_signature(proven, decision, signed),
    )


def _refuse_other_file(bundle: Bundle, file: MeasuredFile) -> None:
    artifact = bundle.artifact
    found = (file.size, file.sha256.hex(), file.sha512.hex())
    if found != (artifact.size, artifact.sha256, artifact.sha512):
        refuse(
            "bundle-file",
            f"The file has {file.size} bytes and the SHA-256 {file.sha256.hex()}; "
            f"the bundle is of one with {artifact.size} bytes and {artifact.sha256}, or its SHA-512 is another.",
        )


def _refuse_other_policy(bundle: Bundle, policy: Policy, log_key: VerifierKey) -> None:
    digest = hashlib.sha256(bundle.policy).hexdigest()
    if digest != policy.digest:
        refuse(
            "bundle-policy",
            f"The bundle holds the policy {digest}, and the given file, of serial {policy.serial}, is {policy.digest}.",
        )
    if log_key != policy.log.key:
        refuse("bundle-log-key", f"The given log key is not the policy's, which is {policy.log.key.text}.")


def _entry(logged: LoggedEntry, kind: type[_T], code: str, name: str) -> _T:
    with place(code, name):
        entry = read_entry(logged.entry)
    if not isinstance(entry, kind):
        refuse(code, f"The {name} is an entry of another type.")
    return entry


def _refuse_other_decision(bundle: Bundle, decision: DecisionEntry, policy: Policy) -> None:
    named = decision.release
    told = bundle.release
    if (told.kind, told.purl, told.file_name) != (named.kind, named.purl, named.file_name):
        refuse("bundle-release", f"The decision is on another release: {named.kind} {named.purl} {named.file_name}.")
    if decision.artifact != bundle.artifact:
        refuse("bundle-decision", f"The decision is on other bytes: sha256 {decision.artifact.sha256}.")
    if decision.policy != NamedPolicy(serial=policy.serial, digest=policy.digest):
        refuse("bundle-decision", f"The decision was made under another policy: serial {decision.policy.serial}.")
    if decision.verdict != "sign" or None in (decision.created, decision.key, decision.evidence):
        refuse("bundle-decision", "The decision entry does not permit a signature.")


def _refuse_other_signature(bundle: Bundle, proven: Proven, decision: DecisionEntry, signed: SignatureEntry) -> None:
    if signed.decision != proven.decision or proven.decision >= proven.signed:
        refuse(
            "bundle-signed",
            f"The signature entry {proven.signed} rests on the decision {signed.decision}; "
            f"the one in the bundle is {proven.decision}.",
        )
    said = (signed.request, signed.release, signed.sha256, signed.key)
    if said != (decision.request, decision.release.id, decision.artifact.sha256, decision.key):
        refuse(
            "bundle-signed", "The signature entry names another request, release, artifact or key than the decision."
        )
    if hashlib.sha256(bundle.signature).hexdigest() != signed.signature:
        refuse("bundle-signature", f"The signature is not the one that log entry {proven.signed} names.")
    if hashlib.sha256(bundle.summary).hexdigest() != signed.summary:
        refuse("bundle-summary", f"The verification summary is not the one that log entry {proven.signed} names.")


def _refuse_unsealed(decision: DecisionEntry, signed: SignatureEntry, policy: Policy) -> None:
    with place("bundle-decision", "decision entry"):
        verify_seal(decision, policy.log.seals)
    with place("bundle-signed", "signature entry"):
        verify_seal(signed, policy.log.seals)


def _release(decision: DecisionEntry) -> Release:
    named = decision.release
    with place("bundle-release", "release"):
        release = parse_release(named.kind, named.purl, named.file_name)
    if named_release(release) != named:
        refuse("bundle-release", f"The release's id is {release.id}; the decision names {named.id}.")
    return release


def _tier(release: Release, decision: DecisionEntry, policy: Policy) -> Tier:
    with place("bundle-decision", "decision entry"):
        tier = policy.tier_of(release)
    if (tier.name, tier.signing_key) != (decision.tier, decision.signing_key):
        refuse(
            "bundle-decision",
            f"The policy puts the release into tier {tier.name}, signed with {tier.signing_key}; "
            f"the decision says {decision.tier}, {decision.signing_key}.",
        )
    return tier


def _created(decision: DecisionEntry) -> datetime:
    try:
        return moment(decision.created or "")
    except ValueError:
        refuse("bundle-decision", f"The decision fixes no creation time: no calendar has {decision.created}.")


def _facts(bundle: Bundle, openpgp: OpenPgpReader) -> OpenPgpFacts:
    with place("bundle-signature", "OpenPGP signature"):
        return openpgp(bundle.signature)


def _refuse_other_openpgp(
    facts: OpenPgpFacts, proven: Proven, decision: DecisionEntry, policy: Policy, created: datetime
) -> None:
    if facts.issuer != decision.key:
        refuse(
            "bundle-signature", f"The given certificate is {facts.issuer}; the decision is for the key {decision.key}."
        )
    if facts.created != created:
        refuse("bundle-signature", f"The signature is of {facts.created}; the decision fixed {decision.created}.")
    name, value = evidence_notation(policy.origin, policy.log.key.name, proven.decision)
    if [each for each in facts.notations if each[0] == name] != [(name, value)]:
        refuse("bundle-signature", f"The signature does not say {name}={value}, once: it does not name this decision.")


def _refuse_other_summary(bundle: Bundle, decision: DecisionEntry, policy: Policy) -> None:
    with place("bundle-summary", "verification summary"):
        summary = read_summary(bundle.summary, policy.log.seals)
    if summary != summary_of(decision, policy):
        refuse("bundle-summary", "The verification summary says something else than the decision and the policy.")


def _about_the_log(
    proven: Proven, decision: DecisionEntry, signed: SignatureEntry, policy: Policy, witnesses: int
) -> tuple[Check, ...]:
    artifact, release, log = decision.artifact, decision.release, policy.log
    return (
        Check("file", f"The file is the one that was decided on: {artifact.size} bytes, sha256 {artifact.sha256}."),
        Check("release", f"It is the {release.kind} {release.purl}, {release.file_name}."),
        Check(
            "policy", f"The policy is the given file: {policy.origin}, serial {policy.serial}, sha256 {policy.digest}."
        ),
        Check("log", f"The log is {log.key.name}, by the given key, which the policy names too."),
        Check(
            "checkpoint",
            f"The log signed the checkpoint of {proven.checkpoint.size} entries, and {witnesses} of the policy's "
            f"{len(log.witnesses)} witnesses cosigned it; {log.quorum} must.",
        ),
        Check("decision", f"Log entry {proven.decision} is the decision to sign it, sealed by {_sealer(decision)}."),
        Check(
            "signed", f"Log entry {proven.signed} names this signature and that decision, sealed by {_sealer(signed)}."
        ),
    )


def _about_the_votes(decision: DecisionEntry, weighed: Weighed, tier: Tier, reached: Reached) -> tuple[Check, ...]:
    agreeing = ", ".join(sorted(reached.tally.agreeing))
    return (
        Check(
            "evidence",
            f"All {len(weighed.votes)} attestations and {len(weighed.withdrawals)} withdrawals that the decision weighed are "
            "here as they came.",
        ),
        Check(
            "votes",
            f"Counted again as of {decision.created}, {len(reached.tally.agreeing)} operators attested these bytes "
            f"({agreeing}); tier {tier.name} wants {tier.threshold} of {len(tier.operators)}.",
        ),
    )


def _about_the_approvals(decision: DecisionEntry, let_through: Granted) -> tuple[Check, ...]:
    if not let_through:
        return ()
    people = "; ".join(
        f"{action} by {', '.join(sorted(each.person for each in some))}" for action, some in sorted(let_through.items())
    )
    return (
        Check(
            "approvals",
            f"As many people as the tier asks for approved these bytes ({people}), and none of them answers for "
            f"{decision.requester}, who asked.",
        ),
    )


def _about_the_signature(proven: Proven, decision: DecisionEntry, signed: SignatureEntry) -> tuple[Check, ...]:
    return (
        Check(
            "signature",
            f"The OpenPGP signature over the file is by {signed.key}, of {decision.created}, and names log entry "
            f"{proven.decision}.",
        ),
        Check("summary", "The verification summary says the same, sealed by a signer whom the policy names."),
    )


def _sealer(entry: DecisionEntry | SignatureEntry) -> str:
    return entry.seal.key if entry.seal else ""
