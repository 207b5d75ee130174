"""Rules beyond agreement, along a log: exceptions that nobody let through, places that there were not, versions that went back."""

import hashlib
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from attestor.anchor.auditbook import NAME, FileAuditBook
from attestor.core.entries import CanaryEntry, RevocationEntry, SpentApproval
from attestor.core.entrybytes import encode_entry, seal_entry
from attestor.core.naming import parse_release
from tests.approvers import approval, given, manifest_of
from tests.bundles import ANCHOR, CREATED, parsed, policy_file
from tests.logkeys import seal
from tests.service.auditworld import BAD, GOOD, KEY, World, looked, making

PEOPLE = ("anna", "bert", "cleo")


def ruled(rules, **changes):
    return policy_file(**({"operators": ("alice", "bob", "carol"), "rules": rules, "approvers": PEOPLE} | changes))


DISPUTE = ruled("approvals = { hours = 24, dispute = 2 }")
RELEASE = ruled("approvals = { hours = 24, release = 1 }")
RE_SIGN = ruled("approvals = { hours = 24, re_sign = 1 }")
ONE_A_MONTH = 'quota = { limit = 1, period = "month" }\napprovals = { hours = 24, quota = 1 }'
QUOTA = ruled(ONE_A_MONTH)
TWO = ruled('quota = { limit = 2, period = "month" }\napprovals = { hours = 24, quota = 1 }', serial=8)
YEARLY = ruled('quota = { limit = 1, period = "year" }', serial=8)
ORDER = ruled('version_order = "alpm"\napprovals = { hours = 24, downgrade = 1 }')
MARCH, APRIL = "2026-03", "2026-04"
NEXT_MONTH = CREATED + timedelta(days=31)
AGREED = (("alice", GOOD), ("bob", GOOD))
DISPUTED = (*AGREED, ("carol", BAD))


def package(version="1-1", name="filesystem"):
    return parse_release("package", f"pkg:alpm/arch/{name}@{version}?arch=any", f"{name}-{version}-any.pkg.tar.zst")


def approvals(policy, *signed, release=None, content=GOOD, **said):
    """*signed* are (approver, action)."""
    sha256 = hashlib.sha256(content).hexdigest()
    return tuple(
        given(
            approver,
            approval(
                action,
                release or package(),
                sha256,
                parsed(policy),
                **({"nonce": hashlib.sha256(approver.encode()).hexdigest()[:32]} | said),
            ),
            manifest=said.get("manifest"),
        )
        for approver, action in signed
    )


def decided(world, policy, *signed, votes=AGREED, release=None, content=GOOD, **more):
    """The making and the index of its decision, whose votes are in the log."""
    release = release or package()
    if signed and isinstance(signed[0], tuple):
        signed = approvals(policy, *signed, release=release, content=content)
    made = making(*votes, release=release, content=content, policy=policy, approvals=signed, **more)
    world.receive(release, *votes)
    return made, world.decide(made)


def signed(world, policy, *signed, **more):
    """The index of the signature."""
    return world.sign(*decided(world, policy, *signed, **more))


def take_back(world, approval):
    return world.tell(encode_entry(RevocationEntry(approval=approval.digest.hex())))


BY_TWO = (("anna", "dispute"), ("bert", "dispute"))
INSTEAD = (("alice", BAD), ("bob", BAD))

# --- honest ---


def a_dispute_that_two_overruled(world):
    signed(world, DISPUTE, *BY_TWO, votes=DISPUTED)


def a_release_that_one_approved(world):
    signed(world, RELEASE, ("anna", "release"))


def one_manifest_for_two_releases(world):
    both = [package(), package(name="bash")]
    manifest = manifest_of(*((one.id, hashlib.sha256(GOOD).hexdigest()) for one in both))
    (approved,) = approvals(RELEASE, ("anna", "release"), manifest=manifest)
    for one in both:
        signed(world, RELEASE, approved, release=one)


def one_a_month(world):
    signed(world, QUOTA, period=MARCH)
    signed(world, QUOTA, period=APRIL, release=package(name="bash"), created=NEXT_MONTH)


def one_more_that_was_approved(world):
    signed(world, QUOTA, period=MARCH)
    signed(world, QUOTA, ("cleo", "quota"), period=MARCH, release=package(name="bash"))
    signed(world, QUOTA, period=APRIL, release=package(name="sed"), created=NEXT_MONTH)


def the_last_place_was_lost_and_nothing_signed(world):
    decided(world, QUOTA, period=MARCH)
    lost, _ = decided(world, QUOTA, period=MARCH, release=package(name="bash"))
    world.sign(making(*AGREED, policy=QUOTA, period=MARCH), 3)
    assert lost.release != package()


def the_same_bytes_by_a_second_key_take_no_second_place(world):
    signed(world, QUOTA, period=MARCH)
    signed(world, QUOTA, period=MARCH, key="p256")


def a_clock_that_stepped_back_counts_where_the_log_was(world):
    signed(world, TWO, period=APRIL, created=NEXT_MONTH)
    signed(world, TWO, period=APRIL, release=package(name="bash"))


def more_places_under_the_next_policy(world):
    signed(world, QUOTA, period=MARCH)
    world.policy(TWO)
    signed(world, TWO, period=MARCH, release=package(name="bash"))


def rising_versions(world):
    signed(world, ORDER)
    signed(world, ORDER, release=package("1-2"))
    signed(world, ORDER, release=package("1-1", "bash"))


def an_older_version_that_was_approved(world):
    signed(world, ORDER, release=package("1-2"))
    signed(world, ORDER, ("bert", "downgrade"))


def the_newer_version_won_and_nothing_else_was_signed(world):
    _, _ = decided(world, ORDER, release=package("1-2"))
    decided(world, ORDER)


def sign_other_bytes(world, *approved):
    """Signed first, then attested otherwise by the same operators, and signed again, by two keys."""
    signed(world, RE_SIGN)
    world.receive(package(), *INSTEAD)
    taken_back = tuple(world.withdraw(package(), operator, GOOD) for operator, _ in AGREED)
    made = making(
        *AGREED, *INSTEAD, release=package(), policy=RE_SIGN, content=BAD, withdrawals=taken_back, approvals=approved
    )
    world.sign(made, world.decide(made))
    again = replace(made, key="p256", approvals=())
    world.sign(again, world.decide(again))


def other_bytes_that_were_approved(world):
    sign_other_bytes(world, *approvals(RE_SIGN, ("anna", "re-sign"), content=BAD))


def taken_back_after_the_decision(world):
    made, index = decided(world, RELEASE, ("anna", "release"))
    take_back(world, made.approvals[0])
    world.sign(made, index)


def taken_back_before_the_decision_and_nothing_signed(world):
    approved = approvals(RELEASE, ("anna", "release"))
    take_back(world, approved[0])
    decided(world, RELEASE, *approved)


def named_twice_and_signed_once(world):
    made, index = decided(world, RELEASE, ("anna", "release"))
    world.decide(replace(made, changed_decision=lambda entry: msgspec.structs.replace(entry, number=1)))
    world.sign(made, index)


def what_is_no_releases(world):
    canary = CanaryEntry(instance="signer-1", key="AB" * 20, created="2026-03-01T12:00:00Z", anchor=ANCHOR)
    world.tell(seal_entry(canary, seal()), encode_entry(RevocationEntry(approval="00" * 32)))


@pytest.fixture
def book(tmp_path):
    with FileAuditBook.opened(tmp_path / "state", KEY.verifier.name) as book:
        yield book


@pytest.fixture
def world():
    return World()


HONEST = {
    a_dispute_that_two_overruled: DISPUTE,
    a_release_that_one_approved: RELEASE,
    one_manifest_for_two_releases: RELEASE,
    one_a_month: QUOTA,
    one_more_that_was_approved: QUOTA,
    the_last_place_was_lost_and_nothing_signed: QUOTA,
    the_same_bytes_by_a_second_key_take_no_second_place: QUOTA,
    a_clock_that_stepped_back_counts_where_the_log_was: TWO,
    more_places_under_the_next_policy: QUOTA,
    rising_versions: ORDER,
    an_older_version_that_was_approved: ORDER,
    the_newer_version_won_and_nothing_else_was_signed: ORDER,
    other_bytes_that_were_approved: RE_SIGN,
    taken_back_after_the_decision: RELEASE,
    taken_back_before_the_decision_and_nothing_signed: RELEASE,
    named_twice_and_signed_once: RELEASE,
    what_is_no_releases: RELEASE,
}


@pytest.mark.parametrize(("history_of", "policy"), HONEST.items(), ids=[each.__name__ for each in HONEST])
async def test_what_the_rules_let_through_is_clean(world, book, history_of, policy):
    world.policy(policy)
    history_of(world)
    assert await looked(world, book, (policy, TWO)) == (None, [])
    assert book.judged() == world.log.size > 1


# --- lying ---


def one_too_many_in_a_month(world):
    signed(world, QUOTA, period=MARCH)
    signed(world, QUOTA, period=MARCH, release=package(name="bash"))


def one_too_many_though_the_first_was_never_signed(world):
    decided(world, QUOTA, period=MARCH)
    signed(world, QUOTA, period=MARCH, release=package(name="bash"))


def one_too_many_under_a_policy_that_counts_by_the_year(world):
    signed(world, QUOTA, period=MARCH)
    world.policy(YEARLY)
    signed(world, YEARLY, period="2026", release=package(name="bash"))


def a_place_in_a_period_of_another_moment(world):
    signed(world, QUOTA, period=APRIL)


def a_clock_that_stepped_back_opens_the_old_period_again(world):
    signed(world, QUOTA, period=APRIL, created=NEXT_MONTH)
    signed(world, QUOTA, period=MARCH, release=package(name="bash"))


def no_period_where_there_is_a_quota(world):
    decided(world, QUOTA)


def a_period_where_there_is_no_quota(world):
    decided(world, DISPUTE, period=MARCH)


def beyond_a_quota_that_was_not_used(world):
    signed(world, QUOTA, ("anna", "quota"), period=MARCH)


def an_older_version(world):
    signed(world, ORDER, release=package("1-2"))
    signed(world, ORDER)


def an_older_version_than_one_that_was_only_decided_on(world):
    decided(world, ORDER, release=package("1-2"))
    signed(world, ORDER)


def a_version_without_a_place_in_the_order(world):
    signed(world, ORDER, release=package("1.-1"))


def a_downgrade_that_was_none(world):
    signed(world, ORDER, ("anna", "downgrade"))


def an_approval_twice_on_the_same_bytes(world):
    made, index = decided(world, RELEASE, ("anna", "release"))
    world.sign(made, index)
    again = replace(made, key="p256")
    world.sign(again, world.decide(again))


def an_approval_that_was_taken_back(world):
    approved = approvals(RELEASE, ("anna", "release"))
    take_back(world, approved[0])
    signed(world, RELEASE, *approved)


def an_approver_whom_nobody_knows(world):
    strange = (SpentApproval(action="release", approver="dora", document="00" * 32),)
    decided(
        world,
        RELEASE,
        changed_decision=lambda entry: msgspec.structs.replace(entry, approvals=strange, requester="build"),
    )


def too_few_people(world):
    decided(world, DISPUTE, BY_TWO[0], votes=DISPUTED)


def one_person_for_two(world):
    twice = (*approvals(DISPUTE, BY_TWO[0]), *approvals(DISPUTE, BY_TWO[0], nonce="0" * 32))
    decided(world, DISPUTE, *twice, votes=DISPUTED)


def an_exception_that_the_tier_does_not_know(world):
    decided(world, RELEASE, ("anna", "release"), ("bert", "downgrade"))


def who_asked_approved(world):
    made, _ = decided(world, OWN, ("anna", "release"))
    assert made.parsed.persons_of_requesters == {"build": "anna"}


OWN = ruled("approvals = { hours = 24, release = 1 }", serial=8, person="anna")


def who_asked_is_not_named(world):
    decided(
        world,
        RELEASE,
        ("anna", "release"),
        changed_decision=lambda entry: msgspec.structs.replace(entry, requester=None),
    )


def who_asked_is_a_stranger(world):
    decided(
        world,
        RELEASE,
        ("anna", "release"),
        changed_decision=lambda entry: msgspec.structs.replace(entry, requester="stranger"),
    )


def nobody_approved_the_release(world):
    decided(world, RELEASE)


def nobody_overruled_the_dispute(world):
    decided(world, DISPUTE, votes=DISPUTED)


def a_dispute_is_overruled_that_was_none(world):
    decided(world, DISPUTE, *BY_TWO)


def a_dispute_is_overruled_where_too_few_agree(world):
    decided(world, DISPUTE, *BY_TWO, votes=(AGREED[0], ("bob", b"Third."), ("carol", BAD)))


def an_approval_that_its_approver_never_signed(world):
    (approved,) = approvals(RELEASE, ("anna", "release"))
    forged = replace(approved, signature=approvals(RELEASE, ("bert", "release"))[0].signature)
    signed(world, RELEASE, forged)


def other_bytes_without_approval(world):
    sign_other_bytes(world)


def other_bytes_that_nobody_approved(world):
    (approved,) = approvals(RE_SIGN, ("anna", "re-sign"), content=BAD)
    sign_other_bytes(world, replace(approved, signature=approvals(RE_SIGN, ("anna", "re-sign"))[0].signature))


def the_bundle_of_other_bytes_is_withheld(world):
    other_bytes_that_were_approved(world)
    del world.signed[package().id, hashlib.sha256(BAD).hexdigest()]


LIES = [
    (one_too_many_in_a_month, QUOTA, [("quota-used", 8)]),
    (one_too_many_though_the_first_was_never_signed, QUOTA, [("quota-used", 7)]),
    (one_too_many_under_a_policy_that_counts_by_the_year, QUOTA, [("quota-used", 9)]),
    (a_place_in_a_period_of_another_moment, QUOTA, [("period-differs", 4)]),
    (a_clock_that_stepped_back_opens_the_old_period_again, QUOTA, [("period-differs", 8)]),
    (no_period_where_there_is_a_quota, QUOTA, [("period-differs", 3)]),
    (a_period_where_there_is_no_quota, DISPUTE, [("period-differs", 3)]),
    (beyond_a_quota_that_was_not_used, QUOTA, [("approval-unneeded", 4)]),
    (an_older_version, ORDER, [("version-not-newer", 8)]),
    (an_older_version_than_one_that_was_only_decided_on, ORDER, [("version-not-newer", 7)]),
    (a_downgrade_that_was_none, ORDER, [("approval-unneeded", 4)]),
    (an_approval_twice_on_the_same_bytes, RELEASE, [("approval-spent-twice", 6)]),
    (an_approval_that_was_taken_back, RELEASE, [("approval-revoked", 5)]),
    (an_approver_whom_nobody_knows, RELEASE, [("approver-unknown", 3)]),
    (too_few_people, DISPUTE, [("approvals-miscounted", 4)]),
    (one_person_for_two, DISPUTE, [("approvals-miscounted", 4)]),
    (an_exception_that_the_tier_does_not_know, RELEASE, [("approvals-miscounted", 3)]),
    (who_asked_approved, OWN, [("approval-by-requester", 3)]),
    (who_asked_is_not_named, RELEASE, [("requester-not-allowed", 3)]),
    (who_asked_is_a_stranger, RELEASE, [("requester-not-allowed", 3)]),
    (nobody_approved_the_release, RELEASE, [("approval-needed", 3)]),
    (nobody_overruled_the_dispute, DISPUTE, [("decision-unfounded", 4)]),
    (a_dispute_is_overruled_that_was_none, DISPUTE, [("decision-unfounded", 3)]),
    (a_dispute_is_overruled_where_too_few_agree, DISPUTE, [("decision-unfounded", 4)]),
    (an_approval_that_its_approver_never_signed, RELEASE, [("bundle-approvals", 4)]),
    (other_bytes_without_approval, RE_SIGN, [("release-signed-twice", 10)]),
    (other_bytes_that_nobody_approved, RE_SIGN, [("bundle-approvals", 10)]),
    (the_bundle_of_other_bytes_is_withheld, RE_SIGN, [("bundle-withheld", 10)]),
    (a_version_without_a_place_in_the_order, ORDER, [("version-unordered", 4)]),
]


@pytest.mark.parametrize(("lie", "policy", "expected"), LIES, ids=[lie.__name__ for lie, *_ in LIES])
async def test_what_no_rule_let_through_is_found_where_it_stands(world, book, lie, policy, expected):
    world.policy(policy)
    lie(world)
    assert await looked(world, book, (policy, YEARLY) if policy == QUOTA else (policy,)) == (None, expected)
    assert not any(finding.notice for finding in book.findings(100))


async def test_what_was_judged_before_is_held_against_what_comes(world, book):
    world.policy(QUOTA)
    signed(world, QUOTA, period=MARCH)
    assert await looked(world, book, (QUOTA,)) == (None, [])
    signed(world, QUOTA, period=MARCH, release=package(name="bash"))
    assert await looked(world, book, (QUOTA,)) == (None, [("quota-used", 8)])


def as_of_the_form_before(folder):
    """What a book was before it was folded by the rules."""
    with closing(sqlite3.connect(folder / NAME, isolation_level=None)) as kept:
        for (table,) in kept.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            if table not in {"audit", "entries", "subjects", "findings"}:
                kept.execute(f"DROP TABLE {table}")
        kept.execute("PRAGMA user_version = 1")


async def test_a_book_of_the_form_before_is_taken_up_with_all_that_it_holds(world, tmp_path):
    world.policy(QUOTA)
    signed(world, QUOTA, period=MARCH)
    with FileAuditBook.opened(tmp_path, KEY.verifier.name) as book:
        assert await looked(world, book, (QUOTA,)) == (None, [])
    as_of_the_form_before(tmp_path)
    signed(world, QUOTA, period=MARCH, release=package(name="bash"))
    for _ in range(2):
        with FileAuditBook.opened(tmp_path, KEY.verifier.name) as book:
            assert await looked(world, book, (QUOTA,)) == (None, [("quota-used", 8)])
