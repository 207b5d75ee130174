"""The policy file: TOML, with a rising serial, named by the SHA-256 of its bytes.

Decoded once and refused whole when anything in it is unknown, empty, weak or ambiguous: a policy that exists is right.
No security number has a default. Source of the rules: design §5 (counting), §7 (tiers).
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Final

from attestor.core.errors import AttestorError
from attestor.core.keys import MAX_KEYS, PublicKey, parse_public_key
from attestor.core.naming import TYPES, could_be_scope
from attestor.core.policy import UNIX, OperatorKey, Policy, PurlPattern, Scope, Tier
from attestor.core.policylog import read_log
from attestor.core.policyrequesters import networks, refuse_unfit_requesters, requester_of_user
from attestor.core.policyrules import (
    approval_rules,
    approver_keys,
    compare_predecessor,
    quota,
    refuse_bad_compromise,
    refuse_bad_times,
    refuse_unfit_people,
    version_order,
)
from attestor.core.policytables import KeyTable, PolicyTable, TierTable, is_name, read_tables, refusal, refuse_bad_names
from attestor.core.strictjson import MAX_INTEGER

FORMS: Final = frozenset({"rebuild", "link", "provenance"})
"""What a key may say: our own predicate, an in-toto link (legacy or v0.3), SLSA provenance v1."""
_PATTERN = re.compile(
    r"pkg:(alpm|deb|generic)/(\*|[a-z0-9._-]+)/(\*|[A-Za-z0-9@._+-]+)(?:\?arch=([a-z0-9_]+))?", re.ASCII
)


def parse_policy(raw: bytes, source: str) -> Policy:
    """Decode and check a policy file; *source* is its name, used in messages.

    Raises ``Rejected`` ``policy-invalid`` with file, place and sentence.
    """
    table = read_tables(raw, source)
    _refuse_bad_top_level(table, source)
    keys = dict(_operator_keys(table, source))
    tiers = tuple(_tier(name, tier, table, source) for name, tier in table.tiers.items())
    refuse_unfit_requesters(table, source)
    _refuse_ambiguous_tiers(tiers, source)
    _refuse_voteless_operators(tiers, keys, source)
    refuse_unfit_people(table, source)
    return Policy(
        origin=table.origin,
        serial=table.serial,
        digest=hashlib.sha256(raw).hexdigest(),
        keys=keys,
        suspended=frozenset(name for name, operator in table.operators.items() if operator.suspended),
        operators=frozenset(table.operators),
        tiers=tiers,
        requesters={name: frozenset(requester.clients) for name, requester in table.requesters.items()},
        log=read_log(table, keys, source),
        requester_of_users=requester_of_user(table),
        raw=raw,
        approver_keys={key.fingerprint: key for key in approver_keys(table, source)},
        persons={name: approver.person for name, approver in table.approvers.items()},
        persons_of_requesters={name: asks.person for name, asks in table.requesters.items() if asks.person is not None},
    )


def _refuse_bad_top_level(table: PolicyTable, source: str) -> None:
    if not 1 <= table.serial <= MAX_INTEGER:
        raise refusal(source, "serial", f"must be 1 to {MAX_INTEGER} and rise with every change")
    if not is_name(table.origin):
        raise refusal(source, "origin", "must name this instance: lower-case letters, digits, dots and dashes")
    for section, names in (("operators", table.operators), ("tiers", table.tiers), ("requesters", table.requesters)):
        if not names:
            raise refusal(source, section, "must not be empty: an empty list allows nobody")
        refuse_bad_names(section, names, source)
    refuse_bad_names("approvers", table.approvers, source)


def _operator_keys(table: PolicyTable, source: str) -> Iterator[tuple[PublicKey, OperatorKey]]:
    owners: dict[PublicKey, str] = {}
    for name, operator in table.operators.items():
        if not operator.keys:
            raise refusal(source, f"operators.{name}.keys", "must list at least one key")
        for number, stated in enumerate(operator.keys):
            place = f"operators.{name}.keys[{number}]"
            held = _operator_key(name, stated, place, source)
            if held.public_key in owners:
                raise refusal(
                    source,
                    place,
                    f"this key already stands under operator {owners[held.public_key]}; one key, one operator, once",
                )
            owners[held.public_key] = name
            if len(owners) > MAX_KEYS:
                raise refusal(source, place, f"is one key too many; remove old ones, {MAX_KEYS} are the limit")
            yield held.public_key, held


def _operator_key(operator: str, stated: KeyTable, place: str, source: str) -> OperatorKey:
    try:
        public_key = parse_public_key(stated.public_key)
    except AttestorError as error:
        raise refusal(source, f"{place}.public_key", error.sentence.rstrip(".")) from error
    refuse_bad_times(stated, place, source)
    refuse_bad_compromise(stated, place, source)
    _refuse_bad_statements(stated, place, source)
    _refuse_bad_scopes(stated.scopes, f"{place}.scopes", source)
    return OperatorKey(
        operator=operator,
        public_key=public_key,
        valid_from=stated.valid_from,
        valid_until=stated.valid_until,
        forms=frozenset(stated.statements),
        provenance=frozenset(stated.provenance),
        scopes=stated.scopes,
        revoked=stated.revoked is not None,
        compromised_since=stated.compromised_since,
    )


def _refuse_bad_statements(stated: KeyTable, place: str, source: str) -> None:
    if not stated.statements:
        raise refusal(source, f"{place}.statements", "must list what the key may say; an empty list allows nothing")
    if unknown := set(stated.statements) - FORMS:
        raise refusal(source, f"{place}.statements", f"{min(unknown)!r} is unknown; use {', '.join(sorted(FORMS))}")
    if ("provenance" in stated.statements) != bool(stated.provenance):
        raise refusal(
            source, f"{place}.provenance", "lists build types and builder ids exactly when statements has 'provenance'"
        )
    if any(" " in part for allowed in stated.provenance for part in (allowed.build_type, allowed.builder_id)):
        raise refusal(source, f"{place}.provenance", "build types and builder ids are URIs without spaces")


def _refuse_bad_scopes(scopes: tuple[Scope, ...], place: str, source: str) -> None:
    if not scopes:
        raise refusal(source, place, "must list at least one scope; an empty list allows nothing")
    for number, scope in enumerate(scopes):
        if not could_be_scope(scope.kind, scope.type, scope.namespace, scope.arch):
            raise refusal(
                source,
                f"{place}[{number}]",
                f"no release of kind {scope.kind} has this purl type, namespace or architecture; a scope takes no '*'",
            )


def _tier(name: str, stated: TierTable, table: PolicyTable, source: str) -> Tier:
    place = f"tiers.{name}"
    found = _PATTERN.fullmatch(stated.purl)
    if found is None:
        raise refusal(
            source, f"{place}.purl", "write pkg:TYPE/NAMESPACE/NAME[?arch=ARCH]; '*' stands for a whole component only"
        )
    if found[1] not in TYPES[stated.kind]:
        raise refusal(
            source,
            f"{place}.purl",
            f"a release of kind {stated.kind} has a purl of type {' or '.join(sorted(TYPES[stated.kind]))}",
        )
    _refuse_unknown_names(stated.operators, table.operators, f"{place}.operators", source)
    _refuse_unknown_names(stated.requesters, table.requesters, f"{place}.requesters", source)
    if outside := set(stated.required) - set(stated.operators):
        raise refusal(source, f"{place}.required", f"{min(outside)!r} is not among the tier's operators")
    _refuse_bad_numbers(stated, place, source)
    return Tier(
        name=name,
        kind=stated.kind,
        pattern=PurlPattern(*found.groups()),
        operators=frozenset(stated.operators),
        threshold=stated.threshold,
        dissent_limit=stated.dissent_limit,
        required=frozenset(stated.required),
        signing_key=stated.signing_key,
        requesters=frozenset(stated.requesters),
        networks=tuple(networks(stated.networks, f"{place}.networks", source)),
        unix=UNIX in stated.networks,
        version_order=version_order(stated, found[1], place, source),
        quota=quota(stated, place, source),
        compare_predecessor=compare_predecessor(stated, place, source),
        approvals=approval_rules(stated, table, place, source),
    )


def _refuse_bad_numbers(stated: TierTable, place: str, source: str) -> None:
    m, n = len(stated.operators), stated.threshold
    if not m < 2 * n <= 2 * m:
        raise refusal(
            source,
            f"{place}.threshold",
            f"must be more than half of the {m} operators and at most {m}, so that two digests can never both reach it",
        )
    if len(stated.required) > n:
        raise refusal(source, f"{place}.required", f"lists more operators than the threshold of {n}")
    if not 0 <= stated.dissent_limit <= m - n:
        raise refusal(
            source, f"{place}.dissent_limit", f"must be 0 to {m - n}: more dissent can never stand beside {n} of {m}"
        )
    if not is_name(stated.signing_key):
        raise refusal(source, f"{place}.signing_key", "must name a signing key of the deployment file")


def _refuse_unknown_names(names: tuple[str, ...], known: Mapping[str, object], place: str, source: str) -> None:
    if not names:
        raise refusal(source, place, "must not be empty: an empty list allows nobody")
    for name in names:
        if name not in known:
            raise refusal(source, place, f"{name!r} is not defined in this file")
    if len(set(names)) != len(names):
        raise refusal(source, place, "lists a name twice")


def _refuse_ambiguous_tiers(tiers: tuple[Tier, ...], source: str) -> None:
    kind_of_key: dict[str, Tier] = {}
    for number, tier in enumerate(tiers):
        holder = kind_of_key.setdefault(tier.signing_key, tier)
        if holder.kind is not tier.kind:
            raise refusal(
                source,
                f"tiers.{tier.name}.signing_key",
                f"{tier.signing_key!r} already signs kind {holder.kind} in tier {holder.name}; a detached signature names no kind, so no key serves two",
            )
        for other in tiers[:number]:
            if other.kind is tier.kind and other.pattern.overlaps(tier.pattern):
                raise refusal(
                    source,
                    f"tiers.{tier.name}.purl",
                    f"overlaps tier {other.name}; every release matches exactly one tier",
                )


def _refuse_voteless_operators(tiers: tuple[Tier, ...], keys: Mapping[PublicKey, OperatorKey], source: str) -> None:
    for tier in tiers:
        for operator in sorted(tier.operators):
            if not any(held.operator == operator and _can_vote(held, tier) for held in keys.values()):
                raise refusal(
                    source, f"tiers.{tier.name}.operators", f"{operator!r} has no key whose scopes meet this tier"
                )


def _can_vote(held: OperatorKey, tier: Tier) -> bool:
    return any(
        scope.kind is tier.kind
        and tier.pattern.overlaps(PurlPattern(type=scope.type, namespace=scope.namespace, name="*", arch=scope.arch))
        for scope in held.scopes
    )
