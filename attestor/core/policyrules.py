"""The policy file's rules beyond agreement: version order, quota, approvals, and the people behind all parts of it (design §7)."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, Literal

from attestor.core.naming import Kind
from attestor.core.policy import ApproverKey
from attestor.core.policytables import (
    ApproverKeyTable,
    KeyTable,
    PolicyTable,
    TierTable,
    is_name,
    refusal,
)
from attestor.core.quota import MAX_QUOTA, Quota
from attestor.core.tierrules import MAX_APPROVAL_HOURS, MAX_APPROVERS, ApprovalRules
from attestor.core.versions import VersionOrder

ORDER_OF_TYPE: Final = {"alpm": VersionOrder.ALPM, "deb": VersionOrder.DEBIAN, "generic": VersionOrder.SEQUENCE}
"""The one order that versions of each purl type can have."""
_FINGERPRINTS: Final = {
    "openpgp": (
        re.compile(r"[0-9A-F]{40}", re.ASCII),
        "40 upper-case hex digits, as gpg --list-keys --with-colons prints",
    ),
    "ssh": (re.compile(r"SHA256:[A-Za-z0-9+/]{43}", re.ASCII), "SHA256:… as ssh-keygen -l prints it"),
}
_EXCEPTIONS: Final = ("release", "downgrade", "re_sign", "dispute", "quota")


def version_order(stated: TierTable, purl_type: str, place: str, source: str) -> VersionOrder:
    """The tier's order, which must be that of its purl type, or none."""
    if stated.version_order not in {VersionOrder.NONE, ORDER_OF_TYPE[purl_type]}:
        raise refusal(
            source,
            f"{place}.version_order",
            f"versions of purl type {purl_type} are ordered by {ORDER_OF_TYPE[purl_type]!s}, or by none",
        )
    return stated.version_order


def compare_predecessor(stated: TierTable, place: str, source: str) -> bool:
    """Whether the tier's databases are held against those before them; the signer opens what a single builder made."""
    if stated.compare_predecessor and (stated.kind is not Kind.DATABASE or stated.threshold != 1):
        raise refusal(
            source,
            f"{place}.compare_predecessor",
            "is for tiers of kind database with threshold 1, whose content is opened",
        )
    return stated.compare_predecessor


def quota(stated: TierTable, place: str, source: str) -> Quota | None:
    """The tier's quota, if it has one."""
    if stated.quota is None:
        return None
    if not 1 <= stated.quota.limit <= MAX_QUOTA:
        raise refusal(source, f"{place}.quota.limit", f"must be 1 to {MAX_QUOTA}")
    return Quota(stated.quota.limit, stated.quota.period)


def approval_rules(stated: TierTable, table: PolicyTable, place: str, source: str) -> ApprovalRules | None:
    """How many people let which exception through; each number must be one that the approvers can come to."""
    rules = stated.approvals
    if rules is None:
        return None
    place = f"{place}.approvals"
    if not 1 <= rules.hours <= MAX_APPROVAL_HOURS:
        raise refusal(source, f"{place}.hours", f"must be 1 to {MAX_APPROVAL_HOURS}")
    numbers: dict[str, int] = {}
    for name in _EXCEPTIONS:
        number: int | None = getattr(rules, name)
        if number is not None:
            _refuse_bad_number(number, table, f"{place}.{name}", source)
            numbers[name] = number
    if not numbers:
        raise refusal(source, place, f"names no exception; write how many people let through: {', '.join(_EXCEPTIONS)}")
    _refuse_nameless_requesters(stated, table, place, source)
    return ApprovalRules(hours=rules.hours, **numbers)


def approver_keys(table: PolicyTable, source: str) -> Iterator[ApproverKey]:
    """Every approver's keys; one key stands under one approver, once."""
    owners: dict[str, str] = {}
    for name, approver in table.approvers.items():
        if not approver.keys:
            raise refusal(source, f"approvers.{name}.keys", "must list at least one key")
        for number, stated in enumerate(approver.keys):
            place = f"approvers.{name}.keys[{number}]"
            key = _approver_key(name, stated, place, source)
            if key.fingerprint in owners:
                raise refusal(
                    source, f"{place}.fingerprint", f"this key already stands under approver {owners[key.fingerprint]}"
                )
            owners[key.fingerprint] = name
            yield key


def refuse_unfit_people(table: PolicyTable, source: str) -> None:
    """One person is one approver, and never two operators of one tier."""
    _refuse_bad_persons(table, source)
    _refuse_repeated((each.person for each in table.approvers.values()), "approvers", source)
    for name, tier in table.tiers.items():
        _refuse_repeated((table.operators[each].person for each in tier.operators), f"tiers.{name}.operators", source)


def refuse_bad_times(stated: KeyTable | ApproverKeyTable, place: str, source: str) -> None:
    """A key's times must be unambiguous and in order."""
    for field, moment in (
        ("valid_from", stated.valid_from),
        ("valid_until", stated.valid_until),
        ("revoked", stated.revoked),
    ):
        if moment is not None and moment.tzinfo is None:
            raise refusal(source, f"{place}.{field}", "needs a time zone; write it in UTC with a Z")
    if stated.valid_from >= stated.valid_until:
        raise refusal(source, f"{place}.valid_until", "must be later than valid_from")


def refuse_bad_compromise(stated: KeyTable, place: str, source: str) -> None:
    """Since when a key may have been in other hands is said of a revoked one, and no later than that it was revoked."""
    since = stated.compromised_since
    if since is None:
        return
    place = f"{place}.compromised_since"
    if since.tzinfo is None:
        raise refusal(source, place, "needs a time zone; write it in UTC with a Z")
    if stated.revoked is None:
        raise refusal(source, place, "stands beside revoked: a key that others may have counts for nothing")
    if since > stated.revoked:
        raise refusal(source, place, "must not be later than revoked")


def _refuse_bad_persons(table: PolicyTable, source: str) -> None:
    stated: list[tuple[str, str | None]] = [
        *((f"operators.{name}", each.person) for name, each in table.operators.items()),
        *((f"requesters.{name}", each.person) for name, each in table.requesters.items()),
        *((f"approvers.{name}", each.person) for name, each in table.approvers.items()),
    ]
    for place, person in stated:
        if person is not None and not is_name(person):
            raise refusal(
                source,
                f"{place}.person",
                "names one person, the same everywhere in this file: lower-case letters, digits, dots and dashes",
            )


def _refuse_repeated(persons: Iterable[str | None], place: str, source: str) -> None:
    for person, count in Counter(persons).items():
        if person is not None and count > 1:
            raise refusal(source, place, f"{person!r} is the person of {count} of them; one person counts once")


def _refuse_bad_number(number: int, table: PolicyTable, place: str, source: str) -> None:
    people = len(table.approvers)
    if not 1 <= number <= min(people, MAX_APPROVERS):
        raise refusal(source, place, f"must be 1 to {min(people, MAX_APPROVERS)}: the file lists {people} approvers")


def _refuse_nameless_requesters(stated: TierTable, table: PolicyTable, place: str, source: str) -> None:
    for name in stated.requesters:
        requester = table.requesters.get(name)
        if requester is not None and requester.person is None:
            raise refusal(
                source,
                place,
                f"requester {name!r} names no person, so that nobody could tell who asked; add person to requesters.{name}",
            )


def _approver_key(name: str, stated: ApproverKeyTable, place: str, source: str) -> ApproverKey:
    refuse_bad_times(stated, place, source)
    if (stated.openpgp is None) == (stated.ssh is None):
        raise refusal(source, place, "holds one of openpgp (an armored certificate) and ssh (a public key line)")
    form: Literal["openpgp", "ssh"] = "openpgp" if stated.openpgp is not None else "ssh"
    pattern, spelling = _FINGERPRINTS[form]
    if not pattern.fullmatch(stated.fingerprint):
        raise refusal(source, f"{place}.fingerprint", f"must be the {form} key's fingerprint: {spelling}")
    return ApproverKey(
        approver=name,
        form=form,
        text=stated.openpgp or stated.ssh or "",
        fingerprint=stated.fingerprint,
        valid_from=stated.valid_from,
        valid_until=stated.valid_until,
        revoked=stated.revoked is not None,
    )
