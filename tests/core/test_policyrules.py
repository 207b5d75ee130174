"""The policy file's rules beyond agreement: read whole when they are right, and each way to get them wrong refused with its place."""

import dataclasses
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.errors import Rejected
from attestor.core.policyfile import parse_policy
from attestor.core.quota import MAX_QUOTA, Period, Quota
from attestor.core.tierrules import MAX_APPROVAL_HOURS, MAX_APPROVERS, Action, ApprovalRules
from attestor.core.versions import VersionOrder
from tests.approvers import approver_table, fingerprint, key_table, ssh_line
from tests.core.test_policyfile import POLICY as PLAIN
from tests.core.test_policyfile import key_table as operator_key

OPENPGP = f'fingerprint = "{"AB" * 20}"\nopenpgp = "-----BEGIN PGP PUBLIC KEY BLOCK-----"\n'
TIMES = "valid_from = 2025-01-01T00:00:00Z\nvalid_until = 2036-01-01T00:00:00Z\n"
APPROVALS = """
[tiers.packages.approvals]
hours = 48
release = 1
downgrade = 2
re_sign = 3
dispute = 2
quota = 1
"""
QUOTA = '[tiers.packages.quota]\nlimit = 1\nperiod = "month"\n'
DATABASE = """
[tiers.databases]
kind = "database"
purl = "pkg:generic/arch/core.db"
operators = ["db-host"]
threshold = 1
dissent_limit = 0
signing_key = "databases"
requesters = ["build-service"]
networks = ["192.0.2.0/24"]
version_order = "sequence"
compare_predecessor = true
"""
RULES = (
    PLAIN.replace('signing_key = "packages"', 'signing_key = "packages"\nversion_order = "alpm"')
    .replace('signing_key = "images"', 'signing_key = "images"\nversion_order = "sequence"')
    .replace("\n[tiers.iso]", f"\n{QUOTA}{APPROVALS}\n[tiers.iso]")
    .replace("[requesters.build-service]", '[requesters.build-service]\nperson = "boss"')
    + "".join(map(approver_table, ("dora", "emil")))
    + f'[approvers.fay]\nperson = "fay"\n[[approvers.fay.keys]]\n{OPENPGP}{TIMES}'
)
RULES = RULES.replace("[[operators.alice.keys]]", '[operators.alice]\nperson = "alice"\n[[operators.alice.keys]]', 1)


def parsed(text):
    return parse_policy(text.encode(), "policy.toml")


def tier(policy, name="packages"):
    [found] = [tier for tier in policy.tiers if tier.name == name]
    return found


def test_right_rules_are_read_whole():
    policy = parsed(RULES)
    packages, iso = tier(policy), tier(policy, "iso")
    assert (packages.version_order, iso.version_order) == (VersionOrder.ALPM, VersionOrder.SEQUENCE)
    assert (packages.quota, iso.quota) == (Quota(1, Period.MONTH), None)
    assert packages.approvals == ApprovalRules(hours=48, release=1, downgrade=2, re_sign=3, dispute=2, quota=1)
    assert [packages.needs(action) for action in Action] == [1, 2, 3, 2, 1]
    assert [iso.needs(action) for action in Action] == [0] * 5
    assert policy.persons == {"dora": "dora", "emil": "emil", "fay": "fay"}
    assert policy.persons_of_requesters == {"build-service": "boss"}
    dora, fay = policy.approver_keys[fingerprint("dora")], policy.approver_keys["AB" * 20]
    assert (dora.approver, dora.form, dora.text, dora.revoked) == ("dora", "ssh", ssh_line("dora"), False)
    assert (fay.approver, fay.form, fay.text) == ("fay", "openpgp", "-----BEGIN PGP PUBLIC KEY BLOCK-----")
    assert (fay.valid_from, fay.valid_until) == (datetime(2025, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC))
    assert len(policy.approver_keys) == 3


def test_a_file_of_an_earlier_version_has_none_of_them():
    """Bundles name policies by their digest: what was a policy stays one."""
    policy = parsed(PLAIN)
    for each in policy.tiers:
        assert (each.version_order, each.quota, each.approvals) == (VersionOrder.NONE, None, None)
        assert not each.compare_predecessor
        assert all(each.needs(action) == 0 for action in Action)
    assert (policy.approver_keys, policy.persons, policy.persons_of_requesters) == ({}, {}, {})


def test_an_exception_that_is_not_named_is_none():
    only = RULES.replace(APPROVALS, "\n[tiers.packages.approvals]\nhours = 1\nquota = 2\n")
    assert {action: tier(parsed(only)).needs(action) for action in Action if tier(parsed(only)).needs(action)} == {
        Action.QUOTA: 2
    }


def test_a_revoked_key_of_an_approver_is_read_as_such():
    text = RULES.replace(key_table("dora"), key_table("dora") + "revoked = 2026-01-01T00:00:00Z\n")
    keys = parsed(text).approver_keys
    assert {held.approver: held.revoked for held in keys.values()} == {"dora": True, "emil": False, "fay": False}
    assert keys[fingerprint("dora")].refusal_at(datetime(2025, 6, 1, tzinfo=UTC)) == "key-revoked"


def test_an_approver_may_have_several_keys_and_be_an_operator_or_requester_too():
    both = RULES.replace(key_table("dora"), key_table("dora") + key_table("dora", "dora-2"))
    policy = parsed(both.replace('[approvers.emil]\nperson = "emil"', '[approvers.emil]\nperson = "alice"'))
    assert sorted(held.approver for held in policy.approver_keys.values()) == ["dora", "dora", "emil", "fay"]
    assert policy.persons["emil"] == "alice"


def swap(old, new):
    assert old in RULES, old
    return RULES.replace(old, new, 1)


def hour(text):
    return swap("hours = 48", f"hours = {text}")


def people(name, number):
    [line] = [line for line in APPROVALS.splitlines() if line.startswith(f"{name} = ")]
    return swap(APPROVALS, APPROVALS.replace(line, f"{name} = {number}"))


def fays(times):
    return swap(OPENPGP + TIMES, OPENPGP + times)


def many(count):
    names = [f"p{number}" for number in range(count)]
    return RULES + "".join(map(approver_table, names))


DORA = key_table("dora")
ORDER = 'version_order = "alpm"'
WRONG = [
    ("an order of another purl type", swap(ORDER, 'version_order = "debian"'), "tiers.packages.version_order", "type alpm are ordered by alpm, or by none"),
    ("an order that there is not", swap(ORDER, 'version_order = "newest"'), "tiers.packages.version_order", "newest"),
    ("a sequence of packages", swap(ORDER, 'version_order = "sequence"'), "tiers.packages.version_order", "or by none"),
    ("an order of images by vercmp", swap('version_order = "sequence"', 'version_order = "alpm"'), "tiers.iso.version_order", "type generic are ordered by sequence"),
    ("a quota of nothing", swap("limit = 1", "limit = 0"), "tiers.packages.quota.limit", f"must be 1 to {MAX_QUOTA}"),
    ("a negative quota", swap("limit = 1", "limit = -1"), "tiers.packages.quota.limit", "must be 1"),
    ("a quota without end", swap("limit = 1", f"limit = {MAX_QUOTA + 1}"), "tiers.packages.quota.limit", "must be 1"),
    ("a quota as true", swap("limit = 1", "limit = true"), "tiers.packages.quota.limit", "Expected `int`"),
    ("a quota without limit", swap("limit = 1\n", ""), "tiers.packages.quota", "missing required field `limit`"),
    ("a quota without period", swap('period = "month"\n', ""), "tiers.packages.quota", "missing required field `period`"),
    ("a quota by the hour", swap('"month"', '"hour"'), "tiers.packages.quota.period", "hour"),
    ("an unknown key of a quota", swap("limit = 1", "limit = 1\nburst = 1"), "tiers.packages.quota", "`burst`"),
    ("approvals without hours", swap("hours = 48\n", ""), "tiers.packages.approvals", "missing required field `hours`"),
    ("approvals of no hour", hour(0), "tiers.packages.approvals.hours", f"must be 1 to {MAX_APPROVAL_HOURS}"),
    ("approvals for ever", hour(MAX_APPROVAL_HOURS + 1), "tiers.packages.approvals.hours", "must be 1"),
    ("approvals for half an hour", hour(0.5), "tiers.packages.approvals.hours", "Expected `int`"),
    ("approvals of nothing", swap(APPROVALS, "\n[tiers.packages.approvals]\nhours = 48\n"), "tiers.packages.approvals", "names no exception"),
    ("an unknown exception", swap("re_sign = 3", "resign = 3"), "tiers.packages.approvals", "`resign`"),
    *((f"nobody's approval of {name}", people(name, 0), f"tiers.packages.approvals.{name}", "must be 1 to 3") for name in ("release", "downgrade", "re_sign", "dispute", "quota")),
    *((f"more people than there are for {name}", people(name, 4), f"tiers.packages.approvals.{name}", "the file lists 3 approvers") for name in ("release", "downgrade", "re_sign", "dispute", "quota")),
    ("a negative number of people", people("quota", -1), "tiers.packages.approvals.quota", "must be 1"),
    ("more people than a decision entry names", many(9).replace("re_sign = 3", f"re_sign = {MAX_APPROVERS + 1}"), "tiers.packages.approvals.re_sign", f"must be 1 to {MAX_APPROVERS}"),
    ("approvals without approvers", RULES[: RULES.index("[approvers.dora]")], "tiers.packages.approvals.release", "the file lists 0 approvers"),
    ("approvals where nobody answers for who asks", swap('person = "boss"\n', ""), "tiers.packages.approvals", "requester 'build-service' names no person"),
    ("an approver without keys", RULES + '[approvers.gus]\nperson = "gus"\nkeys = []\n', "approvers.gus.keys", "at least one key"),
    ("an approver without person", swap('person = "dora"\n', ""), "approvers.dora", "missing required field `person`"),
    ("an approver's odd person", swap('person = "dora"', 'person = "Dora D."'), "approvers.dora.person", "names one person"),
    ("an approver's empty person", swap('person = "dora"', 'person = ""'), "approvers.dora.person", "names one person"),
    ("an operator's odd person", swap('person = "alice"', 'person = "Alice A."'), "operators.alice.person", "names one person"),
    ("a requester's odd person", swap('person = "boss"', 'person = "the boss"'), "requesters.build-service.person", "names one person"),
    ("an approver's odd name", swap("[approvers.dora]", '[approvers."Dora"]').replace("[[approvers.dora.keys]]", '[[approvers."Dora".keys]]'), "approvers.'Dora'", "names are lower-case"),
    ("one person as two approvers", swap('person = "emil"', 'person = "dora"'), "approvers", "'dora' is the person of 2 of them"),
    ("one person as two operators of a tier", swap("[[operators.bob.keys]]", '[operators.bob]\nperson = "alice"\n[[operators.bob.keys]]'), "tiers.packages.operators", "'alice' is the person of 2 of them"),
    ("one key of two approvers", swap(key_table("emil"), key_table("emil", "dora")), "approvers.emil.keys[0].fingerprint", "already stands under approver dora"),
    ("one key twice", swap(DORA, DORA + DORA), "approvers.dora.keys[1].fingerprint", "already stands under approver dora"),
    ("a key in neither form", swap(f"ssh = '''{ssh_line('dora')}'''\n", ""), "approvers.dora.keys[0]", "one of openpgp"),
    ("a key in both forms", swap(f"ssh = '''{ssh_line('dora')}'''\n", f"ssh = '''{ssh_line('dora')}'''\nopenpgp = 'x'\n"), "approvers.dora.keys[0]", "one of openpgp"),
    ("an unknown form", swap("ssh = '''", "x509 = '''"), "approvers.dora.keys[0]", "`x509`"),
    ("a fingerprint of the other form", swap(fingerprint("dora"), "AB" * 20), "approvers.dora.keys[0].fingerprint", "must be the ssh key's fingerprint"),
    ("an SSH fingerprint of MD5", swap(fingerprint("dora"), "MD5:" + ":".join(["ab"] * 16)), "approvers.dora.keys[0].fingerprint", "SHA256:"),
    ("an SSH fingerprint cut short", swap(fingerprint("dora"), fingerprint("dora")[:-1]), "approvers.dora.keys[0].fingerprint", "SHA256:"),
    ("a short OpenPGP key id", swap("AB" * 20, "AB" * 8), "approvers.fay.keys[0].fingerprint", "40 upper-case hex"),
    ("an OpenPGP fingerprint in lower case", swap("AB" * 20, "ab" * 20), "approvers.fay.keys[0].fingerprint", "40 upper-case hex"),
    ("an OpenPGP fingerprint with a newline", swap("AB" * 20, "AB" * 20 + "\\n"), "approvers.fay.keys[0].fingerprint", "40 upper-case hex"),
    ("an approver's key without end", fays("valid_from = 2025-01-01T00:00:00Z\n"), "approvers.fay.keys[0]", "`valid_until`"),
    ("an approver's key that ends before it begins", fays(TIMES.replace("2036", "2024")), "approvers.fay.keys[0].valid_until", "later than valid_from"),
    ("an approver's time without zone", fays(TIMES.replace("2025-01-01T00:00:00Z", "2025-01-01T00:00:00")), "approvers.fay.keys[0].valid_from", "needs a time zone"),
    ("an approver's revocation without zone", fays(TIMES + "revoked = 2026-01-01T00:00:00\n"), "approvers.fay.keys[0].revoked", "needs a time zone"),
    ("an unknown key of an approver", swap('person = "dora"', 'person = "dora"\nemail = "d@example.org"'), "approvers.dora", "`email`"),
    ("packages held against those before them", swap(ORDER, ORDER + "\ncompare_predecessor = true"), "tiers.packages.compare_predecessor", "kind database with threshold 1"),
    ("an ISO held against the one before it", swap('version_order = "sequence"', 'version_order = "sequence"\ncompare_predecessor = true'), "tiers.iso.compare_predecessor", "kind database"),
    ("a comparison by a number", swap(ORDER, ORDER + "\ncompare_predecessor = 1"), "tiers.packages.compare_predecessor", "Expected `bool`"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "place", "said"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_refuses(text, place, said):
    with pytest.raises(Rejected) as refused:
        parse_policy(text.encode(), "here/policy.toml")
    assert refused.value.code == "policy-invalid"
    assert refused.value.sentence.startswith(f"here/policy.toml: {place}: ")
    assert said in refused.value.sentence
    assert refused.value.sentence.isprintable()


def test_a_requester_of_a_tier_without_approvals_needs_no_person():
    text = swap('person = "boss"\n', "").replace(APPROVALS, "")
    assert parsed(text).persons_of_requesters == {}


@pytest.mark.parametrize("count", [1, 8], ids="{} people".format)
def test_as_many_people_may_be_asked_for_as_there_are(count):
    names = [f"p{number}" for number in range(count)]
    text = RULES[: RULES.index("[approvers.dora]")].replace(
        APPROVALS, f"\n[tiers.packages.approvals]\nhours = 1\nquota = {count}\n"
    )
    assert tier(parsed(text + "".join(map(approver_table, names)))).needs(Action.QUOTA) == count


@given(
    st.sampled_from(("release", "downgrade", "re_sign", "dispute", "quota")), st.integers(-2, 12), st.integers(1, 10)
)
def test_law_no_policy_asks_for_nobody_or_for_more_people_than_it_lists(name, number, count):
    text = RULES[: RULES.index("[approvers.dora]")].replace(
        APPROVALS, f"\n[tiers.packages.approvals]\nhours = 1\n{name} = {number}\n"
    )
    text += "".join(approver_table(f"p{each}") for each in range(count))
    try:
        rules = tier(parsed(text)).approvals
    except Rejected as error:
        assert error.code == "policy-invalid"  # noqa: PT017 - either outcome is a pass
        assert not 1 <= number <= min(count, MAX_APPROVERS)
    else:
        assert dataclasses.astuple(rules).count(number) >= 1
        assert 1 <= number <= min(count, MAX_APPROVERS)


def test_a_database_tier_may_be_held_against_the_database_before_it():
    scopes = '[{ kind = "database", type = "generic", namespace = "arch" }]'
    text = RULES + operator_key("db-host", scopes=scopes) + DATABASE
    databases = tier(parsed(text), "databases")
    assert (databases.compare_predecessor, databases.version_order) == (True, VersionOrder.SEQUENCE)
