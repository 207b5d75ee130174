"""What approvals are counted on: a tier that knows every exception, its people, and approvals whose signatures a word stands for."""

import dataclasses
from datetime import UTC, datetime, timedelta

from attestor.core.approvaldocuments import encode_approval, read_approval
from attestor.core.approvals import Approval, Asking, Given
from attestor.core.entries import moment
from attestor.core.policy import ApproverKey
from attestor.core.tierrules import ApprovalRules
from tests.approvers import REQUEST, approval
from tests.service.makers import make_policy, package

RULES = ApprovalRules(hours=48, release=1, downgrade=2, re_sign=2, dispute=3, quota=2)
FIRST, END = datetime(2025, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
DIGEST = "aa" * 32
AT = moment("2026-03-01T12:00:00Z")
"""In the window of tests.approvers.approval, which is all of the 1st of March."""
PEOPLE = ("dora", "emil", "fay", "gus")


def key(name, approver=None, **changes):
    """The key of an approver, with its own name for a fingerprint."""
    values = {"valid_from": FIRST, "valid_until": END, "revoked": False}
    return ApproverKey(approver or name, "ssh", "", name, **(values | changes))


_MADE = make_policy()


def policy_of(tier_changes=None, **changes):
    """Tier packages with :data:`RULES`; dora has two keys, and boss answers for the requester."""
    [packages] = [tier for tier in _MADE.tiers if tier.name == "packages"]
    tier = dataclasses.replace(packages, **({"approvals": RULES} | (tier_changes or {})))
    keys = {each.fingerprint: each for each in (*map(key, PEOPLE), key("dora-2", "dora"))}
    values = {
        "tiers": (tier, *(each for each in _MADE.tiers if each is not packages)),
        "approver_keys": keys,
        "persons": {name: name for name in PEOPLE},
        "persons_of_requesters": {"build-service": "boss"},
    }
    return dataclasses.replace(_MADE, **(values | changes))


POLICY = policy_of()
TIER = POLICY.tier_of(package())
PAIR = (package().id, DIGEST)
ASKING = Asking(REQUEST, "build-service", PAIR)


def document(action="downgrade", policy=POLICY, **changes):
    return approval(action, package(), DIGEST, policy, **changes)


def approved(action="downgrade", by="dora", *, person=None, pairs=None, manifest=None, **changes):
    """An approval whose signature verified."""
    raw = encode_approval(document(action, manifest=manifest, **changes))
    approver = "dora" if by == "dora-2" else by
    return Approval(
        Given(by, raw, b"signed", manifest),
        read_approval(raw),
        approver,
        person or approver,
        frozenset(pairs or {PAIR}),
    )


def hours(count):
    """From the beginning of the window."""
    return moment("2026-03-01T00:00:00Z") + timedelta(hours=count)
