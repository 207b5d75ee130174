"""The counting rule: who counts, what is reached, and every way in which others count wrongly."""

import dataclasses
import hashlib
import itertools
import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import assume, given
from hypothesis import strategies as st

from attestor.core.claims import Claim, Outcome
from attestor.core.keys import parse_public_key
from attestor.core.naming import Kind, parse_release
from attestor.core.policy import OperatorKey, Policy, PurlPattern, Scope, Tier
from attestor.core.quorum import Disputed, Pending, Reached, evaluate, in_favour_of
from tests.logkeys import log_policy

NOON = datetime(2025, 10, 12, 12, tzinfo=UTC)
DAY = timedelta(days=1)
RELEASE = parse_release("package", "pkg:alpm/arch/bash@5.3-1?arch=x86_64", "bash-5.3-1-x86_64.pkg.tar.zst")
SCOPE = Scope(kind=Kind.PACKAGE, type="alpm", namespace="arch")
GOOD, BAD, UGLY = b"g" * 32, b"b" * 32, b"u" * 32
NO_ONE = frozenset()
LOG = log_policy("test")


def public_key(seed):
    secret = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest())
    pem = secret.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return parse_public_key(pem.decode())


NAMES = tuple("abcdefg")
KEYS = {f"{name}{number}": public_key(f"{name}{number}") for name in NAMES for number in (1, 2)}


def held(name, **changes):
    usual = {
        "operator": name[0],
        "public_key": KEYS[name],
        "valid_from": NOON - 10 * DAY,
        "valid_until": NOON + 10 * DAY,
        "forms": frozenset({"rebuild"}),
        "provenance": frozenset(),
        "scopes": (SCOPE,),
        "revoked": False,
    }
    return OperatorKey(**usual | changes)


USUAL = {name: held(name) for name in KEYS}


def policy(*, suspended="", keys=None):
    known = USUAL | (keys or {})
    return Policy(
        origin="test",
        serial=1,
        digest="00" * 32,
        keys={key.public_key: key for key in known.values() if key is not None},
        suspended=frozenset(suspended),
        operators=frozenset(NAMES),
        tiers=(),
        requesters={},
        log=LOG,
        raw=b"",
    )


def tier(n=2, m=3, limit=0, required=""):
    return Tier(
        name="packages",
        kind=Kind.PACKAGE,
        pattern=PurlPattern("alpm", "arch", "*", None),
        operators=frozenset(NAMES[:m]),
        threshold=n,
        dissent_limit=limit,
        required=frozenset(required),
        signing_key="packages",
        requesters=frozenset({"r"}),
        networks=(),
    )


def claim(key, sha256=GOOD, sha512=None, size=None, *, payload=None, at=NOON, form="rebuild", operator=None):
    names = key.split("+")
    operator = operator or names[0][0]
    stated = repr((operator, sha256, sha512, size))
    return Claim(
        operator=operator,
        release=RELEASE,
        payload_digest=hashlib.sha256((payload or stated).encode()).digest(),
        form=form,
        keys=frozenset(KEYS[name].fingerprint for name in names),
        outcome=Outcome.FAILED if sha256 is None else Outcome.BUILT,
        sha256=sha256,
        sha512=sha512,
        size=size,
        received_at=at,
    )


def decided(claims, *, of=None, under=None, withdrawn=(), now=NOON):
    return evaluate(of or tier(), under or policy(), claims, frozenset(withdrawn), now)


def taken_back(*claims):
    return {(one.operator, one.payload_digest) for one in claims}


S1, S2 = b"1" * 64, b"2" * 64

# (sentence, claims, arguments, outcome, who agrees, who dissents, who equivocates)
TABLE = [
    ("nothing said is pending", [], {}, Pending, "", "", ""),
    ("one of two is pending", [claim("a1")], {}, Pending, "a", "", ""),
    ("two of three is reached", [claim("a1"), claim("b1")], {}, Reached, "ab", "", ""),
    ("two keys of one operator are one vote", [claim("a1"), claim("a2", payload="x")], {}, Pending, "a", "", ""),
    ("two keys under one payload are one vote", [claim("a1+a2")], {}, Pending, "a", "", ""),
    ("one payload twice is one vote", [claim("a1"), claim("a1")], {}, Pending, "a", "", ""),
    (
        "ten payloads of one operator are one vote",
        [claim("a1", payload=str(n)) for n in range(10)],
        {},
        Pending,
        "a",
        "",
        "",
    ),
    ("another digest is dissent", [claim("a1"), claim("b1"), claim("c1", BAD)], {}, Disputed, "ab", "c", ""),
    (
        "dissent at the limit lets it be reached",
        [claim("a1"), claim("b1"), claim("c1", BAD)],
        {"of": tier(limit=1)},
        Reached,
        "ab",
        "c",
        "",
    ),
    (
        "dissent above the limit disputes what would be reached",
        [claim("a1"), claim("b1"), claim("c1"), claim("d1", BAD), claim("e1", UGLY)],
        {"of": tier(3, 5, 1)},
        Disputed,
        "abc",
        "de",
        "",
    ),
    (
        "an equivocator votes for nothing and is dissent",
        [claim("a1"), claim("b1"), claim("b2", BAD)],
        {},
        Disputed,
        "a",
        "",
        "b",
    ),
    (
        "an equivocator within the limit still does not count",
        [claim("a1"), claim("b1"), claim("b1", BAD)],
        {"of": tier(limit=1)},
        Pending,
        "a",
        "",
        "b",
    ),
    (
        "withdrawing one of two digests restores the vote",
        [claim("a1"), claim("b1"), claim("b1", BAD)],
        {"withdrawn": taken_back(claim("b1", BAD))},
        Reached,
        "ab",
        "",
        "",
    ),
    (
        "withdrawing both leaves nothing",
        [claim("a1"), claim("b1"), claim("b1", BAD)],
        {"withdrawn": taken_back(claim("b1", BAD), claim("b1"))},
        Pending,
        "a",
        "",
        "",
    ),
    (
        "one operator cannot withdraw for another",
        [claim("a1"), claim("b1")],
        {"withdrawn": {("c", claim("b1").payload_digest)}},
        Reached,
        "ab",
        "",
        "",
    ),
    (
        "a failure is evidence, neither agreement nor dissent",
        [claim("a1"), claim("b1", None), claim("c1")],
        {},
        Reached,
        "ac",
        "",
        "",
    ),
    ("failures alone reach nothing", [claim("a1", None), claim("b1", None)], {}, Pending, "", "", ""),
    (
        "a failure and a success of one operator are no equivocation",
        [claim("a1"), claim("a1", None), claim("b1")],
        {},
        Reached,
        "ab",
        "",
        "",
    ),
    (
        "a suspended operator does not count",
        [claim("a1"), claim("b1")],
        {"under": policy(suspended="b")},
        Pending,
        "a",
        "",
        "",
    ),
    (
        "a suspended operator does not dissent",
        [claim("a1"), claim("b1"), claim("c1", BAD)],
        {"under": policy(suspended="c")},
        Reached,
        "ab",
        "",
        "",
    ),
    (
        "suspension lowers neither n nor m",
        [claim("a1")],
        {"under": policy(suspended="bc")},
        Pending,
        "a",
        "",
        "",
    ),
    (
        "an operator outside the tier neither counts nor dissents",
        [claim("a1"), claim("d1"), claim("e1", BAD)],
        {},
        Pending,
        "a",
        "",
        "",
    ),
    (
        "a required operator is missing",
        [claim("a1"), claim("b1")],
        {"of": tier(required="c")},
        Pending,
        "ab",
        "",
        "",
    ),
    (
        "a required operator that dissents is still missing",
        [claim("a1"), claim("b1"), claim("c1", BAD)],
        {"of": tier(limit=1, required="c")},
        Pending,
        "ab",
        "c",
        "",
    ),
    (
        "a conflicting SHA-512 beside the same SHA-256 is other bytes",
        [claim("a1", sha512=S1), claim("b1", sha512=S2)],
        {},
        Disputed,
        "b",
        "a",
        "",
    ),
    (
        "a conflicting size beside the same SHA-256 is other bytes",
        [claim("a1", size=1), claim("b1", size=2)],
        {},
        Disputed,
        "b",
        "a",
        "",
    ),
    (
        "one operator that states two SHA-512 for one SHA-256 equivocates",
        [claim("a1", sha512=S1), claim("a1", sha512=S2), claim("b1")],
        {},
        Disputed,
        "b",
        "",
        "a",
    ),
    (
        "who leaves out what others state agrees with them",
        [claim("a1", sha512=S1), claim("b1", size=5)],
        {},
        Reached,
        "ab",
        "",
        "",
    ),
    (
        "a liar about SHA-512 does not part those who contradict each other in nothing",
        [claim("a1", sha512=S1), claim("b1", sha512=S1, size=5), claim("c1", sha512=S2)],
        {"of": tier(limit=1)},
        Reached,
        "ab",
        "c",
        "",
    ),
    (
        "a vote that fits two equally large camps counts in neither",
        [claim("a1"), claim("b1", sha512=S1), claim("c1", sha512=S2)],
        {"of": tier(limit=1)},
        Disputed,
        "c",
        "ab",
        "",
    ),
    (
        "n of n without dissent is reached",
        [claim("a1"), claim("b1"), claim("c1")],
        {"of": tier(3, 3)},
        Reached,
        "abc",
        "",
        "",
    ),
    ("the single builder's own word decides", [claim("a1")], {"of": tier(1, 1)}, Reached, "a", "", ""),
]


@pytest.mark.parametrize(
    ("claims", "given", "outcome", "camps"),
    [(*row[1:4], row[4:]) for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_the_rule(claims, given, outcome, camps):
    agree, dissent, equivocate = camps
    decision = decided(claims, **given)
    assert type(decision) is outcome
    tally = decision.tally
    assert "".join(sorted(tally.agreeing)) == agree
    assert "".join(sorted(tally.dissenting)) == dissent
    assert "".join(sorted(tally.equivocating)) == equivocate


VOICELESS = {
    "a revoked key": ({"revoked": True}, {}, "key-revoked"),
    "a key that has expired since": ({"valid_until": NOON + DAY}, {"now": NOON + DAY}, "key-expired"),
    "a key that was expired when its vote came": (
        {"valid_until": NOON},
        {"now": NOON - DAY},
        "key-expired",
    ),
    "a key that was not yet valid when its vote came": (
        {"valid_from": NOON + DAY},
        {"now": NOON + 2 * DAY},
        "key-not-yet-valid",
    ),
    "a key that is not valid by the clock now": (
        {"valid_from": NOON - DAY},
        {"now": NOON - 2 * DAY},
        "key-not-yet-valid",
    ),
    "a key that may no longer say such a statement": ({"forms": frozenset({"link"})}, {}, "statement-not-allowed"),
    "a key whose scopes no longer cover the release": (
        {"scopes": (Scope(kind=Kind.PACKAGE, type="alpm", namespace="artix"),)},
        {},
        "key-out-of-scope",
    ),
    "a key that now is another operator's": ({"operator": "g"}, {}, "key-unknown"),
}


@pytest.mark.parametrize(("changes", "given", "reason"), VOICELESS.values(), ids=VOICELESS)
def test_a_vote_does_not_count_that_stands_on(changes, given, reason):
    under = policy(keys={"b1": held("b1", **changes)})
    decision = decided([claim("a1"), claim("b1")], under=under, **given)
    assert type(decision) is Pending
    assert decision.tally.agreeing == {"a"}
    assert {(one.operator, one.reason) for one in decision.tally.uncounted} == {("b", reason)}


def test_a_vote_by_a_key_that_left_the_policy_does_not_count():
    decision = decided([claim("a1"), claim("b1")], under=policy(keys={"b1": None}))
    assert decision.tally.agreeing == {"a"}
    assert {one.reason for one in decision.tally.uncounted} == {"key-unknown"}


def test_a_vote_that_no_key_stands_behind_does_not_count():
    nobody = dataclasses.replace(claim("b1"), keys=frozenset())
    assert decided([claim("a1"), nobody]).tally.agreeing == {"a"}


def test_a_vote_stands_while_one_of_two_keys_that_signed_it_counts():
    under = policy(keys={"b1": held("b1", revoked=True)})
    assert type(decided([claim("a1"), claim("b1+b2")], under=under)) is Reached


def test_half_of_each_key_is_no_key():
    """Valid when received under one key, valid now under the other: neither key counts both times."""
    keys = {"b1": held("b1", valid_until=NOON + DAY), "b2": held("b2", valid_from=NOON + DAY)}
    decision = decided([claim("a1"), claim("b1+b2")], under=policy(keys=keys), now=NOON + 2 * DAY)
    assert type(decision) is Pending


@pytest.mark.parametrize(
    ("claims", "missing"),
    [
        ([], 2),
        ([claim("a1")], 1),
        ([claim("b1")], 2),
        ([claim("b1"), claim("a1")], 1),
        ([claim("a1"), claim("b1"), claim("c1")], 0),
    ],
    ids=["all", "one of two", "two required", "the other required one", "none"],
)
def test_how_many_are_missing(claims, missing):
    required = "ac" if claims != [claim("a1")] else ""
    tally = decided(claims, of=tier(required=required)).tally
    assert tally.missing == missing


# Digests and sizes beside SHA-256.


def test_a_sha512_that_fewer_than_n_state_is_to_be_matched_but_not_agreed():
    decision = decided([claim("a1", sha512=S1, size=7), claim("b1")])
    assert decision.agreed == dataclasses.replace(decision.stated, sha512=None, size=None)
    assert (decision.stated.sha512, decision.stated.size) == (S1, 7)


def test_a_sha512_and_size_that_n_state_are_agreed():
    votes = [claim("a1", sha512=S1, size=7), claim("b1", sha512=S1), claim("c1", size=7)]
    assert decided(votes).agreed == decided(votes).stated
    assert (decided(votes).agreed.sha512, decided(votes).agreed.size) == (S1, 7)


def test_a_sha512_of_a_dissenter_or_of_an_equivocator_agrees_nothing():
    votes = [
        claim("a1", sha512=S1),
        claim("b1"),
        claim("c1"),
        claim("d1", BAD, sha512=S1),
        claim("e1", sha512=S1),
        claim("e1", BAD),
    ]
    decision = decided(votes, of=tier(3, 5, 2))
    assert type(decision) is Reached
    assert decision.agreed.sha512 is None


def test_one_operator_states_a_sha512_once_however_many_payloads():
    votes = [claim("a1", sha512=S1), claim("a2", sha512=S1, payload="again"), claim("b1")]
    assert decided(votes).agreed.sha512 is None


# Defects of others (reference: counting in the wild), as negative tests.


def test_start9_and_bails_five_signatures_of_one_key_are_one_of_five():
    votes = [claim("a1", payload=f"copy {n}") for n in range(5)]
    assert decided(votes, of=tier(5, 7)).tally.agreeing == {"a"}


def test_bitcoin_core_expired_and_revoked_keys_count_for_no_minimum():
    keys = {"a1": held("a1", valid_until=NOON), "b1": held("b1", revoked=True)}
    assert decided([claim("a1"), claim("b1"), claim("c1")], under=policy(keys=keys)).tally.agreeing == {"c"}


def test_in_toto_one_dissenter_does_not_veto_where_the_policy_allows_dissent():
    votes = [claim(f"{name}1") for name in "abcd"] + [claim("e1", BAD)]
    assert type(decided(votes, of=tier(3, 5, 1))) is Reached


def test_trustix_absent_voters_stay_in_the_denominator():
    assert type(decided([claim("a1")], of=tier(3, 4))) is Pending
    assert decided([claim("a1")], of=tier(3, 4)).tally.missing == 2


def test_trustix_three_of_three_and_four_of_seven_are_met_exactly():
    assert type(decided([claim(f"{name}1") for name in "abc"], of=tier(3, 3))) is Reached
    assert type(decided([claim(f"{name}1") for name in "abcd"], of=tier(4, 7))) is Reached
    assert Fraction(4, 7) > Fraction(1, 2)


def test_trustix_a_tie_is_decided_for_nobody_and_in_one_way_only():
    votes = [claim("a1"), claim("b1"), claim("c1", BAD), claim("d1", BAD)]
    decisions = {decided(order, of=tier(3, 4, 1)) for order in (votes, votes[::-1], votes[2:] + votes[:2])}
    assert [type(one) for one in decisions] == [Disputed]


def test_repro_threshold_an_operator_with_two_hosts_counts_once_and_two_on_one_host_count_twice():
    hosts_of_one = [claim("a1", payload="amd64 host"), claim("a2", payload="arm64 host")]
    assert decided(hosts_of_one).tally.agreeing == {"a"}
    same_payload = [claim("a1", payload="one host"), claim("b1", payload="one host")]
    assert decided(same_payload).tally.agreeing == {"a", "b"}


def test_lila_rows_are_not_votes_and_an_invalidated_key_stops_counting():
    rows = [claim("a1"), claim("a1"), claim("a1", payload="the same again")]
    assert type(decided(rows)) is Pending
    under = policy(keys={"a1": held("a1", revoked=True)})
    assert decided([*rows, claim("b1")], under=under).tally.agreeing == {"b"}


def test_rebuilderd_a_claim_in_the_name_of_an_operator_needs_that_operators_key():
    forged = claim("c1", operator="b")
    assert decided([claim("a1"), forged]).tally.agreeing == {"a"}


# Laws.

MOMENTS = (NOON - 20 * DAY, NOON - DAY, NOON, NOON + 20 * DAY)


def all_claims_by(name):
    keys = (f"{name}1", f"{name}2", f"{name}1+{name}2")
    for key, sha256, sha512, size, at in itertools.product(
        keys, (GOOD, BAD, UGLY, None), (None, S1, S2), (None, 1, 2), MOMENTS
    ):
        yield claim(key, sha256, sha512 if sha256 else None, size if sha256 else None, at=at)


# Whole values to draw from: one choice is many times faster than one for each part.
claims_by = {name: st.sampled_from(list(all_claims_by(name))) for name in NAMES}
any_claims = st.lists(st.sampled_from(NAMES).flatmap(claims_by.__getitem__), max_size=12)


def all_tiers_of(m):
    for n in range(m // 2 + 1, m + 1):
        for limit in range(m - n + 1):
            for required in ("", *NAMES[:m]):
                yield tier(n, m, limit, required)


tiers_of = {m: st.sampled_from(list(all_tiers_of(m))) for m in range(1, 7)}
any_tiers = st.integers(1, 6).flatmap(tiers_of.__getitem__)


@st.composite
def policies(draw):
    changes = st.sampled_from(
        [
            {},
            {},
            {},
            {"revoked": True},
            {"valid_until": NOON},
            {"valid_from": NOON},
            {"scopes": ()},
            {"operator": "g"},
            None,
        ]
    )
    keys = {}
    for name in draw(st.sets(st.sampled_from(sorted(KEYS)), max_size=4)):
        change = draw(changes)
        keys[name] = None if change is None else held(name, **change)
    return policy(suspended=draw(st.sets(st.sampled_from(NAMES), max_size=1)), keys=keys)


@st.composite
def cases(draw):
    claims = draw(any_claims)
    withdrawn = draw(st.sets(st.sampled_from(sorted(taken_back(*claims))), max_size=3)) if claims else set()
    return draw(any_tiers), draw(policies()), claims, frozenset(withdrawn)


@st.composite
def agreeing_cases(draw):
    """n operators state compatible bytes; some noise around them decides whether that is enough."""
    rules = draw(any_tiers)
    part = st.tuples(st.sampled_from([None, S1]), st.sampled_from([None, 1]))
    claims = [claim(f"{name}1", GOOD, *draw(part)) for name in NAMES[: rules.threshold]]
    claims += draw(st.lists(st.sampled_from(NAMES[rules.threshold :]).flatmap(claims_by.__getitem__), max_size=6))
    return rules, draw(st.one_of(st.just(policy()), policies())), claims, frozenset()


any_cases = st.one_of(cases(), agreeing_cases())


def reference(tier_, policy_, claims, withdrawn, now):
    """Count naively and slowly, written from the design's sentences and sharing nothing with the rule."""
    good = []
    for c in claims:
        if c.operator not in tier_.operators or c.operator in policy_.suspended:
            continue
        if (c.operator, c.payload_digest) in withdrawn or c.outcome is not Outcome.BUILT:
            continue
        standing = False
        for key in policy_.keys.values():
            if key.public_key.fingerprint in c.keys and key.operator == c.operator and not key.revoked:
                times = all(key.valid_from <= moment < key.valid_until for moment in (c.received_at, now))
                covered = any(s.namespace == "arch" for s in key.scopes)
                standing = standing or (times and covered and c.form in key.forms)
        if standing:
            good.append((c.operator, (c.sha256, c.sha512, c.size)))

    def clash(x, y):
        return any(p is not None and q is not None and p != q for p, q in zip(x, y, strict=True))

    operators = sorted({operator for operator, _ in good})
    said = {o: [v for p, v in good if p == o] for o in operators}
    liars = {o for o in operators if any(clash(x, y) for x in said[o] for y in said[o])}
    honest = [o for o in operators if o not in liars]

    def agree(group):
        return not any(clash(x, y) for p in group for q in group for x in said[p] for y in said[q])

    groups = [set()]
    for o in honest:
        groups += [group | {o} for group in groups]
    groups = [group for group in groups if agree(group) and group]
    largest = max((len(group) for group in groups), default=0)
    tops = [group for group in groups if len(group) == largest]
    outcomes = set()
    for top in tops:
        sure = {o for o in top if all(o not in other for other in tops if other != top)}
        dissent = len(honest) - len(sure) + len(liars)
        if dissent > tier_.dissent_limit:
            outcomes.add((Disputed, None))
        elif len(sure) >= tier_.threshold and tier_.required <= sure:
            outcomes.add((Reached, frozenset(sure)))
        else:
            outcomes.add((Pending, None))
    if not tops:
        outcomes.add((Disputed if len(liars) > tier_.dissent_limit else Pending, None))
    return outcomes


@given(any_cases, st.sampled_from([NOON, NOON + DAY, NOON + 20 * DAY]))
def test_law_the_rule_agrees_with_a_naive_count(case, now):
    decision = evaluate(*case, now)
    reached = decision.tally.agreeing if isinstance(decision, Reached) else None
    outcomes = reference(*case, now)
    assert (type(decision), reached) in outcomes
    if isinstance(decision, Reached):
        assert len(outcomes) == 1


@given(any_cases, st.randoms(use_true_random=False))
def test_law_order_never_matters(case, random):
    tier_, policy_, claims, withdrawn = case
    shuffled = random.sample(claims, len(claims))
    assert evaluate(tier_, policy_, shuffled, withdrawn, NOON) == evaluate(*case, NOON)


@given(any_cases)
def test_law_duplicates_never_matter(case):
    tier_, policy_, claims, withdrawn = case
    assert evaluate(tier_, policy_, claims * 3, withdrawn, NOON) == evaluate(*case, NOON)


@given(agreeing_cases(), st.sampled_from(NAMES), st.booleans())
def test_law_a_vote_for_the_same_bytes_never_unreaches(case, name, bare):
    tier_, policy_, claims, withdrawn = case
    before = evaluate(*case, NOON)
    assume(isinstance(before, Reached))
    assume(name not in before.tally.dissenting | before.tally.equivocating)
    stated = before.stated
    more = claim(f"{name}1", stated.sha256, *((None, None) if bare else (stated.sha512, stated.size)), payload="more")
    after = evaluate(tier_, policy_, [*claims, more], withdrawn, NOON)
    assert isinstance(after, Reached)
    assert after.agreed.sha256 == before.agreed.sha256
    assert after.tally.agreeing >= before.tally.agreeing


@given(agreeing_cases())
def test_law_nothing_is_reached_below_n_distinct_operators_that_stated_it(case):
    decision = evaluate(*case, NOON)
    assume(isinstance(decision, Reached))
    tier_, policy_, claims, withdrawn = case
    stating = {
        c.operator
        for c in claims
        if c.sha256 == decision.agreed.sha256 and (c.operator, c.payload_digest) not in withdrawn
    }
    assert len(decision.tally.agreeing) >= tier_.threshold
    assert decision.tally.agreeing <= stating & tier_.operators - policy_.suspended


@given(any_cases, any_claims)
def test_law_two_digests_are_never_both_reached_by_what_honest_operators_say(case, more):
    """Show two observers different parts of the claims: they may differ in having decided, never in what."""
    tier_, policy_, claims, withdrawn = case
    together = decided([*claims, *more], of=tier_, under=policy_, withdrawn=withdrawn)
    liars = together.tally.equivocating
    one, other = (
        decided([c for c in part if c.operator not in liars], of=tier_, under=policy_, withdrawn=withdrawn)
        for part in (claims, more)
    )
    if isinstance(one, Reached) and isinstance(other, Reached):
        assert one.agreed.sha256 == other.agreed.sha256


@given(any_cases)
def test_law_an_equivocator_never_counts(case):
    tally = evaluate(*case, NOON).tally
    assert not tally.equivocating & tally.agreeing
    assert not tally.equivocating & tally.dissenting
    assert not tally.agreeing & tally.dissenting


@given(any_cases, st.sampled_from(NAMES))
def test_law_withdrawing_all_but_one_digest_ends_equivocation(case, name):
    tier_, policy_, claims, _ = case
    kept = [c for c in claims if c.operator == name][:1]
    withdrawn = taken_back(*(c for c in claims if c.operator == name)) - taken_back(*kept)
    after = evaluate(tier_, policy_, claims, frozenset(withdrawn), NOON)
    alone = evaluate(tier_, policy_, [c for c in claims if c.operator != name] + kept, frozenset(), NOON)
    assert name not in after.tally.equivocating
    assert after.tally.agreeing == alone.tally.agreeing


@given(any_cases, st.sampled_from(NAMES))
def test_law_a_failure_changes_no_outcome(case, name):
    tier_, policy_, claims, withdrawn = case
    before, after = (
        evaluate(tier_, policy_, cs, withdrawn, NOON) for cs in (claims, [*claims, claim(f"{name}1", None)])
    )
    assert type(before) is type(after)
    assert (before.tally.agreeing, before.tally.dissenting) == (after.tally.agreeing, after.tally.dissenting)


@given(any_cases, st.sampled_from(NAMES))
def test_law_a_suspended_operator_is_as_one_who_said_nothing(case, name):
    tier_, policy_, claims, withdrawn = case
    suspended = dataclasses.replace(policy_, suspended=policy_.suspended | {name})
    with_it = evaluate(tier_, suspended, claims, withdrawn, NOON)
    without = evaluate(tier_, policy_, [c for c in claims if c.operator != name], withdrawn, NOON)
    assert type(with_it) is type(without)
    assert dataclasses.replace(with_it.tally, uncounted=NO_ONE) == dataclasses.replace(without.tally, uncounted=NO_ONE)


@given(any_cases, st.sampled_from([NOON - 20 * DAY, NOON - DAY, NOON, NOON + 20 * DAY]))
def test_law_receive_time_takes_votes_away_and_gives_none(case, received):
    """Whoever sets receive times can at best count what was received at this very moment."""
    tier_, policy_, claims, withdrawn = case

    def counted(moment):
        moved = [dataclasses.replace(c, received_at=moment) for c in claims]
        tally = evaluate(tier_, policy_, moved, withdrawn, NOON).tally
        return tally.agreeing | tally.dissenting | tally.equivocating

    assert counted(received) <= counted(NOON)


@given(agreeing_cases())
def test_law_agreed_values_are_stated_by_n_counted_operators(case):
    decision = evaluate(*case, NOON)
    assume(isinstance(decision, Reached))
    tier_, _, claims, withdrawn = case
    for attribute in ("sha512", "size"):
        value = getattr(decision.agreed, attribute)
        stating = {
            c.operator
            for c in claims
            if getattr(c, attribute) == value
            and c.sha256 == decision.agreed.sha256
            and c.operator in decision.tally.agreeing
            and (c.operator, c.payload_digest) not in withdrawn
        }
        assert value is None or len(stating) >= tier_.threshold


# Real votes: Bitcoin Core's guix attestations, each builder an operator.

LINE = re.compile(r"([0-9a-f]{64})  (\S+)")


def guix_votes(folder):
    """What each builder's signed files say about each file name."""
    votes = {}
    for sums in sorted(folder.glob("*/*.SHA256SUMS")):
        for digest, name in LINE.findall(sums.read_text("utf-8").replace("\r\n", "\n")):
            votes.setdefault(name, []).append((sums.parent.name, sums, bytes.fromhex(digest)))
    return votes


def guix_decision(said, n, m, limit):
    builders = sorted({builder for builder, _, _ in said})
    keys = {builder: public_key(builder) for builder in builders}
    under = dataclasses.replace(
        policy(),
        keys={key: dataclasses.replace(held("a1"), operator=name, public_key=key) for name, key in keys.items()},
    )
    claims = [
        dataclasses.replace(
            claim("a1", digest, payload=str(source)), operator=name, keys=frozenset({keys[name].fingerprint})
        )
        for name, source, digest in said
    ]
    electorate = [*builders, *(f"absent{number}" for number in range(m - len(builders)))]
    rules = dataclasses.replace(tier(n, 1, limit), operators=frozenset(electorate))
    return evaluate(rules, under, claims, frozenset(), NOON)


def test_real_votes_twelve_builders_outvote_one(real_input):
    votes = guix_votes(real_input("guix-sigs/22.0rc3"))
    conflicting = {name for name, said in votes.items() if len({digest for _, _, digest in said}) > 1}
    assert len(conflicting) == 1
    (name,) = conflicting
    assert name.endswith(".dmg")
    strict, lenient = guix_decision(votes[name], 10, 14, 0), guix_decision(votes[name], 10, 14, 1)
    assert type(strict) is Disputed
    assert type(lenient) is Reached
    assert (len(lenient.tally.agreeing), len(lenient.tally.dissenting), lenient.tally.equivocating) == (12, 1, NO_ONE)


def test_real_votes_without_conflict_are_reached_at_eight_of_fourteen(real_input):
    votes = guix_votes(real_input("guix-sigs/22.0rc3"))
    agreed = {name for name, said in votes.items() if len({digest for _, _, digest in said}) == 1}
    assert len(agreed) > 20
    for name in agreed:
        decision = guix_decision(votes[name], 8, 14, 0)
        builders = {builder for builder, _, _ in votes[name]}
        assert type(decision) is (Reached if len(builders) >= 8 else Pending), name


def test_real_votes_builders_that_list_one_file_twice_with_two_hashes_vote_for_neither(real_input):
    votes = guix_votes(real_input("guix-sigs/23.0rc1"))
    conflicting = {name: said for name, said in votes.items() if len({digest for _, _, digest in said}) > 1}
    assert len(conflicting) == 2
    for said in conflicting.values():
        decision = guix_decision(said, 6, 11, 5)
        twice = {b for b, _, _ in said if len({digest for c, _, digest in said if b == c}) > 1}
        assert len(twice) >= 11
        assert decision.tally.equivocating == twice
        assert not decision.tally.agreeing & twice
        assert type(decision) is Disputed


# ------------------------------------------------------------------------------------------------ disputes that people end


def test_a_dispute_is_ended_in_favour_of_what_has_n_votes_all_the_same():
    disputed = decided([claim("a1"), claim("b1"), claim("c1", BAD)])
    ended = in_favour_of(disputed, GOOD)
    assert isinstance(ended, Reached)
    assert (ended.agreed.sha256, ended.tally) == (GOOD, disputed.tally)


NOT_ENDED = [
    ("of the dissent", [claim("a1"), claim("b1"), claim("c1", BAD)], {}, BAD),
    ("of bytes that nobody states", [claim("a1"), claim("b1"), claim("c1", BAD)], {}, UGLY),
    ("of one below n", [claim("a1"), claim("c1", BAD)], {}, GOOD),
    ("of one below n beside an equivocator", [claim("a1"), claim("b1"), claim("b2", BAD)], {}, GOOD),
    ("of a tie", [claim("a1"), claim("b1"), claim("c1", BAD), claim("d1", BAD)], {"of": tier(3, 5)}, GOOD),
    ("where a required operator is missing", [claim("a1"), claim("b1"), claim("c1", BAD)], {"of": tier(required="c")}, GOOD),
    ("of n where one of them is suspended", [claim("a1"), claim("b1"), claim("c1", BAD)], {"under": policy(suspended="b")}, GOOD),
    ("of n where one took it back", [claim("a1"), claim("b1"), claim("c1", BAD)], {"withdrawn": taken_back(claim("b1"))}, GOOD),
]  # fmt: skip


@pytest.mark.parametrize(
    ("claims", "arguments", "sha256"), [row[1:] for row in NOT_ENDED], ids=[row[0] for row in NOT_ENDED]
)
def test_a_dispute_is_not_ended_in_favour(claims, arguments, sha256):
    disputed = decided(claims, **arguments)
    assert isinstance(disputed, Disputed)
    assert in_favour_of(disputed, sha256) is disputed


@given(any_cases, st.sampled_from([GOOD, BAD, UGLY]))
def test_law_only_dissent_is_overruled(case, sha256):
    """Ended in favour of some bytes, a decision is what it would be if the tier allowed any dissent, and else it is as it was."""
    tier_, policy_, claims, withdrawn = case
    decision = evaluate(*case, NOON)
    ended = in_favour_of(decision, sha256)
    if ended is decision:
        return
    patient = dataclasses.replace(tier_, dissent_limit=len(NAMES))
    assert isinstance(decision, Disputed)
    assert ended == evaluate(patient, policy_, claims, withdrawn, NOON)
    assert (ended.agreed.sha256, len(ended.tally.agreeing) >= tier_.threshold) == (sha256, True)


@given(any_cases)
def test_law_a_dispute_holds_what_would_be_reached_without_it(case):
    tier_, *rest = case
    decision = evaluate(*case, NOON)
    patient = evaluate(dataclasses.replace(tier_, dissent_limit=len(NAMES)), *rest, NOON)
    if isinstance(decision, Disputed):
        assert decision.overruled == (patient if isinstance(patient, Reached) else None)
    else:
        assert patient == decision
