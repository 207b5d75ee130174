"""Approvals as they are handed in: who gave them, and whose count for one request (P7, design §7).

An approval is bound to everything that was signed (:mod:`attestor.core.approvaldocuments`), and spent once, by the decision
entry that names it. No approval lowers the threshold: agreement is counted before any is looked at.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from attestor.core import canonical
from attestor.core.approvaldocuments import (
    MAX_DOCUMENT_BYTES,
    MAX_SIGNATURE_BYTES,
    ApprovalDocument,
    Pair,
    RevocationDocument,
    manifest_digest,
    read_approval,
    read_manifest,
    read_revocation,
)
from attestor.core.entries import SpentApproval
from attestor.core.errors import Forbidden, Rejected, TooLarge
from attestor.core.policy import ApproverKey, Policy, Tier
from attestor.core.tierrules import Action


@dataclass(frozen=True, slots=True)
class Given:
    """An approval as it was handed in; nothing of it is believed."""

    key: str
    """Fingerprint of the approver's key."""
    document: bytes
    signature: bytes
    manifest: bytes | None = None

    @property
    def digest(self) -> bytes:
        """SHA-256 of what was signed: by it an approval is spent, however it is signed or sent again."""
        return hashlib.sha256(self.document).digest()


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval whose signature verified."""

    given: Given
    document: ApprovalDocument
    approver: str
    person: str
    pairs: frozenset[Pair]

    @property
    def digest(self) -> bytes:
        return self.given.digest


Verify = Callable[[ApproverKey, bytes, bytes, datetime], None]
"""(key, signature, what was signed, at): raises ``AttestorError`` unless the signature is that key's."""


def verified(given: Given, policy: Policy, verify: Verify, at: datetime) -> Approval:
    """Verify, then read, one approval under *policy* at *at* (aware).

    Raises ``Forbidden`` ``approver-unknown``, ``approver-key-…``; ``Rejected`` ``approval-…``; ``Malformed``; ``TooLarge``.
    """
    key = _whose(given, policy, verify, at)
    document = read_approval(given.document)
    _refuse_other_origin(document.origin, policy)
    return Approval(given, document, key.approver, policy.persons[key.approver], _pairs(given, document))


def verified_revocation(given: Given, policy: Policy, verify: Verify, at: datetime) -> tuple[RevocationDocument, str]:
    """Verify, then read, that an approver takes an approval back; the second value is that approver.

    Raises ``Forbidden`` ``approver-unknown``, ``approver-key-…``; ``Rejected`` ``approval-…``; ``Malformed``; ``TooLarge``.
    """
    key = _whose(given, policy, verify, at)
    document = read_revocation(given.document)
    _refuse_other_origin(document.origin, policy)
    return document, key.approver


def _whose(given: Given, policy: Policy, verify: Verify, at: datetime) -> ApproverKey:
    """The key that signed it, before anything of it is read."""
    key = _counting_key(given.key, policy, at)
    _refuse_too_large(given)
    verify(key, given.signature, given.document, at)
    return key


def _counting_key(fingerprint: str, policy: Policy, at: datetime) -> ApproverKey:
    key = policy.approver_keys.get(fingerprint)
    if key is None:
        raise Forbidden("approver-unknown", "The policy lists no approver with this key.")
    code = _why_key_does_not_count(key, at)
    if code is not None:
        raise Forbidden(code, f"The key {fingerprint} of approver {key.approver} does not count now.")
    return key


def _why_key_does_not_count(key: ApproverKey, at: datetime) -> str | None:
    match key.refusal_at(at):
        case None:
            return None
        case "key-revoked":
            return "approver-key-revoked"
        case "key-expired":
            return "approver-key-expired"
        case _:
            return "approver-key-not-yet-valid"


def read_given(given: Given, pair: Pair, policy: Policy) -> Approval | None:
    """Read what was verified when it was taken in, for one of its pairs; ``None`` when its approver is gone from the policy."""
    key = policy.approver_keys.get(given.key)
    if key is None:
        return None
    return Approval(given, read_approval(given.document), key.approver, policy.persons[key.approver], frozenset({pair}))


Granted = Mapping[Action, tuple[Approval, ...]]
"""For each action with enough of them, exactly as many approvals as the tier asks for, of that many people."""
NONE_GRANTED: Final[Granted] = {}


@dataclass(frozen=True, slots=True)
class Asking:
    """The request that approvals are counted for."""

    request: str
    requester: str
    pair: Pair


def granted(  # noqa: PLR0913 - an approval is bound to every one of these
    approvals: Iterable[Approval],
    asking: Asking,
    *,
    tier: Tier,
    policy: Policy,
    at: datetime,
    spent: Collection[bytes],
) -> Granted:
    """Say which exceptions enough people let through; *spent* holds the digests of approvals that are spent or revoked."""
    counting: dict[Action, dict[str, Approval]] = {}
    for approval in sorted(approvals, key=_in_order):
        if approval.digest not in spent and why_not(approval, asking, tier=tier, policy=policy, at=at) is None:
            people = counting.setdefault(Action(approval.document.action), {})
            people.setdefault(approval.person, approval)
    return {
        action: _first(people, needed)
        for action, people in counting.items()
        if len(people) >= (needed := tier.needs(action)) > 0
    }


def why_not(approval: Approval, asking: Asking, *, tier: Tier, policy: Policy, at: datetime) -> str | None:
    """Say why an approval does not count for a request, as a stable code; ``None`` when it does."""
    for_nobody = why_for_nobody(approval, tier=tier, policy=policy, at=at)
    if for_nobody is not None:
        return for_nobody
    if asking.pair not in approval.pairs or approval.document.request not in (None, asking.request):
        return "approval-of-other-bytes"
    # A requester without a person cannot be told from the approver: it is taken to be the same.
    if policy.persons_of_requesters.get(asking.requester, approval.person) == approval.person:
        return "approval-by-requester"
    return None


def why_for_nobody(approval: Approval, *, tier: Tier, policy: Policy, at: datetime) -> str | None:
    """Say why an approval counts for no request of *tier* at *at*, whichever it names; ``None`` when it could for some."""
    document = approval.document
    if document.origin != policy.origin or document.tier != tier.name:
        return "approval-elsewhere"
    if document.rules != rules_digest(tier, policy):
        return "approval-rules-changed"
    begin, end = document.window()
    if not begin <= at < end:
        return "approval-out-of-window"
    if tier.approvals is None or end - begin > timedelta(hours=tier.approvals.hours):
        return "approval-window-too-long"
    key = policy.approver_keys.get(approval.given.key)
    return None if key is not None and key.refusal_at(at) is None else "approver-key-not-valid"


def rules_digest(tier: Tier, policy: Policy) -> str:
    """SHA-256 (lower-case hex) of the tier's rules as they are in force: RFC 8785 of each, by name."""
    return _rules_digest(tier, tier.operators & policy.suspended)


@lru_cache(maxsize=256)
def _rules_digest(tier: Tier, suspended: frozenset[str]) -> str:
    return hashlib.sha256(canonical.encode(tier.rules() | {"suspended": sorted(suspended)})).hexdigest()


def _in_order(approval: Approval) -> tuple[bytes, str, str, bytes]:
    """By what was signed; two people may have signed the very same document, and one person twice."""
    return approval.digest, approval.approver, approval.given.key, approval.given.signature


def _first(people: Mapping[str, Approval], needed: int) -> tuple[Approval, ...]:
    return tuple(sorted(people.values(), key=_in_order))[:needed]


def _pairs(given: Given, document: ApprovalDocument) -> frozenset[Pair]:
    brought = manifest_digest(given.manifest) if given.manifest is not None else None
    if brought != document.manifest:
        raise Rejected(
            "approval-manifest",
            "What came with the approval is not the manifest that it names by its SHA-256: send that one, and none where it names none.",
        )
    if document.release is not None and document.digest is not None:
        return frozenset({(document.release, document.digest)})
    return read_manifest(given.manifest or b"")


def _refuse_too_large(given: Given) -> None:
    for what, raw, limit in (
        ("document", given.document, MAX_DOCUMENT_BYTES),
        ("signature", given.signature, MAX_SIGNATURE_BYTES),
    ):
        if len(raw) > limit:
            raise TooLarge("approval-too-large", f"The approval's {what} has {len(raw)} bytes; {limit} are the limit.")


def _refuse_other_origin(origin: str, policy: Policy) -> None:
    if origin != policy.origin:
        raise Rejected("approval-origin", f"What was signed is for {origin}; this is {policy.origin}.")


def spent_of(approvals: Iterable[Approval]) -> tuple[SpentApproval, ...]:
    """As a decision entry names them: in the order of action, document and approver."""
    named = (
        SpentApproval(action=each.document.action, approver=each.approver, document=each.digest.hex())
        for each in approvals
    )
    return tuple(sorted(named, key=lambda each: (each.action, each.document, each.approver)))
