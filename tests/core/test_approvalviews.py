"""How approvals are shown, and that whoever waits for people can be named the exception."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from attestor.core.approvaldocuments import read_approval
from attestor.core.approvals import Given
from attestor.core.approvalviews import ApprovalRecord, approval_view, period_of, tier_view
from attestor.core.obstacles import HELD, LIFTED_BY
from attestor.core.tierrules import Action
from tests.service.approvers import approving_policy, document, person

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = {"quota": '{ limit = 2, period = "week" }', "approvals": "{ hours = 48, quota = 1 }"}
POLICY = approving_policy(rules=RULES)


def test_whatever_a_signer_holds_back_names_the_exception_that_people_may_make():
    assert LIFTED_BY.keys() >= HELD
    assert set(LIFTED_BY.values()) == set(Action)


def record(policy=POLICY, **members):
    signed = document(
        policy, "quota", now=NOW, request="11111111-2222-4333-8444-555555555555", release="ab" * 32, digest="cd" * 32
    )
    given = Given(person("dora").key, signed, b"")
    whole = {"approver": "dora", "reason": "r", "received_at": NOW, "revoked_at": None, "pairs": 2, "spent": 0}
    return ApprovalRecord(given, **(whole | members))


STATES = {
    "standing": ({}, 0, POLICY, ("standing", None)),
    "spent in part": ({"spent": 1}, 0, POLICY, ("standing", None)),
    "spent whole": ({"spent": 2}, 0, POLICY, ("spent", None)),
    "spent whole and then over": ({"spent": 2}, 900, POLICY, ("spent", None)),
    "taken back": ({"revoked_at": NOW}, 0, POLICY, ("revoked", None)),
    "taken back, the rest of it": ({"revoked_at": NOW, "spent": 1}, 0, POLICY, ("revoked", None)),
    "over": ({}, 24, POLICY, ("over", None)),
    "not begun": ({}, -1, POLICY, ("not-counting", "approval-out-of-window")),
    "under rules that changed": ({}, 0, approving_policy(rules=RULES | {"quota": '{ limit = 3, period = "week" }'}),
                                 ("not-counting", "approval-rules-changed")),
    "by a key that was revoked": ({}, 0, approving_policy(rules=RULES, revoked_keys=("dora",)),
                                  ("not-counting", "approver-key-not-valid")),
    "by nobody who approves now": ({}, 0, approving_policy(rules=RULES, approvers=("emil",)),
                                   ("not-counting", "approver-key-not-valid")),
    "of a tier that is gone": ({}, 0, approving_policy(without=("packages",)), ("not-counting", "approval-elsewhere")),
}  # fmt: skip


@pytest.mark.parametrize(("members", "hours", "policy", "said"), STATES.values(), ids=STATES)
def test_each_way_an_approval_can_stand_has_its_word(members, hours, policy, said):
    view = approval_view(record(**members), policy, NOW + timedelta(hours=hours))
    assert (view.state, view.why) == said


def test_a_view_says_what_was_signed():
    one = record()
    signed, view = read_approval(one.given.document), approval_view(one, POLICY, NOW)
    assert (view.action, view.tier, view.request) == (signed.action, signed.tier, signed.request)
    assert (view.release_id, view.sha256, view.manifest) == ("ab" * 32, "cd" * 32, None)
    assert view.digest == hashlib.sha256(one.given.document).hexdigest()
    assert view.until - view.not_before == timedelta(hours=24)


def test_a_tier_shows_what_is_left_and_when_the_next_period_opens():
    tier = next(each for each in POLICY.tiers if each.name == "packages")
    assert period_of(tier, NOW) == ("packages", "packages", "2026-W09")
    for places, left in (((0, 0), 2), ((1, 0), 1), ((1, 1), 0), ((3, 1), 0)):
        quota = tier_view(tier, POLICY, NOW, places).quota
        assert (quota.left, quota.used, quota.reserved) == (left, *places)
        assert quota.opens_at == datetime(2026, 3, 2, tzinfo=UTC)
    assert tier_view(tier, POLICY, NOW, (0, 0)).approvals == {"quota": 1}
    other = next(each for each in POLICY.tiers if each.name == "debs")
    assert (period_of(other, NOW), tier_view(other, POLICY, NOW, (0, 0)).quota) == (None, None)
