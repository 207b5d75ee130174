"""What may come into force after a policy, and what its author is told to look at twice."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from attestor.cli.examples import POLICY_EXAMPLE, render
from attestor.core.errors import Rejected
from attestor.core.policy import ApproverKey
from attestor.core.policychange import changes, refuse_succession
from attestor.core.policyfile import parse_policy
from attestor.core.quota import Period, Quota
from attestor.core.tierrules import ApprovalRules
from attestor.core.versions import VersionOrder
from tests.logkeys import log_signer, seal_public
from tests.service.makers import make_policy


def policy(*spoilings, serial=2):
    text = render("policy.toml", {**POLICY_EXAMPLE, "approvers": "", "iso_approvals": ""})
    before = parse_policy(text.encode(), "policy.toml").serial
    for old, new in ((f"serial = {before}\n", f"serial = {serial}\n"), *spoilings):
        assert old in text, old
        text = text.replace(old, new, 1)
    return parse_policy(text.encode(), "policy.toml")


BEFORE = policy(serial=1)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
CAROL = POLICY_EXAMPLE["carol_key"]
DAVE = seal_public("dave's key")


def key_table(operator, public_key, *more):
    return "\n".join(
        (
            f"[[operators.{operator}.keys]]",
            f'public_key = """\n{public_key}"""',
            "valid_from = 2026-01-01T00:00:00Z",
            "valid_until = 2028-01-01T00:00:00Z",
            'statements = ["rebuild"]',
            'scopes = [{ kind = "package", type = "alpm", namespace = "arch" }]',
            *more,
            "\n",
        )
    )


@pytest.mark.parametrize(
    ("after", "code"),
    [
        pytest.param(make_policy(serial=1), "policy-serial", id="an older serial"),
        pytest.param(make_policy(serial=2, dissent_limit=1), "policy-serial", id="the same serial with other words"),
        pytest.param(make_policy(serial=3, origin="other.example.org"), "policy-origin", id="another origin"),
    ],
)
def test_what_may_not_follow_is_refused(after, code):
    with pytest.raises(Rejected) as refused:
        refuse_succession(make_policy(serial=2), after)
    assert refused.value.code == code


def test_another_log_is_refused():
    before = make_policy(serial=2)
    text = before.raw.decode().replace(before.log.key.text, log_signer(before.origin, "log-2").verifier.text)
    after = parse_policy(text.replace("serial = 2\n", "serial = 3\n").encode(), "policy.toml")
    with pytest.raises(Rejected, match="policy-log-key"):
        refuse_succession(before, after)


@pytest.mark.parametrize("serial", [2, 3, 2**40])
def test_the_same_bytes_and_any_higher_serial_may_follow(serial):
    refuse_succession(make_policy(serial=2), make_policy(serial=serial))


def test_a_serial_alone_changes_nothing():
    assert changes(BEFORE, policy()) == ()


CHANGES = {
    "a suspended operator": ([("[operators.carol]\n", "[operators.carol]\nsuspended = true\n")], "operator carol is suspended", False),
    "a revoked key": (
        [(f'{CAROL}"""\n', f'{CAROL}"""\nrevoked = 2026-06-01T00:00:00Z\n')],
        "is revoked: what rests on it",
        False,
    ),
    "a key that may have been in other hands": (
        [(f'{CAROL}"""\n', f'{CAROL}"""\nrevoked = 2026-06-01T00:00:00Z\ncompromised_since = 2026-05-01T00:00:00Z\n')],
        "suspect is what was received since 2026-05-01T00:00:00Z: attestor status --resting-on-revoked",
        False,
    ),
    "a key that ends sooner": (
        [(f'{CAROL}"""\nvalid_from = 2026-01-01T00:00:00Z\nvalid_until = 2028', f'{CAROL}"""\nvalid_from = 2026-01-01T00:00:00Z\nvalid_until = 2027')],
        "valid until 2028-01-01T00:00:00Z becomes 2027-01-01T00:00:00Z",
        False,
    ),
    "a key more": ([("[operators.carol]\n", f"[operators.carol]\n{key_table('carol', DAVE)}")], "is added", False),
    "a key in the place of another": ([(CAROL, DAVE)], "is removed: revoke a key, do not remove it", True),
    "a key that may say other things": (
        [('statements = ["rebuild", "link"]', 'statements = ["rebuild"]')],
        "may say other things",
        True,
    ),
    "more dissent that is let pass": (
        [("threshold = 2\ndissent_limit = 0", "threshold = 2\ndissent_limit = 1")],
        "tier packages: dissentLimit 0 becomes 1",
        True,
    ),
    "a higher threshold": (
        [("threshold = 2\n", "threshold = 3\n")],
        "tier packages: threshold 2 becomes 3",
        False,
    ),
    "an operator that must agree": (
        [("threshold = 2\n", 'threshold = 2\nrequired = ["bob"]\n')],
        "tier packages: required none becomes bob",
        False,
    ),
    "another signer's seal in the place of the former": (
        [(POLICY_EXAMPLE["seal"], seal_public())],
        "is removed: what is sealed with it counts as forged",
        True,
    ),
    "another client": ([("5a" * 32, "5b" * 32)], "requester build-service is changed", False),
}  # fmt: skip


@pytest.mark.parametrize(("spoilings", "said", "warning"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_said(spoilings, said, warning):
    found = [change for change in changes(BEFORE, policy(*spoilings)) if said in change.sentence]
    assert [change.warning for change in found] == [warning], changes(BEFORE, policy(*spoilings))


UNDONE = {
    "a suspended operator": "is suspended no more",
    "a revoked key": "is revoked no more",
    "a key more": "is removed: revoke a key",
    "a higher threshold": "tier packages: threshold 3 becomes 2",
    "an operator that must agree": "tier packages: required bob becomes none",
}


@pytest.mark.parametrize(("case", "said"), UNDONE.items(), ids=UNDONE)
def test_what_gives_power_back_is_a_warning(case, said):
    after = changes(policy(*CHANGES[case][0]), policy(serial=3))
    assert [change.warning for change in after if said in change.sentence] == [True], after


def test_operators_and_tiers_that_come_and_go_are_named():
    full, less = make_policy(serial=1), make_policy(serial=2, without=["debs"])
    assert [(change.sentence, change.warning) for change in changes(full, less)] == [("tier debs is removed", True)]
    assert [(change.sentence, change.warning) for change in changes(less, full)][1:] == [("tier debs is added", False)]


def test_witnesses_and_their_quorum_are_named():
    some = make_policy(serial=2, witnesses={"one": "https://one.example"}, log_quorum=1)
    assert [change.sentence for change in changes(make_policy(), some)] == [
        "log: witness one is added",
        "log: quorum 0 becomes 1",
    ]
    back = changes(some, make_policy(serial=3))
    assert [(change.sentence, change.warning) for change in back] == [
        ("log: witness one is removed", False),
        ("log: quorum 1 becomes 0", True),
    ]


def with_tier(base, **changes):
    """*base* with another first tier, as a file would say it."""
    return replace(base, tiers=(replace(base.tiers[0], **changes), *base.tiers[1:]))


MONTHLY = Quota(1, Period.MONTH)
TWO_FOR_A_DOWNGRADE = ApprovalRules(hours=48, downgrade=2)
RULES = {
    "a quota": ({"quota": MONTHLY}, "quota none becomes 1, month"),
    "no order of versions any more": ({"version_order": VersionOrder.NONE}, "versionOrder alpm becomes none"),
    "an exception that people may make": ({"approvals": TWO_FOR_A_DOWNGRADE}, "approvals none becomes downgrade 2"),
}


@pytest.mark.parametrize(("changed", "said"), RULES.values(), ids=RULES)
def test_a_rule_beyond_agreement_is_named_in_both_directions(changed, said):
    after = with_tier(BEFORE, **changed)
    name = BEFORE.tiers[0].name
    assert f"tier {name}: {said}" in [change.sentence for change in changes(BEFORE, after) if change.warning]
    assert changes(after, BEFORE) != ()


def test_that_databases_are_held_against_those_before_no_more_is_a_warning():
    looking = with_tier(BEFORE, compare_predecessor=True)
    name = BEFORE.tiers[0].name
    for before, after, said in (
        (looking, BEFORE, (f"tier {name}: comparePredecessor True becomes False", True)),
        (BEFORE, looking, (f"tier {name}: comparePredecessor False becomes True", False)),
    ):
        assert [(change.sentence, change.warning) for change in changes(before, after)] == [said]


def approver(**members):
    key = ApproverKey("ann", "ssh", "ssh-ed25519 AAAA", "SHA256:abc", NOW, NOW + timedelta(days=1), revoked=False)
    return replace(BEFORE, persons={"ann": "ann"}, approver_keys={"SHA256:abc": replace(key, **members)})


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (BEFORE, approver(), [("approver ann is added", True), ("approver ann: key SHA256:abc is added", True)]),
        (approver(), BEFORE, [("approver ann is removed", False), ("approver ann: key SHA256:abc is removed", False)]),
        (approver(), approver(revoked=True), [("approver ann: key SHA256:abc is revoked", False)]),
        (approver(), approver(valid_until=NOW), [("approver ann: key SHA256:abc is changed", False)]),
    ],
    ids=["added", "removed", "revoked", "changed"],
)
def test_approvers_and_their_keys_are_named(before, after, said):
    assert [(change.sentence, change.warning) for change in changes(before, after)] == said


def test_whoever_asks_by_another_way_or_for_somebody_else_is_named():
    for other in (
        {"requester_of_users": {"relay": "build-service"}},
        {"persons_of_requesters": {"build-service": "ann"}},
    ):
        assert [change.sentence for change in changes(BEFORE, replace(BEFORE, **other))] == [
            "requester build-service is changed"
        ]
