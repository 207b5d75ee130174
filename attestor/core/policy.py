"""The policy as values: operators with their keys, tiers, requesters. Made only by :mod:`attestor.core.policyfile`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Literal

import msgspec

from attestor.core.errors import Missing
from attestor.core.keys import KeyRing, PublicKey
from attestor.core.naming import Kind, Release
from attestor.core.quota import Quota
from attestor.core.seal import SealRing
from attestor.core.tierrules import Action, ApprovalRules
from attestor.core.tlog.note import VerifierKey
from attestor.core.versions import VersionOrder

UNIX: Final = "unix"
"""Stands among a tier's networks for sockets of the host, and is the address of who calls there."""


class Scope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Releases that a key may vote for; an absent architecture means any."""

    kind: Kind
    type: str
    namespace: str
    arch: str | None = None

    def covers(self, release: Release) -> bool:
        return (self.kind, self.type, self.namespace) == (release.kind, release.type, release.namespace) and (
            self.arch is None or self.arch == release.arch
        )


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One SLSA build type and builder id that a key may speak for."""

    build_type: str
    builder_id: str


@dataclass(frozen=True, slots=True)
class OperatorKey:
    """One key of one operator: when it counts, what it may say, and about which releases."""

    operator: str
    public_key: PublicKey
    valid_from: datetime
    valid_until: datetime
    forms: frozenset[str]
    provenance: frozenset[Provenance]
    scopes: tuple[Scope, ...]
    revoked: bool
    compromised_since: datetime | None = None
    """Of a revoked key: what was received from then on may be somebody else's; ``None`` is all that it ever signed."""

    def is_suspect_at(self, moment: datetime) -> bool:
        """Whether what the key signed and was received at *moment* may be somebody else's."""
        return self.revoked and (self.compromised_since is None or moment >= self.compromised_since)

    def refusal_at(self, moment: datetime) -> str | None:
        """Say why the key does not count at *moment*, as a stable code; ``None`` when it does."""
        return refusal_of(self, moment)

    def may_say(self, form: str) -> bool:
        """*form* is ``rebuild``, ``link``, or ``provenance BUILD_TYPE BUILDER_ID``."""
        if form == "provenance":
            return False
        return form in self.forms or any(form == form_of(allowed) for allowed in self.provenance)

    def covers(self, release: Release) -> bool:
        return any(scope.covers(release) for scope in self.scopes)


def form_of(provenance: Provenance) -> str:
    """Name the statement form that one SLSA build type and builder id is."""
    return f"provenance {provenance.build_type} {provenance.builder_id}"


@dataclass(frozen=True, slots=True)
class ApproverKey:
    """One OpenPGP or SSH key of one approver, and when it counts."""

    approver: str
    form: Literal["openpgp", "ssh"]
    text: str
    """An ASCII-armored OpenPGP certificate, or a line as in ``authorized_keys``: type, base64, comment."""
    fingerprint: str
    """OpenPGP: upper-case hex of the version 4 primary key; SSH: ``SHA256:`` and base64, as ``ssh-keygen -l`` prints it."""
    valid_from: datetime
    valid_until: datetime
    revoked: bool

    def refusal_at(self, moment: datetime) -> str | None:
        """Say why the key does not count at *moment*, as a stable code; ``None`` when it does."""
        return refusal_of(self, moment)


def refusal_of(key: OperatorKey | ApproverKey, moment: datetime) -> str | None:
    """Say why a key does not count at *moment*, as a stable code; ``None`` when it does."""
    if key.revoked:
        return "key-revoked"
    if moment < key.valid_from:
        return "key-not-yet-valid"
    return "key-expired" if moment >= key.valid_until else None


@dataclass(frozen=True, slots=True)
class PurlPattern:
    """Matches purls by type, namespace, name and architecture; ``*`` stands for a whole component only."""

    type: str
    namespace: str
    name: str
    arch: str | None

    @property
    def text(self) -> str:
        """As the policy file spells it."""
        arch = f"?arch={self.arch}" if self.arch else ""
        return f"pkg:{self.type}/{self.namespace}/{self.name}{arch}"

    def matches(self, release: Release) -> bool:
        return (
            self.type == release.type
            and self.namespace in ("*", release.namespace)
            and self.name in ("*", release.name)
            and self.arch in (None, release.arch)
        )

    @property
    def binds_all(self) -> bool:
        """Whether all that it matches differs by version alone."""
        return "*" not in (self.namespace, self.name) and self.arch is not None

    def overlaps(self, other: "PurlPattern") -> bool:
        """Whether some purl could match both."""
        return (
            self.type == other.type
            and _meet(self.namespace, other.namespace)
            and _meet(self.name, other.name)
            and (None in (self.arch, other.arch) or self.arch == other.arch)
        )


@dataclass(frozen=True, slots=True)
class Tier:
    """Which rules govern the releases that it matches."""

    name: str
    kind: Kind
    pattern: PurlPattern
    operators: frozenset[str]
    threshold: int
    dissent_limit: int
    required: frozenset[str]
    signing_key: str
    requesters: frozenset[str]
    networks: tuple[IPv4Network | IPv6Network, ...]
    unix: bool = False
    """Whether it may be asked over a socket of the host, by users that the policy lists."""
    version_order: VersionOrder = VersionOrder.NONE
    quota: Quota | None = None
    approvals: ApprovalRules | None = None
    """``None``: nobody lets any exception through."""
    compare_predecessor: bool = False
    """A database is held against the one before it: what lists less or older packages waits for approval of a downgrade."""

    @property
    def places(self) -> tuple[str, ...]:
        """From where it may be asked, as the policy file spells them."""
        return (*map(str, self.networks), *((UNIX,) if self.unix else ()))

    def needs(self, action: Action) -> int:
        """How many people must approve *action*; 0 where the tier knows no such exception."""
        return self.approvals.needed(action) if self.approvals is not None else 0

    @property
    def asks_of_past(self) -> bool:
        """Whether other releases have to do with what may be signed."""
        return self.version_order is not VersionOrder.NONE or self.quota is not None or self.compare_predecessor

    def rules(self) -> dict[str, object]:
        """Every rule by name as built-in values, sets in order: what an approval is bound to."""
        return {
            "name": self.name,
            "kind": self.kind.value,
            "purl": self.pattern.text,
            "operators": sorted(self.operators),
            "threshold": self.threshold,
            "dissentLimit": self.dissent_limit,
            "required": sorted(self.required),
            "signingKey": self.signing_key,
            "requesters": sorted(self.requesters),
            "networks": sorted(self.places),
            "versionOrder": self.version_order.value,
            "comparePredecessor": self.compare_predecessor,
            "quota": [self.quota.limit, self.quota.period.value] if self.quota is not None else [],
            "approvals": {action.value: self.needs(action) for action in Action},
            "approvalHours": self.approvals.hours if self.approvals is not None else 0,
        }

    @property
    def single_builder(self) -> bool:
        """One builder's word decides, so the content itself is inspected and no hash state is taken."""
        return self.threshold == 1

    def governs(self, release: Release) -> bool:
        return release.kind is self.kind and self.pattern.matches(release)


@dataclass(frozen=True, slots=True)
class WitnessPolicy:
    """One witness of the log (C2SP tlog-witness): the key of its cosignatures, and where it takes checkpoints."""

    name: str
    key: VerifierKey
    """Of type 0x04."""
    url: str
    """The submission prefix, without a slash at its end."""


@dataclass(frozen=True)
class LogPolicy:
    """Which log counts, who seals what a signer says in it, and who has to have seen its checkpoints."""

    key: VerifierKey
    """Of type 0x01; its name is the log's origin."""
    seal_keys: tuple[PublicKey, ...]
    """Ed25519, of signers now and before."""
    quorum: int
    """How many witnesses must have cosigned a checkpoint before it counts; 0 is none."""
    witnesses: tuple[WitnessPolicy, ...]

    @cached_property
    def seals(self) -> SealRing:
        return SealRing(self.seal_keys)


@dataclass(frozen=True)
class Policy:
    """A policy that was read whole, so everything in it is known, strong and unambiguous."""

    origin: str
    serial: int
    digest: str
    """Lower-case hex SHA-256 of the file's bytes."""
    keys: Mapping[PublicKey, OperatorKey]
    suspended: frozenset[str]
    operators: frozenset[str]
    tiers: tuple[Tier, ...]
    requesters: Mapping[str, frozenset[str]]
    """Requester name to the lower-case hex SHA-256 of its clients' public keys (DER SubjectPublicKeyInfo)."""
    log: LogPolicy
    raw: bytes = field(repr=False)
    """The file's bytes, as log entries name them by digest."""
    requester_of_users: Mapping[str, str] = field(default_factory=dict)
    """System user to requester."""
    approver_keys: Mapping[str, ApproverKey] = field(default_factory=dict)
    """By fingerprint."""
    persons: Mapping[str, str] = field(default_factory=dict)
    """Approver to person."""
    persons_of_requesters: Mapping[str, str] = field(default_factory=dict)
    """Requester to the person who answers for what its clients ask: that person approves none of it."""

    @cached_property
    def key_ring(self) -> KeyRing:
        return KeyRing(self.keys)

    @cached_property
    def keys_by_fingerprint(self) -> Mapping[str, OperatorKey]:
        return {key.fingerprint: held for key, held in self.keys.items()}

    @cached_property
    def _requester_of_client(self) -> Mapping[str, str]:
        return {client: name for name, clients in self.requesters.items() for client in clients}

    def tier_of(self, release: Release) -> Tier:
        """Raises ``Missing`` ``no-tier`` when no tier governs the release."""
        for tier in self.tiers:
            if tier.governs(release):
                return tier
        raise Missing("no-tier", f"No tier of policy serial {self.serial} governs {release.kind} {release.purl}.")

    def requester_of_user(self, user: str) -> str | None:
        """The requester that a system user of the host is."""
        return self.requester_of_users.get(user)

    def requester_known_by(self, client: str) -> str | None:
        return self._requester_of_client.get(client)


def _meet(one: str, other: str) -> bool:
    return "*" in (one, other) or one == other
