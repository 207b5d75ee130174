"""Whose approvals count for one request: k distinct people, never who asked, each bound to everything that it was signed for."""

import dataclasses
import hashlib
from datetime import timedelta
from ipaddress import ip_network
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestor.core.approvaldocuments import encode_approval, encode_manifest
from attestor.core.approvals import Given, granted, read_given, rules_digest, spent_of, verified, why_not
from attestor.core.errors import AttestorError, Rejected
from attestor.core.naming import Kind
from attestor.core.policy import PurlPattern, Tier
from attestor.core.quota import Period, Quota
from attestor.core.tierrules import Action, ApprovalRules
from attestor.core.versions import VersionOrder
from tests.approvers import REQUEST
from tests.core.approvalground import (
    ASKING,
    AT,
    DIGEST,
    PAIR,
    PEOPLE,
    POLICY,
    RULES,
    TIER,
    approved,
    document,
    hours,
    key,
    policy_of,
)
from tests.service.makers import package

OTHER = "bb" * 32


def counted(*approvals, spent=(), asking=ASKING, policy=POLICY, at=AT):
    tier = policy.tier_of(package())
    return granted(approvals, asking, tier=tier, policy=policy, at=at, spent=frozenset(spent))


def people(found, action):
    return {each.person for each in found[action]}


# ------------------------------------------------------------------------------------------------ how many, and who


def test_k_people_let_an_exception_through_and_no_other():
    found = counted(approved(by="dora"), approved(by="emil"))
    assert set(found) == {Action.DOWNGRADE}
    assert people(found, Action.DOWNGRADE) == {"dora", "emil"}


TOO_FEW = {
    "nobody": [],
    "one person": [approved(by="dora")],
    "one person twice, with another nonce": [approved(by="dora"), approved(by="dora", nonce="1" * 32)],
    "one person with two keys": [approved(by="dora"), approved(by="dora-2", nonce="1" * 32)],
    "one person under two names": [approved(by="dora"), approved(by="emil", person="dora", nonce="1" * 32)],
    "two people, each for another action": [approved(by="dora"), approved("quota", by="emil")],
    "two people, one of whom approved other bytes": [approved(by="dora"), approved(by="emil", pairs={(PAIR[0], OTHER)})],
    "two people, one of whom approved under other rules": [approved(by="dora"), approved(by="emil", rules=OTHER)],
    "two people for a dispute, which needs three": [approved("dispute", by="dora"), approved("dispute", by="emil")],
}  # fmt: skip


@pytest.mark.parametrize("approvals", TOO_FEW.values(), ids=TOO_FEW)
def test_nothing_is_let_through_by(approvals):
    assert counted(*approvals) == {}


def test_more_people_than_needed_let_it_through_and_no_more_are_spent():
    many = [approved(by=name) for name in PEOPLE]
    found = counted(*many)
    assert len(found[Action.DOWNGRADE]) == RULES.downgrade == 2
    assert len(people(found, Action.DOWNGRADE)) == 2


def test_an_exception_that_the_tier_does_not_know_is_let_through_by_nobody():
    without = policy_of({"approvals": ApprovalRules(hours=48, quota=1)})
    many = [approved(action, by=name, policy=without) for action in Action for name in PEOPLE]
    assert set(counted(*many, policy=without)) == {Action.QUOTA}


def test_a_tier_without_approvals_knows_no_exception():
    without = policy_of({"approvals": None})
    many = [approved(action, by=name, policy=without) for action in Action for name in PEOPLE]
    assert counted(*many, policy=without) == {}


@pytest.mark.parametrize("action", Action)
def test_each_exception_takes_its_own_number_of_people(action):
    needed = TIER.needs(action)
    assert needed == RULES.needed(action) > 0
    many = [approved(action, by=name) for name in PEOPLE]
    assert counted(*many[: needed - 1]) == {}
    assert set(counted(*many[:needed])) == {action}


# ------------------------------------------------------------------------------------------------ what each is bound to


def test_an_approval_counts_for_what_it_was_signed_for():
    assert why_not(approved(), ASKING, tier=TIER, policy=POLICY, at=AT) is None


def asking(**changes):
    return dataclasses.replace(ASKING, **changes)


MANIFEST = encode_manifest([PAIR, ("cc" * 32, DIGEST)])
WITHOUT_BOSS = dataclasses.replace(POLICY, persons_of_requesters={})
BY_DORA = dataclasses.replace(POLICY, persons_of_requesters={"build-service": "dora"})
BOUND = {
    "another instance": ({"origin": "elsewhere.example.org"}, {}, "approval-elsewhere"),
    "another tier": ({"tier": "debs"}, {}, "approval-elsewhere"),
    "other rules": ({"rules": OTHER}, {}, "approval-rules-changed"),
    "another release": ({"pairs": {(OTHER, DIGEST)}}, {}, "approval-of-other-bytes"),
    "another digest": ({"pairs": {(PAIR[0], OTHER)}}, {}, "approval-of-other-bytes"),
    "release and digest in other pairs": (
        {"pairs": {(PAIR[0], OTHER), (OTHER, DIGEST)}},
        {},
        "approval-of-other-bytes",
    ),
    "another request": ({}, {"asking": asking(request=str(UUID(int=9)))}, "approval-of-other-bytes"),
    "the second before its window": ({}, {"at": hours(0) - timedelta(seconds=1)}, "approval-out-of-window"),
    "the end of its window": ({}, {"at": hours(24)}, "approval-out-of-window"),
    "a window that ends where it begins": ({"until": "2026-03-01T00:00:00Z"}, {"at": hours(0)}, "approval-out-of-window"),
    "a window that ends before it begins": ({"until": "2026-02-01T00:00:00Z"}, {}, "approval-out-of-window"),
    "a window longer than the tier allows": ({"until": "2026-03-03T00:00:01Z"}, {}, "approval-window-too-long"),
    "a request by the approver's own client": ({}, {"policy": BY_DORA}, "approval-by-requester"),
    "a request by nobody's client": ({}, {"policy": WITHOUT_BOSS}, "approval-by-requester"),
    "a requester that is gone": ({}, {"asking": asking(requester="gone")}, "approval-by-requester"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "asked", "code"), BOUND.values(), ids=BOUND)
def test_an_approval_does_not_count_for(changes, asked, code):
    given_ = approved(**changes)
    values = {"asking": ASKING, "policy": POLICY, "at": AT} | asked
    assert why_not(given_, values.pop("asking"), tier=TIER, **values) == code
    other = approved(by="emil", **{name: value for name, value in changes.items() if name == "pairs"})
    assert counted(given_, other, **asked) == {}


@pytest.mark.parametrize(
    ("until", "at"),
    [("2026-03-02T00:00:00Z", hours(0)), ("2026-03-02T00:00:00Z", hours(24) - timedelta(microseconds=1)),
     ("2026-03-03T00:00:00Z", hours(47))],
    ids=["the first moment of its window", "the last moment of its window", "the longest window of the tier"],
)  # fmt: skip
def test_an_approval_counts_in(until, at):
    assert why_not(approved(until=until), ASKING, tier=TIER, policy=POLICY, at=at) is None


KEYS = {
    "is revoked": {"revoked": True},
    "is not valid yet": {"valid_from": AT + timedelta(seconds=1)},
    "has just expired": {"valid_until": AT},
}


@pytest.mark.parametrize("changes", KEYS.values(), ids=KEYS)
def test_an_approval_does_not_count_whose_key(changes):
    """The file was changed since it was given: the signer's own policy decides, at the moment of the decision."""
    changed = dataclasses.replace(POLICY, approver_keys=POLICY.approver_keys | {"dora": key("dora", **changes)})
    assert why_not(approved(), ASKING, tier=TIER, policy=changed, at=AT) == "approver-key-not-valid"
    assert counted(approved(), approved(by="emil"), policy=changed) == {}


def test_an_approval_does_not_count_whose_key_is_gone():
    keys = {name: each for name, each in POLICY.approver_keys.items() if name != "dora"}
    changed = dataclasses.replace(POLICY, approver_keys=keys)
    assert why_not(approved(), ASKING, tier=TIER, policy=changed, at=AT) == "approver-key-not-valid"
    assert read_given(approved().given, PAIR, changed) is None
    assert read_given(approved().given, PAIR, POLICY) == approved()


def test_who_asked_lets_nothing_through_beside_others_either():
    assert counted(approved(), approved(by="emil"), policy=BY_DORA) == {}
    found = counted(approved(), approved(by="emil"), approved(by="fay"), policy=BY_DORA)
    assert people(found, Action.DOWNGRADE) == {"emil", "fay"}


def test_an_approval_that_is_spent_or_taken_back_does_not_count():
    one, other = approved(), approved(by="emil", nonce="1" * 32)
    assert counted(one, other, spent=[one.digest]) == {}
    another = approved(by="dora", nonce="2" * 32)
    assert people(counted(one, other, another, spent=[one.digest]), Action.DOWNGRADE) == {"dora", "emil"}


def test_what_was_signed_is_spent_whoever_sends_it_again_and_however_it_is_signed():
    one = approved()
    again = dataclasses.replace(one, given=dataclasses.replace(one.given, signature=b"signed anew", key="dora-2"))
    assert counted(again, approved(by="emil"), spent=[one.digest]) == {}


def test_a_manifest_counts_for_each_of_its_pairs_and_every_request_for_them():
    both = [approved(by=name, manifest=MANIFEST, pairs={PAIR, ("cc" * 32, DIGEST)}) for name in ("dora", "emil")]
    for request in (REQUEST, str(UUID(int=5))):
        for pair in (PAIR, ("cc" * 32, DIGEST)):
            assert set(counted(*both, asking=asking(request=request, pair=pair))) == {Action.DOWNGRADE}
    assert counted(*both, asking=asking(pair=("cc" * 32, OTHER))) == {}


# ------------------------------------------------------------------------------------------------ the tier's rules

CHANGES = {
    "name": "other",
    "kind": Kind.ISO,
    "pattern": PurlPattern("alpm", "arch", "bash", None),
    "operators": TIER.operators - {"carol"},
    "threshold": 3,
    "dissent_limit": 1,
    "required": frozenset({"alice"}),
    "signing_key": "other",
    "requesters": TIER.requesters | {"stranger"},
    "networks": (ip_network("198.51.100.0/24"),),
    "unix": True,
    "version_order": VersionOrder.ALPM,
    "quota": Quota(1, Period.DAY),
    "approvals": dataclasses.replace(RULES, quota=1),
    "compare_predecessor": True,
}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Tier)])
def test_a_change_of_the_tier_leaves_nothing_approved(field):
    """Every field there is, so that none that is added is forgotten."""
    changed = dataclasses.replace(TIER, **{field: CHANGES[field]})
    assert rules_digest(changed, POLICY) != rules_digest(TIER, POLICY)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(ApprovalRules)])
def test_a_change_of_what_it_takes_leaves_nothing_approved(field):
    rules = dataclasses.replace(RULES, **{field: getattr(RULES, field) + 1})
    assert rules_digest(dataclasses.replace(TIER, approvals=rules), POLICY) != rules_digest(TIER, POLICY)


def test_the_suspension_of_an_operator_of_the_tier_leaves_nothing_approved():
    suspended = dataclasses.replace(POLICY, suspended=frozenset({"alice"}))
    assert counted(approved(), approved(by="emil"), policy=suspended) == {}
    elsewhere = dataclasses.replace(POLICY, suspended=frozenset({"of-another-tier"}), serial=9, digest="d" * 64)
    assert set(counted(approved(), approved(by="emil"), policy=elsewhere)) == {Action.DOWNGRADE}


def test_the_order_in_which_a_file_lists_networks_is_no_rule():
    networks = (ip_network("198.51.100.0/24"), ip_network("192.0.2.0/24"))
    one, other = (dataclasses.replace(TIER, networks=order) for order in (networks, networks[::-1]))
    assert rules_digest(one, POLICY) == rules_digest(other, POLICY)


# ------------------------------------------------------------------------------------------------ laws

APPROVALS = st.builds(
    approved,
    st.sampled_from(Action),
    by=st.sampled_from((*PEOPLE, "dora-2")),
    nonce=st.sampled_from(("0" * 32, "1" * 32)),
    rules=st.sampled_from((rules_digest(TIER, POLICY), rules_digest(TIER, POLICY), OTHER)),
)
LISTS = st.lists(APPROVALS, max_size=14)


@given(LISTS.flatmap(lambda listed: st.tuples(st.just(listed), st.permutations(listed + listed[::2]))))
@settings(max_examples=60)
def test_law_order_and_repetition_never_matter(both):
    approvals, others = both
    assert counted(*others) == counted(*approvals)


@given(LISTS, st.sets(st.sampled_from(range(14)), max_size=6))
@settings(max_examples=60)
def test_law_an_exception_is_let_through_by_exactly_k_people_where_k_approved_it(approvals, spent_places):
    spent = {approvals[place].digest for place in spent_places if place < len(approvals)}
    found = counted(*approvals, spent=spent)
    for action in Action:
        good = {
            each.person
            for each in approvals
            if each.document.action == action.value and each.document.rules != OTHER and each.digest not in spent
        }
        assert (action in found) == (len(good) >= RULES.needed(action))
        if action in found:
            assert len(found[action]) == len(people(found, action)) == RULES.needed(action)
            assert people(found, action) <= good
            assert not {each.digest for each in found[action]} & spent


@given(LISTS, APPROVALS)
@settings(max_examples=60)
def test_law_another_approval_takes_no_exception_away(approvals, another):
    assert set(counted(*approvals)) <= set(counted(*approvals, another))


@given(LISTS)
@settings(max_examples=30)
def test_law_what_is_spent_is_named_in_the_order_of_action_and_document(approvals):
    named = [(each.action, each.document) for each in spent_of(approvals)]
    assert named == sorted((each.document.action, each.digest.hex()) for each in approvals)
    assert [each.approver for each in spent_of(approvals)] == [
        each.approver for each in sorted(approvals, key=lambda each: (each.document.action, each.digest, each.approver))
    ]


# ------------------------------------------------------------------------------------------------ as it is handed in


def handed(by="dora", manifest=None, raw=None, **changes):
    return Given(by, raw or encode_approval(document(manifest=manifest, **changes)), b"of " + by.encode(), manifest)


def by_word(key, signature, signed, at):
    """A signature is the word that names its key."""
    assert signed
    assert at == AT
    if signature != b"of " + key.fingerprint.encode():
        raise Rejected("approval-signature", "Not signed.")


def test_what_was_handed_in_is_read_once_it_was_verified():
    found = verified(handed(), POLICY, by_word, AT)
    assert (found.approver, found.person, found.pairs) == ("dora", "dora", {PAIR})
    assert found.digest == hashlib.sha256(handed().document).digest()
    assert verified(handed("dora-2"), POLICY, by_word, AT).approver == "dora"


def test_a_manifest_that_came_with_it_names_its_pairs():
    assert verified(handed(manifest=MANIFEST), POLICY, by_word, AT).pairs == {PAIR, ("cc" * 32, DIGEST)}


def test_the_person_is_the_policys():
    renamed = dataclasses.replace(POLICY, persons=POLICY.persons | {"dora": "someone-else"})
    assert verified(handed(), renamed, by_word, AT).person == "someone-else"


def other_manifest(given_, manifest):
    return dataclasses.replace(given_, manifest=manifest)


UNFIT = {
    "by a stranger": (handed("mallory"), "approver-unknown"),
    "with the signature of another": (dataclasses.replace(handed(), signature=b"of emil"), "approval-signature"),
    "for another instance": (handed(origin="elsewhere.example.org"), "approval-origin"),
    "unreadable, but signed": (handed(raw=b"attestor approval v1\n{}"), "approval-malformed"),
    "unreadable and not signed": (Given("dora", b"{", b""), "approval-signature"),
    "as a document of over 4 KiB": (handed(raw=b"x" * 4097), "approval-too-large"),
    "with a signature of over 16 KiB": (
        dataclasses.replace(handed(), signature=b"x" * 16385),
        "approval-too-large",
    ),
    "without its manifest": (other_manifest(handed(manifest=MANIFEST), None), "approval-manifest"),
    "with another manifest": (
        other_manifest(handed(manifest=MANIFEST), encode_manifest([PAIR])),
        "approval-manifest",
    ),
    "with a manifest that it does not name": (other_manifest(handed(), encode_manifest([PAIR])), "approval-manifest"),
    "with a manifest that is none, by its right digest": (handed(manifest=b"[]"), "manifest-malformed"),
}


@pytest.mark.parametrize(("handed_in", "code"), UNFIT.values(), ids=UNFIT)
def test_nothing_is_taken_in(handed_in, code):
    with pytest.raises(AttestorError) as refused:
        verified(handed_in, POLICY, by_word, AT)
    assert refused.value.code == code


def test_what_is_too_large_is_not_even_verified():
    with pytest.raises(AttestorError) as refused:
        verified(handed(raw=b"x" * 4097), POLICY, None, AT)
    assert refused.value.code == "approval-too-large"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"revoked": True}, "approver-key-revoked"),
        ({"valid_from": AT + timedelta(seconds=1)}, "approver-key-not-yet-valid"),
        ({"valid_until": AT}, "approver-key-expired"),
        ({"revoked": True, "valid_until": AT}, "approver-key-revoked"),
    ],
    ids=["a revoked one", "one of tomorrow", "an expired one", "a revoked and expired one"],
)
def test_a_key_that_does_not_count_signs_nothing(changes, code):
    changed = dataclasses.replace(POLICY, approver_keys={"dora": key("dora", **changes)})
    with pytest.raises(AttestorError) as refused:
        verified(handed(), changed, by_word, AT)
    assert refused.value.code == code
