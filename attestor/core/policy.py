"""The policy as values: operators with their keys, tiers, requesters. Made only by :mod:`attestor.core.policyfile`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network

import msgspec

from attestor.core.errors import Missing
from attestor.core.keys import KeyRing, PublicKey
from attestor.core.naming import Kind, Release
from attestor.core.seal import SealRing
from attestor.core.tlog.note import VerifierKey


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

    def refusal_at(self, moment: datetime) -> str | None:
        """Say why the key does not count at *moment*, as a stable code; ``None`` when it does."""
        if self.revoked:
            return "key-revoked"
        if moment < self.valid_from:
            return "key-not-yet-valid"
        return "key-expired" if moment >= self.valid_until else None

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
class PurlPattern:
    """Matches purls by type, namespace, name and architecture; ``*`` stands for a whole component only."""

    type: str
    namespace: str
    name: str
    arch: str | None

    def matches(self, release: Release) -> bool:
        return (
            self.type == release.type
            and self.namespace in ("*", release.namespace)
            and self.name in ("*", release.name)
            and self.arch in (None, release.arch)
        )

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

    def requester_known_by(self, client: str) -> str | None:
        return self._requester_of_client.get(client)


def _meet(one: str, other: str) -> bool:
    return "*" in (one, other) or one == other
