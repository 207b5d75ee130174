"""Who governs what under a policy, who alone could stop it, and what its author may want to look at. Pure analysis."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

from attestor.core.policy import ApproverKey, OperatorKey, Policy, PurlPattern, Tier
from attestor.core.tierrules import Action
from attestor.core.versions import VersionOrder

EXPIRES_SOON: Final = timedelta(days=30)


class Stopper(msgspec.Struct, frozen=True, rename="camel"):
    """One operator that could keep a tier from signing anything, without anybody's help."""

    operator: str
    how: tuple[str, ...]
    """``silence`` (it need only say nothing), ``dissent`` (it states other bytes)."""


class TierGovernance(msgspec.Struct, frozen=True, rename="camel"):
    """One tier: its rules as they are in force at one moment."""

    name: str
    kind: str
    purl: str
    threshold: int
    operators: tuple[str, ...]
    able: tuple[str, ...]
    """Those of the operators that can vote at this moment: not suspended, with a key that counts and covers the tier."""
    required: tuple[str, ...]
    dissent_limit: int
    requesters: tuple[str, ...]
    networks: tuple[str, ...]
    signing_key: str
    version_order: str
    compares_predecessor: bool
    quota: str | None
    """``LIMIT a PERIOD``."""
    approvals: dict[str, int]
    """Action to how many people may let it through; what is not here, nobody may."""
    stoppers: tuple[Stopper, ...]
    warnings: tuple[str, ...]


class LogGovernance(msgspec.Struct, frozen=True, rename="camel"):
    """Which log counts, and who vouches for it."""

    origin: str
    signers: tuple[str, ...]
    """Lower-case hex SHA-256 of each seal's DER SubjectPublicKeyInfo."""
    quorum: int
    witnesses: tuple[str, ...]


class Governance(msgspec.Struct, frozen=True, rename="camel"):
    """A whole policy."""

    origin: str
    serial: int
    digest: str
    log: LogGovernance
    tiers: tuple[TierGovernance, ...]
    warnings: tuple[str, ...]


def govern(policy: Policy, now: datetime) -> Governance:
    """Say of every tier who governs it at *now* (aware)."""
    return Governance(
        origin=policy.origin,
        serial=policy.serial,
        digest=policy.digest,
        log=LogGovernance(
            origin=policy.log.key.name,
            signers=tuple(key.fingerprint for key in policy.log.seal_keys),
            quorum=policy.log.quorum,
            witnesses=tuple(witness.name for witness in policy.log.witnesses),
        ),
        tiers=tuple(_tier(tier, policy, now) for tier in sorted(policy.tiers, key=lambda tier: tier.name)),
        warnings=(*_idle_operators(policy), *_ending_keys(policy, now)),
    )


def _tier(tier: Tier, policy: Policy, now: datetime) -> TierGovernance:
    able = frozenset(name for name in tier.operators if _able(name, tier, policy, now))
    return TierGovernance(
        name=tier.name,
        kind=tier.kind,
        purl=tier.pattern.text,
        threshold=tier.threshold,
        operators=tuple(sorted(tier.operators)),
        able=tuple(sorted(able)),
        required=tuple(sorted(tier.required)),
        dissent_limit=tier.dissent_limit,
        requesters=tuple(sorted(tier.requesters)),
        networks=tier.places,
        signing_key=tier.signing_key,
        version_order=tier.version_order.value,
        compares_predecessor=tier.compare_predecessor,
        quota=f"{tier.quota.limit} a {tier.quota.period}" if tier.quota is not None else None,
        approvals={action.value: tier.needs(action) for action in Action if tier.needs(action)},
        stoppers=tuple(_stoppers(tier, able)),
        warnings=(*_warnings(tier, able, policy), *_rule_warnings(tier, policy, now)),
    )


def _able(operator: str, tier: Tier, policy: Policy, now: datetime) -> bool:
    return operator not in policy.suspended and any(
        held.operator == operator and held.refusal_at(now) is None and _meets(held, tier)
        for held in policy.keys.values()
    )


def _meets(held: OperatorKey, tier: Tier) -> bool:
    return any(
        scope.kind is tier.kind and tier.pattern.overlaps(PurlPattern(scope.type, scope.namespace, "*", scope.arch))
        for scope in held.scopes
    )


def _stoppers(tier: Tier, able: frozenset[str]) -> Iterator[Stopper]:
    for name in sorted(tier.operators):
        silence = name in tier.required or (name in able and len(able) <= tier.threshold)
        # One dissenting claim disputes the release; an operator that cannot vote cannot dissent either.
        dissent = name in able and tier.dissent_limit == 0 and len(tier.operators) > 1
        how = tuple(way for way, applies in (("silence", silence), ("dissent", dissent)) if applies)
        if how:
            yield Stopper(name, how)


def _warnings(tier: Tier, able: frozenset[str], policy: Policy) -> Iterator[str]:
    n, m = tier.threshold, len(tier.operators)
    if len(able) < n:
        yield f"nothing can be signed now: {len(able)} of {m} operators can vote, and {n} must agree"
    if tier.single_builder:
        yield "one builder's word decides; only the content rules and the signing key's own kind stand beside it"
    elif n == m:
        yield f"all {m} operators must agree, so each of them can stop it by saying nothing"
    for name in sorted(tier.operators & policy.suspended):
        yield f"{name} is suspended: its vote does not count, and n stays {n}"
    for name in sorted(tier.operators - policy.suspended - able):
        yield f"{name} cannot vote: no key of it that covers this tier is in force"


def _rule_warnings(tier: Tier, policy: Policy, now: datetime) -> Iterator[str]:
    if tier.version_order is VersionOrder.NONE:
        yield "no version_order: an older version than the newest one may be signed"
    if tier.single_builder and tier.quota is None:
        yield "no quota: its one builder may have any number signed"
    if tier.compare_predecessor and not tier.pattern.binds_all:
        yield (
            "compare_predecessor holds for each name and architecture by itself, and purl leaves them open: under another one its "
            "builder begins anew"
        )
    able = {policy.persons[key.approver] for key in policy.approver_keys.values() if key.refusal_at(now) is None}
    for requester in sorted(tier.requesters):
        left = len(able - {policy.persons_of_requesters.get(requester)})
        for action in Action:
            if tier.needs(action) > left:
                yield (
                    f"{action} needs {tier.needs(action)} people, and {left} could approve what {requester} asks: "
                    "the others are its own person, or have no key in force"
                )


def _idle_operators(policy: Policy) -> Iterator[str]:
    voting = frozenset[str]().union(*(tier.operators for tier in policy.tiers))
    for name in sorted(policy.operators - voting):
        yield f"operator {name} votes in no tier"


def _ending_keys(policy: Policy, now: datetime) -> Iterator[str]:
    held: list[tuple[str, str, OperatorKey | ApproverKey]] = [
        *(("operator " + key.operator, key.public_key.fingerprint[:16], key) for key in policy.keys.values()),
        *(("approver " + key.approver, key.fingerprint, key) for key in policy.approver_keys.values()),
    ]
    for owner, fingerprint, key in sorted(held, key=lambda one: one[:2]):
        if not key.revoked and now < key.valid_until <= now + EXPIRES_SOON:
            days = (key.valid_until - now).days
            yield f"{owner}: key {fingerprint} expires on {key.valid_until:%Y-%m-%d}, in {days} days"
