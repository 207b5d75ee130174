"""May this be signed: every single thing that a permit rests on takes it away when it is otherwise."""

import dataclasses
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import pytest

from attestor.core.authorisation import (
    Authorisation,
    Judgement,
    Seen,
    Weighed,
    authorise,
    judge,
    named_release,
    next_state,
    standing,
)
from attestor.core.entries import DecisionEntry, NamedArtifact, NamedPolicy
from attestor.core.entrybytes import encode_entry
from attestor.core.errors import Halted
from attestor.core.lifecycle import State
from attestor.core.obstacles import Never, NotNow
from attestor.core.past import LoggedDecision, RulesPast
from attestor.core.quorum import evaluate
from attestor.core.wire import HashState, Upload
from tests.core.asked import GOOD, OTHER, claim_at, request_at, sha256, sha512
from tests.service.makers import ORIGIN, iso, make_policy, package

NOW = datetime(2026, 6, 1, tzinfo=UTC)
claim = partial(claim_at, NOW)
request = partial(request_at, NOW)
POLICY = make_policy()
TIER = POLICY.tier_of(package())


def decided(*claims, policy=POLICY, tier=TIER):
    return evaluate(tier, policy, claims, frozenset(), NOW)


AGREED = decided(claim("alice"), claim("bob"))
SEEN = Seen(len(GOOD), sha256(GOOD), sha512(GOOD))


KEY = "A" * 40
NO_PAST = RulesPast(newest=None, used=0, window=None, unspendable=frozenset())


def weighed(*signed, **changes):
    values = {"signed": frozenset(signed), "repeated": False, "past": NO_PAST, "granted": {}, "moment": NOW}
    return Weighed(**(values | changes))


def judged(asked=None, **changes):
    values = {
        "policy": POLICY,
        "tier": TIER,
        "key_fingerprint": KEY,
        "decision": AGREED,
        "weighed": weighed(),
        "seen": SEEN,
    }
    return judge(asked or request(), **(values | changes))


def logged(judgement, **changes):
    """The decision entry that says this judgement, except for *changes*, at index 7."""
    said = {
        "verdict": "sign",
        "request": str(judgement.request.id),
        "number": 0,
        "release": judgement.release,
        "artifact": judgement.artifact,
        "tier": judgement.tier,
        "policy": judgement.policy,
        "reason": "reached",
        "signing_key": judgement.signing_key,
        "key": judgement.key_fingerprint,
        "created": "2026-06-01T00:00:00Z",
    }
    entry = DecisionEntry(**(said | changes))
    return LoggedDecision(7, entry, encode_entry(entry))


def test_a_permit_names_exactly_the_agreed_bytes_and_who_agreed():
    judgement = judged()
    assert judgement == Judgement(
        request=request(),
        policy=NamedPolicy(serial=1, digest=POLICY.digest),
        tier="packages",
        signing_key="packages",
        key_fingerprint=KEY,
        size=len(GOOD),
        sha256=sha256(GOOD),
        sha512=sha512(GOOD),
        reached=AGREED,
        origin=ORIGIN,
        log=f"{ORIGIN}/log",
        created=NOW,
    )
    assert judgement.counted == {"alice", "bob"}


def test_a_permit_has_its_time_and_its_evidence_from_the_log():
    judgement = judged()
    permit = authorise(judgement, logged(judgement))
    assert permit == Authorisation(judgement, NOW, 7)
    assert (permit.sha256, permit.sha512) == (sha256(GOOD), sha512(GOOD))
    assert permit.notation == (f"log-entry@{ORIGIN}", f"{ORIGIN}/log 7")


ELSE = {
    "refuses": {"verdict": "refuse"},
    "is of another request": {"request": str(UUID(int=2))},
    "names another release": {"release": named_release(package("other"))},
    "names other bytes": {"artifact": NamedArtifact(size=5, sha256="0" * 64, sha512="0" * 128)},
    "rests on another policy": {"policy": NamedPolicy(serial=2, digest="0" * 64)},
    "is of another tier": {"tier": "isos"},
    "names another key of the policy": {"signing_key": "isos"},
    "names another certificate": {"key": "B" * 40},
}


@pytest.mark.parametrize("change", ELSE.values(), ids=ELSE)
def test_no_permit_under_a_decision_entry_that(change):
    judgement = judged()
    with pytest.raises(Halted, match="decision-differs"):
        authorise(judgement, logged(judgement, **change))


def test_the_same_digest_signed_before_is_no_obstacle():
    assert isinstance(judged(weighed=weighed(sha256(GOOD))), Judgement)


NO_JUDGEMENT = {
    "another digest is signed": (lambda: judged(weighed=weighed(sha256(OTHER))), Never, "other-digest-signed"),
    "nobody attested": (lambda: judged(decision=decided()), NotNow, "no-claims"),
    "one of two agrees": (lambda: judged(decision=decided(claim("alice"))), NotNow, "not-reached"),
    "one operator says it twice": (
        lambda: judged(decision=decided(claim("alice"), claim("alice", size=None))),
        NotNow,
        "not-reached",
    ),
    "the third dissents": (
        lambda: judged(decision=decided(claim("alice"), claim("bob"), claim("carol", OTHER))),
        NotNow,
        "disputed",
    ),
    "other bytes are agreed": (
        lambda: judged(decision=decided(claim("alice", OTHER), claim("bob", OTHER))),
        NotNow,
        "other-digest-reached",
    ),
    "the asked SHA-512 is another than stated": (
        lambda: judged(request(sha512=sha512(OTHER))),
        NotNow,
        "other-digest-reached",
    ),
    "the asked size is another than stated": (lambda: judged(request(size=5)), NotNow, "other-digest-reached"),
    "one operator states another size beside the same SHA-256": (
        lambda: judged(request(size=5), decision=decided(claim("alice", size=None), claim("bob"))),
        NotNow,
        "other-digest-reached",
    ),
    "the requester may not ask": (lambda: judged(request(requester="stranger")), NotNow, "requester-not-allowed"),
    "the bytes are not there": (
        lambda: judged(request(content=Upload(), content_present=False)),
        NotNow,
        "content-missing",
    ),
    "the measured SHA-256 differs": (
        lambda: judged(seen=dataclasses.replace(SEEN, sha256=sha256(OTHER))),
        Never,
        "content-differs",
    ),
    "the measured SHA-512 differs": (
        lambda: judged(seen=dataclasses.replace(SEEN, sha512=sha512(OTHER))),
        Never,
        "content-differs",
    ),
    "the measured size differs": (lambda: judged(seen=dataclasses.replace(SEEN, size=5)), Never, "content-differs"),
    "SHA-512 is stated by none, and the measured one is not the asked one": (
        lambda: judged(
            request(sha512=sha512(OTHER)),
            decision=decided(claim("alice", sha512=None), claim("bob", sha512=None)),
        ),
        Never,
        "content-differs",
    ),
    "a hash state whose SHA-512 only one operator states": (
        lambda: judged(
            request(content=HashState("")),
            decision=decided(claim("alice"), claim("bob", sha512=None)),
            seen=dataclasses.replace(SEEN, sha256=None),
        ),
        NotNow,
        "sha512-not-agreed",
    ),
    "a hash state of another SHA-512": (
        lambda: judged(request(content=HashState("")), seen=Seen(len(GOOD), None, sha512(OTHER))),
        Never,
        "content-differs",
    ),
    "the tier is not one of the signer's policy": (
        lambda: judged(policy=make_policy(serial=2, dissent_limit=1)),
        NotNow,
        "not-reached",
    ),
}


@pytest.mark.parametrize("case", NO_JUDGEMENT)
def test_there_is_nothing_to_permit_when(case):
    ask, kind, reason = NO_JUDGEMENT[case]
    answer = ask()
    assert (type(answer), answer.reason) == (kind, reason)
    assert answer.sentence


def test_a_hash_state_of_agreed_sha512_and_size_is_permitted():
    answer = judged(request(content=HashState("")), seen=dataclasses.replace(SEEN, sha256=None))
    assert isinstance(answer, Judgement)
    assert answer.sha256 == sha256(GOOD)


def test_a_single_builders_tier_never_takes_a_hash_state():
    tier = POLICY.tier_of(iso())
    answer = standing(request(release=iso(), content=HashState("")), tier, decided(tier=tier))
    assert (type(answer), answer.reason) == (Never, "hash-state-not-allowed")


@pytest.mark.parametrize(
    ("obstacle", "state"),
    [(None, State.QUEUED), (NotNow("r", "s"), State.WAITING), (Never("r", "s"), State.REFUSED)],
)
def test_a_request_that_nobody_works_on_stands_where_its_obstacle_puts_it(obstacle, state):
    assert next_state(obstacle) is state
