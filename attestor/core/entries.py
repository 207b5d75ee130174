"""Log entries: canonical JSON (RFC 8785) of digests and names that the policy publishes, schema version 1 (design §8).

Each entry is an object with ``type`` and ``version``. What only a signer may say (``decision`` with the verdict ``sign``,
``signature``, ``policy``, ``canary``) carries its seal over the same object without the member ``seal``. Nothing here is free text.
"""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from attestor.core.wire import Sha256Hex, Sha512Hex, Size

VERSION: Final = 1
MAX_PAIRS: Final = 190
"""(operator, payload, release) of one ``received`` entry: with the longest names they stay below ``MAX_ENTRY``."""
MAX_NOT_COUNTED: Final = 60
"""Votes that a ``decision`` lists as not counted; all of them stand in the evidence that it names by digest."""

MAX_NUMBER: Final = 1_000_000
REFUSAL: Final = MAX_NUMBER
"""The number of a request's refusal: it has one at most, after all its decisions."""

OperatorName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}\Z", description="a name of the policy file")]
Hex32 = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z", description="lower-case hex of 16 bytes")]
Uuid = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")]
Code = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,62}\Z", description="a stable reason")]
Fingerprint = Annotated[str, Meta(pattern=r"^[0-9A-F]{40}\Z", description="OpenPGP version 4 fingerprint")]
Index = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Base64Seal = Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/]{86}==\Z")]
Moment = Annotated[
    str, Meta(pattern=r"^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}Z\Z", description="RFC 3339, UTC, whole seconds")
]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True, omit_defaults=True):
    pass


class EntrySeal(_Part, frozen=True, kw_only=True):
    """Who sealed the entry, and the Ed25519 signature."""

    key: Sha256Hex
    """SHA-256 of the key's SubjectPublicKeyInfo."""
    signature: Base64Seal


class ReceivedVotes(_Part, frozen=True, kw_only=True):
    """One payload of one operator, the envelope in which it came, and the releases that it speaks of."""

    operator: OperatorName
    payload: Sha256Hex
    envelope: Sha256Hex
    """SHA-256 of the envelope's bytes: a database that spoils a signature hides a vote as well as one that drops it."""
    releases: Annotated[tuple[Sha256Hex, ...], Meta(min_length=1, max_length=MAX_PAIRS)]


class NamedRelease(_Part, frozen=True, kw_only=True):
    """A release with the names that its id is of."""

    id: Sha256Hex
    kind: Literal["package", "database", "iso", "vm"]
    purl: Annotated[str, Meta(pattern=r"^[!-~]{1,512}\Z")]
    file_name: Annotated[str, Meta(pattern=r"^[!-~]{1,255}\Z")]


class NamedArtifact(_Part, frozen=True, kw_only=True):
    """The bytes that were decided on."""

    size: Size
    sha256: Sha256Hex
    sha512: Sha512Hex


class NamedPolicy(_Part, frozen=True, kw_only=True):
    """A policy by its serial and the SHA-256 of its file."""

    serial: Index
    digest: Sha256Hex


class CountedVote(_Part, frozen=True, kw_only=True):
    """An operator whose agreement counts, and the first payload that states it."""

    operator: OperatorName
    payload: Sha256Hex


class UncountedVote(_Part, frozen=True, kw_only=True):
    """A payload that does not count, and why."""

    operator: OperatorName
    payload: Sha256Hex
    reason: Code


class SpentApproval(_Part, frozen=True, kw_only=True):
    """An approval that a decision spends."""

    action: Literal["release", "downgrade", "re-sign", "dispute", "quota"]
    approver: OperatorName
    document: Sha256Hex
    """SHA-256 of what the approver signed."""


class Received(_Part, frozen=True, kw_only=True, omit_defaults=False, tag_field="type", tag="received"):
    """What one intake transaction took in; the signer demands every payload that is named here for a release."""

    version: Literal[1] = VERSION
    votes: Annotated[tuple[ReceivedVotes, ...], Meta(min_length=1, max_length=MAX_PAIRS)]


class DecisionEntry(_Part, frozen=True, kw_only=True, tag_field="type", tag="decision"):
    """The verdict on one signing request. ``sign`` stands before the HSM is called; ``refuse`` says why never."""

    version: Literal[1] = VERSION
    verdict: Literal["sign", "refuse"]
    request: Uuid
    number: Annotated[int, Meta(ge=0, le=MAX_NUMBER)]
    release: NamedRelease
    artifact: NamedArtifact
    tier: OperatorName
    policy: NamedPolicy
    reason: Code
    signing_key: OperatorName | None = None
    key: Fingerprint | None = None
    created: Moment | None = None
    """The signature's creation time, fixed for good."""
    counted: Annotated[tuple[CountedVote, ...], Meta(max_length=240)] = ()
    not_counted: Annotated[tuple[UncountedVote, ...], Meta(max_length=MAX_NOT_COUNTED)] = ()
    evidence: Sha256Hex | None = None
    """Of the evidence document: every vote and withdrawal that was weighed."""
    approvals: Annotated[tuple[SpentApproval, ...], Meta(max_length=40)] = ()
    """Spent by this decision, in the order of action and document."""
    requester: OperatorName | None = None
    """Who asked, where approvals are spent: none of them may be by whoever answers for that requester."""
    period: Annotated[str, Meta(pattern=r"^[0-9]{4}(-[0-9]{2}){0,2}\Z|^[0-9]{4}-W[0-9]{2}\Z")] | None = None
    """The quota's calendar period that this decision counts in; absent where the tier has no quota."""
    packages: Sha256Hex | None = None
    """Of the list of packages in a database whose tier compares it with the next one."""
    anchor: Hex32 | None = None
    seal: EntrySeal | None = None


class SignatureEntry(_Part, frozen=True, kw_only=True, tag_field="type", tag="signature"):
    """A signature that was made; it can be read once a published checkpoint includes this."""

    version: Literal[1] = VERSION
    request: Uuid
    release: Sha256Hex
    sha256: Sha256Hex
    """Of the artifact."""
    decision: Index
    """The decision entry that it rests on."""
    signature: Sha256Hex
    """SHA-256 of the binary signature."""
    key: Fingerprint
    summary: Sha256Hex
    """SHA-256 of the verification summary's envelope."""
    anchor: Hex32
    seal: EntrySeal | None = None

    def is_of(self, decision: DecisionEntry) -> bool:
        """Whether the decision is on the same request, release, digest and key."""
        decided = (decision.request, decision.release.id, decision.artifact.sha256, decision.key)
        return decided == (self.request, self.release, self.sha256, self.key)


class PolicyEntry(_Part, frozen=True, kw_only=True, tag_field="type", tag="policy"):
    """A policy under which the signer decides from here on."""

    version: Literal[1] = VERSION
    serial: Index
    digest: Sha256Hex
    anchor: Hex32
    seal: EntrySeal | None = None


class WithdrawalEntry(_Part, frozen=True, kw_only=True, tag_field="type", tag="withdrawal"):
    """An operator took a payload back from a release; ``envelope`` is the SHA-256 of the withdrawal as it came."""

    version: Literal[1] = VERSION
    operator: OperatorName
    payload: Sha256Hex
    release: Sha256Hex
    envelope: Sha256Hex


class LateDissentEntry(_Part, frozen=True, kw_only=True, tag_field="type", tag="late-dissent"):
    """A vote for other bytes that came after the decision entry: it changes nothing, and somebody should look."""

    version: Literal[1] = VERSION
    operator: OperatorName
    payload: Sha256Hex
    release: Sha256Hex


class RevocationEntry(_Part, frozen=True, kw_only=True, tag_field="type", tag="revocation"):
    """An approver took an approval back; from here on no decision spends it."""

    version: Literal[1] = VERSION
    approval: Sha256Hex
    """SHA-256 of what had been signed."""


class CanaryEntry(_Part, frozen=True, kw_only=True, tag_field="type", tag="canary"):
    """A signer is about to sign the constant string of the canary with this key: a call that is no release's."""

    version: Literal[1] = VERSION
    instance: OperatorName
    key: Fingerprint
    created: Moment
    anchor: Hex32
    seal: EntrySeal | None = None


Entry = (
    Received
    | DecisionEntry
    | SignatureEntry
    | PolicyEntry
    | WithdrawalEntry
    | LateDissentEntry
    | RevocationEntry
    | CanaryEntry
)
Sealed = DecisionEntry | SignatureEntry | PolicyEntry | CanaryEntry


def moment(text: str) -> datetime:
    """Read a :data:`Moment`. Raises ``ValueError`` for one that no calendar has."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def moment_text(value: datetime) -> str:
    """Write a :data:`Moment`: whole seconds, UTC."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
