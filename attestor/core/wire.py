"""Every request and answer of ``/v1`` as types; OpenAPI is generated from them, so they cannot differ.

JSON names are camelCase. Digests are lower-case hex, times RFC 3339 in UTC, sizes bytes.
"""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

Sha256Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", description="lower-case hex SHA-256")]
Sha512Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{128}\Z", description="lower-case hex SHA-512")]
Size = Annotated[int, Meta(ge=1, le=2**50, description="bytes")]
Name = Annotated[str, Meta(min_length=1, max_length=512)]

MAX_PAGE: Final = 500
"""Rows of one page of a list."""


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What a client sends: unknown members are refused."""


class Answer(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What the service answers."""


class ReleaseName(Ask, frozen=True):
    """The three names of a release; they must agree."""

    kind: Name
    purl: Name
    file_name: Name


class Artifact(Ask, frozen=True):
    """The file to be signed."""

    size: Size
    sha256: Sha256Hex
    sha512: Sha512Hex


class Upload(Ask, frozen=True, tag_field="type", tag="upload"):
    """The requester sends the bytes: ``PUT /v1/signing-requests/{id}/content``."""


class Pull(Ask, frozen=True, tag_field="type", tag="pull"):
    """The signer reads the bytes below one of its configured roots."""

    root: Name
    path: Annotated[str, Meta(min_length=1, max_length=1024)]


class HashState(Ask, frozen=True, tag_field="type", tag="hashState"):
    """The bytes stay where they are: a SHA-512 state as Signstar's client sends it, base64."""

    state: Annotated[str, Meta(max_length=512)]


class SigningRequestAsk(Ask, frozen=True):
    """``POST /v1/signing-requests``."""

    release: ReleaseName
    artifact: Artifact
    content: Upload | Pull | HashState
    bulk: bool = False
    """It is in no hurry, as one of a mass rebuild: everything else is signed first."""


class DecisionView(Answer, frozen=True):
    """What was agreed, by whom, and what is missing."""

    state: Literal["pending", "reached", "disputed"]
    reason: str
    """A stable code for programs."""
    sentence: str
    """The same for people."""
    tier: str
    threshold: int
    missing: int
    sha256: str | None
    """What is agreed, or what most operators state so far."""
    sha512: str | None
    size: int | None
    agreeing: tuple[str, ...]
    dissenting: tuple[str, ...]
    equivocating: tuple[str, ...]
    failed: tuple[str, ...]
    missing_required: tuple[str, ...]
    policy_serial: int
    policy_digest: str


class VoteView(Answer, frozen=True):
    """One claim of one operator, counted or not."""

    operator: str
    payload_digest: str
    form: str
    outcome: str
    sha256: str | None
    sha512: str | None
    size: int | None
    keys: tuple[str, ...]
    received_at: datetime
    counted: bool
    reason: str | None
    """Why it does not count."""


class ReleaseView(Answer, frozen=True):
    """One release: who said what, and what follows."""

    id: str
    kind: str
    purl: str
    file_name: str
    decision: DecisionView
    votes: tuple[VoteView, ...]
    requests: tuple[str, ...]
    """Ids of the signing requests for it."""


class EventView(Answer, frozen=True):
    """One step of a release's or a request's life."""

    at: datetime
    request: str | None
    what: str
    detail: str


class Explanation(Answer, frozen=True):
    """``GET /v1/releases/{id}/explanation``: the whole chain, in order."""

    release: ReleaseView
    events: tuple[EventView, ...]


class ReleaseLine(Answer, frozen=True):
    """One release in a list or receipt: its names and its decision now."""

    id: str
    kind: str
    purl: str
    file_name: str
    decision: DecisionView


class ReleasePage(Answer, frozen=True):
    """``GET /v1/releases``: ask again with ``cursor`` for the rest; ``None`` at the end."""

    releases: tuple[ReleaseLine, ...]
    cursor: str | None


class SuspectVoteView(Answer, frozen=True):
    """A counted vote that revoked keys alone signed."""

    operator: str
    payload_digest: str
    keys: tuple[str, ...]
    """Their fingerprints."""
    received_at: datetime


class SuspectLine(Answer, frozen=True):
    """A signed release that counts such votes."""

    id: str
    kind: str
    purl: str
    file_name: str
    sha256: str
    decision: int
    """The index of its decision entry in the log."""
    tier: str
    counted: tuple[str, ...]
    """Operators whose agreement it was signed on."""
    votes: tuple[SuspectVoteView, ...]
    remaining: tuple[str, ...]
    """Who stands for the bytes without any revoked key: of these, and of those who attested them besides or since."""
    reached: bool
    """Whether they are enough by the threshold in force."""
    sentence: str


class SuspectPage(Answer, frozen=True):
    """``GET /v1/suspects``: ask again with ``cursor`` for the rest, also where a page shows none; ``None`` at the end."""

    releases: tuple[SuspectLine, ...]
    cursor: str | None
    policy_serial: int
    """Of the policy that says which keys are revoked."""


class Receipt(Answer, frozen=True):
    """The answer to one attestation: committed, and what the releases it names stand at."""

    payload_digest: str
    replay: bool
    """The payload was known already: nothing changed."""
    releases: tuple[ReleaseLine, ...]


class Problem(Answer, frozen=True, omit_defaults=True):
    """RFC 9457; ``type`` is ``urn:attestor:problem:CODE``."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    retry_after: int | None = None
    """Seconds after which the same call may succeed, where waiting helps: what ``Retry-After`` says, for lines of a batch too."""


class BatchLine(Answer, frozen=True, omit_defaults=True):
    """The answer to one line of a batch, in the order of the lines; exactly one of receipt and problem is there."""

    line: int
    receipt: Receipt | None = None
    problem: Problem | None = None


class SigningRequestView(Answer, frozen=True):
    """One signing request: where it stands and why."""

    id: str
    state: Literal["waiting", "queued", "claimed", "signed", "refused", "aside", "withdrawn"]
    reason: str
    sentence: str
    release: ReleaseName
    release_id: str
    artifact: Artifact
    content: Upload | Pull | HashState
    content_present: bool
    requester: str
    tier: str
    tries: int
    created_at: datetime
    updated_at: datetime


class SigningRequestPage(Answer, frozen=True):
    """``GET /v1/signing-requests``."""

    requests: tuple[SigningRequestView, ...]
    cursor: str | None


class CanaryView(Answer, frozen=True):
    """The last signature of the canary's string by one release key, to be verified with its OpenPGP certificate."""

    key: str
    """Version 4 fingerprint of the certificate."""
    created: datetime
    entry: int
    """Index of the log entry that announced it."""
    signature: bytes
    """The binary detached signature, base64."""


class CanaryList(Answer, frozen=True):
    """``GET /v1/canary``."""

    content: bytes
    """What is signed, base64: always the same bytes."""
    canaries: tuple[CanaryView, ...]


class Health(Answer, frozen=True):
    """``/healthz``: the process answers."""

    status: Literal["ok"]


class PartHealth(Answer, frozen=True):
    """One part of ``/readyz``."""

    part: str
    ready: bool
    age_seconds: float
    detail: str


class Readiness(Answer, frozen=True):
    """``/readyz``: 200 when every part is ready, else 503."""

    ready: bool
    parts: tuple[PartHealth, ...]
