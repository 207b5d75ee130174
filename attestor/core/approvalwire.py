"""Requests and answers of ``/v1`` about approvals and the rules of tiers, as types like those of :mod:`attestor.core.wire`."""

from datetime import datetime
from typing import Annotated, Final, Literal

from msgspec import Meta

from attestor.core.approvaldocuments import MAX_DOCUMENT_BYTES, MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES
from attestor.core.wire import Answer, Artifact, Ask, DecisionView, ReleaseName

MAX_REASON_BYTES: Final = 4096
_BASE64: Final = r"^[A-Za-z0-9+/]*={0,2}\Z"


def _chars(raw_bytes: int) -> int:
    return -(-raw_bytes // 3) * 4


Fingerprint = Annotated[
    str,
    Meta(
        pattern=r"^([0-9A-F]{40}|SHA256:[A-Za-z0-9+/]{43})\Z",
        description="of the approver's key, as the policy spells it",
    ),
]
Document = Annotated[str, Meta(pattern=_BASE64, max_length=_chars(MAX_DOCUMENT_BYTES), description="base64")]
Signature = Annotated[str, Meta(pattern=_BASE64, max_length=_chars(MAX_SIGNATURE_BYTES), description="base64")]
Manifest = Annotated[str, Meta(pattern=_BASE64, max_length=_chars(MAX_MANIFEST_BYTES), description="base64")]
Reason = Annotated[str, Meta(min_length=1, max_length=MAX_REASON_BYTES)]
ActionName = Literal["release", "downgrade", "re-sign", "dispute", "quota"]


class ApprovalAsk(Ask, frozen=True):
    """``POST /v1/approvals``: what one person signed, and the words and the manifest that it names by SHA-256."""

    key: Fingerprint
    document: Document
    """Exactly the bytes that were signed."""
    signature: Signature
    """As gpg or ``ssh-keygen -Y sign`` made it."""
    reason: Reason
    manifest: Manifest | None = None


class RevocationAsk(Ask, frozen=True):
    """``POST /v1/approvals/{approvalDigest}/revocation``: signed by any valid key of the same approver."""

    key: Fingerprint
    document: Document
    signature: Signature


class ApprovalView(Answer, frozen=True):
    """One approval: by whom, for what, and whether it still counts."""

    digest: str
    """SHA-256 of what was signed: by it an approval is named, spent and revoked."""
    state: Literal["standing", "spent", "revoked", "over", "not-counting"]
    why: str | None
    """Why one that is ``not-counting`` does not, as a stable code."""
    approver: str
    key: str
    action: ActionName
    tier: str
    reason: str
    """In the approver's own words."""
    request: str | None
    release_id: str | None
    sha256: str | None
    """Of the bytes; these three are absent where a manifest names the releases."""
    manifest: str | None
    pairs: int
    """Releases with their bytes that it names."""
    spent: int
    """How many of them a decision has used it for."""
    not_before: datetime
    until: datetime
    received_at: datetime
    revoked_at: datetime | None


class ApprovalPage(Answer, frozen=True):
    """``GET /v1/approvals``: ask again with ``cursor`` for the rest; ``None`` at the end."""

    approvals: tuple[ApprovalView, ...]
    cursor: str | None


class PairView(Answer, frozen=True):
    """One release and the bytes that are approved for it."""

    release_id: str
    sha256: str
    spent_at: datetime | None


class ApprovalDetail(Answer, frozen=True):
    """``GET /v1/approvals/{approvalDigest}``: with what was signed, so that anybody can verify it."""

    approval: ApprovalView
    document: str
    """Base64, as the signature."""
    signature: str
    pairs: tuple[PairView, ...]


class Terms(Answer, frozen=True):
    """What an approval is bound to beside the bytes."""

    origin: str
    tier: str
    rules: str
    """SHA-256 of the tier's rules as they are in force."""
    hours: int
    """How long an approval may last at most."""


class EvidenceLink(Answer, frozen=True):
    """One operator's statement on the release, and where the attestation stands as it came."""

    operator: str
    outcome: str
    sha256: str | None
    envelope: str
    """Path below the service's address."""


class WantedApproval(Answer, frozen=True):
    """One signing request that people may let through, with all that they have to see before they sign."""

    request: str
    requester: str
    release: ReleaseName
    release_id: str
    artifact: Artifact
    action: ActionName
    reason: str
    """Why it waits, as a stable code."""
    sentence: str
    needed: int
    """People, whoever of them approved already."""
    approved_by: tuple[str, ...]
    terms: Terms
    decision: DecisionView
    signed: tuple[str, ...]
    """SHA-256 of what is signed of this release already."""
    evidence: tuple[EvidenceLink, ...]
    release_path: str
    """Path of the release with its votes, below the service's address."""
    since: datetime


class WantedPage(Answer, frozen=True):
    """``GET /v1/approvals/wanted``: a page may be empty and not the last; ``cursor`` is ``None`` at the end."""

    wanted: tuple[WantedApproval, ...]
    cursor: str | None


class QuotaView(Answer, frozen=True):
    """What is left of a tier's quota in the calendar period that it is now."""

    limit: int
    period: Literal["day", "week", "month", "year"]
    name: str
    used: int
    reserved: int
    """Places of requests that a signer works on."""
    left: int
    opens_at: datetime
    """When the next period opens."""


class TierView(Answer, frozen=True):
    """The rules of one tier beyond agreement."""

    name: str
    kind: str
    purl: str
    threshold: int
    operators: tuple[str, ...]
    signing_key: str
    version_order: str
    quota: QuotaView | None
    approvals: dict[str, int]
    """How many people let each exception through; one that is not named is none."""
    terms: Terms


class TierPage(Answer, frozen=True):
    """``GET /v1/tiers``: every tier of the policy in force, by name."""

    origin: str
    policy_serial: int
    policy_digest: str
    tiers: tuple[TierView, ...]
