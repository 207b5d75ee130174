"""What an approver's own program does before they sign: it looks by itself, and writes what is signed by itself (design §7).

Nothing that the service says is signed unseen: names must agree with the release's id, terms with the tier's, and with the
approver's own policy file the rules and the votes are read again from the attestations themselves.
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from attestor.client.calls import AttestorClient
from attestor.core.approvaldocuments import (
    ApprovalDocument,
    Pair,
    RevocationDocument,
    encode_approval,
    encode_manifest,
    encode_revocation,
)
from attestor.core.approvals import rules_digest
from attestor.core.approvalwire import ActionName, Terms, TierView, WantedApproval
from attestor.core.entries import moment_text
from attestor.core.errors import Missing, Rejected
from attestor.core.evidence import read_evidence
from attestor.core.naming import Release, parse_release
from attestor.core.policy import Policy
from attestor.core.quorum import Reached, evaluate, in_favour_of
from attestor.core.wire import ReleaseView

_PAGE: Final = 200
_CLOCKS_DIFFER: Final = timedelta(minutes=1)
"""An approval begins that long ago, so that a service whose clock is late counts it at once."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What the approver's own policy file makes of the attestations as they came."""

    agreeing: tuple[str, ...]
    threshold: int
    agreed: bool
    """n operators state the bytes that are to be approved."""


@dataclass(frozen=True, slots=True)
class Looked:
    """One request that waits for people, after the look."""

    wanted: WantedApproval
    release: ReleaseView
    counted: Counted | None
    """``None`` without a policy file: then the service alone says what was agreed."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be signed, and what goes with it."""

    document: bytes
    reason: str
    manifest: bytes | None = None

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.document).hexdigest()


async def look(client: AttestorClient, request_id: str, policy: Policy | None, now: datetime) -> Looked:
    """Look at one request, its votes and its terms. Raises ``Missing`` ``approval-not-wanted``, ``Rejected`` ``service-differs``."""
    page = await client.awaiting_approval(request=request_id)
    if not page.wanted:
        raise Missing(
            "approval-not-wanted",
            "No approval would move this request now: it is unknown, on its way, or waits for something else (attestor approvals "
            "--wanted lists those that do).",
        )
    wanted = page.wanted[0]
    named = _named(wanted)
    release = await client.release(named.id)
    shown = (release.id, release.purl, release.file_name)
    if wanted.request != request_id or shown != (named.id, named.purl, named.file_name):
        raise _differs("the request and the release")
    await _refuse_other_terms(client, wanted.terms)
    if policy is None:
        return Looked(wanted, release, None)
    refuse_other_rules(wanted.terms, named, policy)
    return Looked(wanted, release, await _counted(client, release, wanted, policy, now))


async def everything_wanted(client: AttestorClient, *, tier: str | None, action: str | None) -> list[WantedApproval]:
    """All requests that people may let through, of one tier and action where they are named. Raises ``Rejected`` ``service-differs``."""
    found: list[WantedApproval] = []
    cursor: str | None = None
    while True:
        page = await client.awaiting_approval(cursor=cursor, limit=_PAGE)
        for each in page.wanted:
            _named(each)
            if tier in {None, each.terms.tier} and action in {None, each.action}:
                found.append(each)
        cursor = page.cursor
        if cursor is None:
            return found


async def tier_of(client: AttestorClient, name: str, policy: Policy | None) -> TierView:
    """One tier by name, held against the policy file where there is one. Raises ``Missing`` ``no-tier``, ``Rejected``."""
    tiers = (await client.tiers()).tiers
    tier = next((each for each in tiers if each.name == name), None)
    if tier is None:
        raise Missing("no-tier", f"The service has no tier {name!r}; it has {', '.join(each.name for each in tiers)}.")
    if policy is not None:
        _refuse_other_digest(tier.terms, policy)
    return tier


def manifest_of(wanted: Iterable[WantedApproval]) -> bytes:
    """A manifest of these requests' releases and bytes.

    Raises ``Rejected`` ``manifest-mixed`` (one approval is of one tier and action), ``manifest-empty``; ``TooLarge``.
    """
    listed = list(wanted)
    kinds = sorted({(each.terms.tier, each.action) for each in listed})
    if not kinds:
        raise Rejected("manifest-empty", "No request waits for such an approval.")
    if len(kinds) > 1:
        some = ", ".join(f"--tier {tier} --action {action}" for tier, action in kinds)
        raise Rejected("manifest-mixed", f"One approval is of one tier and action; choose one of: {some}.")
    return encode_manifest((each.release_id, each.artifact.sha256) for each in listed)


def draft(  # noqa: PLR0913 - what an approval is bound to
    terms: Terms,
    action: ActionName,
    *,
    reason: str,
    hours: int | None,
    now: datetime,
    request: tuple[str, Pair] | None = None,
    manifest: bytes | None = None,
) -> Draft:
    """What is to be signed for one *request* (its id, release and digest) or a *manifest*; 24 hours at most unless *hours* says so.

    Raises ``Rejected`` ``approval-window-too-long``.
    """
    lasting = min(24, terms.hours) if hours is None else hours
    if lasting > terms.hours:
        raise Rejected("approval-window-too-long", f"Tier {terms.tier} takes approvals of at most {terms.hours} hours.")
    begin = now - _CLOCKS_DIFFER
    request_id, (release, digest) = request if request is not None else (None, (None, None))
    document = ApprovalDocument(
        origin=terms.origin,
        action=action,
        tier=terms.tier,
        rules=terms.rules,
        reason=hashlib.sha256(reason.encode()).hexdigest(),
        not_before=moment_text(begin),
        until=moment_text(begin + timedelta(hours=lasting)),
        nonce=secrets.token_hex(16),
        request=request_id,
        release=release,
        digest=digest,
        manifest=hashlib.sha256(manifest).hexdigest() if manifest is not None else None,
    )
    return Draft(encode_approval(document), reason, manifest)


def draft_revocation(origin: str, approval: str) -> bytes:
    """What is to be signed to take the approval with this digest (hex) back."""
    return encode_revocation(RevocationDocument(origin=origin, approval=approval, nonce=secrets.token_hex(16)))


def refuse_other_rules(terms: Terms, release: Release, policy: Policy) -> None:
    """Raises ``Rejected`` ``approval-rules-changed`` unless *terms* are those of the approver's own policy file for a release."""
    if policy.tier_of(release).name != terms.tier:
        raise _other_rules(terms)
    _refuse_other_digest(terms, policy)


def _refuse_other_digest(terms: Terms, policy: Policy) -> None:
    tier = next((each for each in policy.tiers if each.name == terms.tier), None)
    if tier is None or (policy.origin, rules_digest(tier, policy)) != (terms.origin, terms.rules):
        raise _other_rules(terms)


def _named(wanted: WantedApproval) -> Release:
    """The release by the names that people see, whose id is what they sign. Raises ``Rejected`` ``service-differs``."""
    named = parse_release(wanted.release.kind, wanted.release.purl, wanted.release.file_name)
    if named.id != wanted.release_id:
        raise _differs("a release's names and its id")
    return named


async def _refuse_other_terms(client: AttestorClient, terms: Terms) -> None:
    page = await client.tiers()
    if page.origin != terms.origin or terms not in {each.terms for each in page.tiers}:
        raise _differs("the terms of the request and those of its tier")


async def _counted(
    client: AttestorClient, shown: ReleaseView, wanted: WantedApproval, policy: Policy, now: datetime
) -> Counted:
    """Count the votes again from the attestations; what the service calls withdrawn does not count, and cannot agree."""
    release = parse_release(shown.kind, shown.purl, shown.file_name)
    envelopes = [
        (vote.operator, await client.envelope(shown.id, vote.operator, vote.payload_digest), vote.received_at)
        for vote in shown.votes
    ]
    reading = read_evidence(release, envelopes, (), policy)
    withdrawn = frozenset(
        (vote.operator, bytes.fromhex(vote.payload_digest)) for vote in shown.votes if vote.reason == "withdrawn"
    )
    tier = policy.tier_of(release)
    sha256 = bytes.fromhex(wanted.artifact.sha256)
    decision = in_favour_of(evaluate(tier, policy, reading.claims, withdrawn, now), sha256)
    agreed = isinstance(decision, Reached) and decision.agreed.sha256 == sha256
    return Counted(tuple(sorted(decision.tally.agreeing)), tier.threshold, agreed)


def _differs(what: str) -> Rejected:
    return Rejected("service-differs", f"The service contradicts itself: {what} do not belong together. Sign nothing.")


def _other_rules(terms: Terms) -> Rejected:
    return Rejected(
        "approval-rules-changed",
        f"The rules of tier {terms.tier} that the service names are not those of your policy file; get the policy in force first.",
    )
