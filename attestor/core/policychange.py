"""One policy after another: whether it may follow, and what is different under it. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

import msgspec

from attestor.core.errors import Rejected
from attestor.core.keys import PublicKey
from attestor.core.policy import LogPolicy, OperatorKey, Policy, Tier, WitnessPolicy

_REVOKE: Final = (
    "revoke a key, do not remove it: what it signed counts for nobody any more, and what it took back is in doubt"
)
_T = TypeVar("_T")


class Change(msgspec.Struct, frozen=True, rename="camel"):
    """One difference, as a sentence."""

    sentence: str
    warning: bool = False
    """What its author may want to look at twice."""


def refuse_succession(before: Policy, after: Policy) -> None:
    """Raise ``Rejected`` unless *after* may come into force where *before* is, without a restart.

    ``policy-serial`` (it is older, or another one of the same serial), ``policy-origin``, ``policy-log-key``.
    """
    if after.origin != before.origin:
        raise Rejected(
            "policy-origin",
            f"The policy is of {after.origin}, and {before.origin} runs here: another origin is another instance.",
        )
    if after.log.key != before.log.key:
        raise Rejected(
            "policy-log-key",
            f"The policy's log is {after.log.key.text}, and {before.log.key.text} is followed here: another log needs a restart.",
        )
    if after.serial < before.serial:
        raise Rejected(
            "policy-serial",
            f"The policy's serial {after.serial} is older than serial {before.serial}, which is in force: raise it.",
        )
    if after.serial == before.serial and after.digest != before.digest:
        raise Rejected(
            "policy-serial",
            f"The policy has serial {after.serial} as the one in force and other bytes: raise the serial with every change.",
        )


def changes(before: Policy, after: Policy) -> tuple[Change, ...]:
    """What differs, in the order of the file; no difference of bytes alone."""
    return (
        *_serial(before, after),
        *_log(before.log, after.log),
        *_operators(before, after),
        *_keys(before.keys, after.keys),
        *_tiers(before, after),
        *_requesters(before, after),
        *_approvers(before, after),
    )


def _serial(before: Policy, after: Policy) -> Iterator[Change]:
    if after.origin != before.origin:
        yield Change(f"origin: {before.origin} becomes {after.origin}: that is another instance", warning=True)
    if after.serial <= before.serial and after.digest != before.digest:
        yield Change(f"serial: {before.serial} becomes {after.serial}: it has to rise with every change", warning=True)


def _log(before: LogPolicy, after: LogPolicy) -> Iterator[Change]:
    if before.key != after.key:
        yield Change(f"log: the key becomes {after.key.text}: that is another log", warning=True)
    ours, theirs = set(before.seal_keys), set(after.seal_keys)
    for key in sorted(theirs - ours, key=_fingerprint):
        yield Change(f"log: seal {key.fingerprint[:16]} is added")
    for key in sorted(ours - theirs, key=_fingerprint):
        yield Change(
            f"log: seal {key.fingerprint[:16]} is removed: what is sealed with it counts as forged from now on",
            warning=True,
        )
    yield from _witnesses(before.witnesses, after.witnesses)
    if before.quorum != after.quorum:
        yield Change(f"log: quorum {before.quorum} becomes {after.quorum}", warning=after.quorum < before.quorum)


def _witnesses(before: tuple[WitnessPolicy, ...], after: tuple[WitnessPolicy, ...]) -> Iterator[Change]:
    ours, theirs = ({witness.name: witness for witness in each} for each in (before, after))
    for name, how in _compared(ours, theirs):
        yield Change(f"log: witness {name} is {how}")


def _operators(before: Policy, after: Policy) -> Iterator[Change]:
    for name in sorted(after.operators - before.operators):
        yield Change(f"operator {name} is added")
    for name in sorted(before.operators - after.operators):
        yield Change(f"operator {name} is removed: suspend an operator, or {_REVOKE}", warning=True)
    for name in sorted(after.suspended - before.suspended):
        yield Change(f"operator {name} is suspended: it neither votes nor dissents")
    for name in sorted((before.suspended - after.suspended) & after.operators):
        yield Change(f"operator {name} is suspended no more: its votes count again, also those of before", warning=True)


def _keys(before: Mapping[PublicKey, OperatorKey], after: Mapping[PublicKey, OperatorKey]) -> Iterator[Change]:
    for key in sorted(after.keys() - before.keys(), key=_fingerprint):
        yield Change(f"{_named(after[key])} is added")
    for key in sorted(before.keys() - after.keys(), key=_fingerprint):
        yield Change(f"{_named(before[key])} is removed: {_REVOKE}", warning=True)
    for key in sorted(before.keys() & after.keys(), key=_fingerprint):
        yield from _key(before[key], after[key])


def _key(before: OperatorKey, after: OperatorKey) -> Iterator[Change]:
    name = _named(before)
    if before.operator != after.operator:
        yield Change(f"{name} becomes operator {after.operator}'s", warning=True)
    if after.revoked and not before.revoked:
        yield Change(f"{name} is revoked: what rests on it and is not signed is evaluated again")
    if before.revoked and not after.revoked:
        yield Change(f"{name} is revoked no more: its votes count again", warning=True)
    if before.compromised_since != after.compromised_since:
        since = f"{after.compromised_since:%Y-%m-%dT%H:%M:%SZ}" if after.compromised_since else "its beginning"
        yield Change(
            f"{name}: suspect is what was received since {since}: attestor status --resting-on-revoked lists it"
        )
    for what, ours, theirs in (
        ("valid from", before.valid_from, after.valid_from),
        ("valid until", before.valid_until, after.valid_until),
    ):
        if ours != theirs:
            yield Change(f"{name}: {what} {ours:%Y-%m-%dT%H:%M:%SZ} becomes {theirs:%Y-%m-%dT%H:%M:%SZ}")
    if (before.forms, before.provenance, before.scopes) != (after.forms, after.provenance, after.scopes):
        yield Change(
            f"{name} may say other things, or vote for others: compare its statements and scopes", warning=True
        )


def _tiers(before: Policy, after: Policy) -> Iterator[Change]:
    ours, theirs = ({tier.name: tier for tier in each.tiers} for each in (before, after))
    for name, how in _compared(ours, theirs):
        if how == "changed":
            yield from _tier(ours[name], theirs[name])
        else:
            yield Change(f"tier {name} is {how}", warning=how == "removed")


def _tier(before: Tier, after: Tier) -> Iterator[Change]:
    ours, theirs = before.rules(), after.rules()
    for rule in ours:
        if ours[rule] != theirs[rule]:
            what = f"tier {before.name}: {rule} {_spelled(ours[rule])} becomes {_spelled(theirs[rule])}"
            yield Change(what, warning=_loosens(rule, ours[rule], theirs[rule]))


def _loosens(rule: str, before: object, after: object) -> bool:
    """Whether less than before may be enough for a signature, or somebody else decides."""
    match before, after:
        case bool(), bool():
            return before
        case int(), int():
            return after < before if rule == "threshold" else after > before
        case list(), list() if rule == "required":
            return not set(before) <= set(after)
    return True


def _requesters(before: Policy, after: Policy) -> Iterator[Change]:
    for name, how in _compared(_asking(before), _asking(after)):
        yield Change(f"requester {name} is {how}")


def _asking(policy: Policy) -> dict[str, tuple[object, ...]]:
    """What makes each requester: clients, users of the host, and who answers for it."""
    return {
        name: (
            clients,
            frozenset(user for user, owner in policy.requester_of_users.items() if owner == name),
            policy.persons_of_requesters.get(name),
        )
        for name, clients in policy.requesters.items()
    }


def _approvers(before: Policy, after: Policy) -> Iterator[Change]:
    for name, how in _compared(before.persons, after.persons):
        yield Change(f"approver {name} is {how}", warning=how != "removed")
    for fingerprint, how in _compared(before.approver_keys, after.approver_keys):
        key = (after if how == "added" else before).approver_keys[fingerprint]
        revoked = how == "changed" and after.approver_keys[fingerprint].revoked and not key.revoked
        yield Change(
            f"approver {key.approver}: key {fingerprint} is {'revoked' if revoked else how}", warning=how == "added"
        )


def _compared(before: Mapping[str, _T], after: Mapping[str, _T]) -> Iterator[tuple[str, str]]:
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            yield name, "added"
        elif name not in after:
            yield name, "removed"
        elif before[name] != after[name]:
            yield name, "changed"


def _named(held: OperatorKey) -> str:
    return f"operator {held.operator}: key {held.public_key.fingerprint[:16]}"


def _fingerprint(key: PublicKey) -> str:
    return key.fingerprint


def _spelled(value: object) -> str:
    match value:
        case dict():
            return ", ".join(f"{name} {number}" for name, number in value.items() if number) or "none"
        case list():
            return ", ".join(map(str, value)) or "none"
    return str(value)
