"""Signed releases that rest on a revoked key: which votes, and whether it would still be agreed without them."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from attestor.core.authorisation import named_release
from attestor.core.claims import Claim, Outcome
from attestor.core.entries import CountedVote, DecisionEntry, NamedArtifact, NamedPolicy
from attestor.core.keys import parse_public_key
from attestor.core.policyfile import parse_policy
from attestor.core.suspects import Chosen, Signed, resting
from attestor.core.views import suspect_line
from tests.service.makers import _public_pem, make_policy, package

P, GOOD, OTHER = package(), b"g" * 32, b"o" * 32
NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def fingerprint(name):
    return parse_public_key(_public_pem(name)).fingerprint


def policy(*, since=None, old="", new="", **changes):
    """Revoked on the first day of 2026; *since* is when each revoked key is compromised since."""
    text = make_policy(serial=2, **changes).raw.decode().replace(old, new)
    if since is not None:
        text = text.replace("revoked =", f"compromised_since = {since:%Y-%m-%dT%H:%M:%SZ}\nrevoked =")
    return parse_policy(text.encode(), "policy.toml")


def payload(label):
    return hashlib.sha256(label.encode()).digest()


def claim(label, *keys, at=NOON, sha256=GOOD):
    """*label* is the payload's; its operator is that of the first key."""
    operator = keys[0].partition("-")[0]
    names = frozenset(map(fingerprint, keys))
    return Claim(operator, P, payload(label), "rebuild", names, Outcome.BUILT, sha256, None, None, at)


def signed(*claims, counted, withdrawn=()):
    """*counted*: the labels of the counted payloads, by operator."""
    decision = DecisionEntry(
        verdict="sign",
        request="11111111-2222-4333-8444-555555555555",
        number=0,
        release=named_release(P),
        artifact=NamedArtifact(size=1, sha256=GOOD.hex(), sha512="00" * 64),
        tier="packages",
        policy=NamedPolicy(serial=1, digest="00" * 32),
        reason="reached",
        counted=tuple(CountedVote(operator=who, payload=payload(what).hex()) for who, what in counted.items()),
    )
    taken = frozenset((each.operator, each.payload_digest) for each in claims if each.payload_digest in withdrawn)
    return Signed(P, GOOD, 7, decision, tuple(claims), taken)


ALICE, BOB, CAROL = claim("a", "alice"), claim("b", "bob"), claim("c", "carol")
TWO = signed(ALICE, BOB, counted={"alice": "a", "bob": "b"})
THREE = signed(ALICE, BOB, CAROL, counted={"alice": "a", "bob": "b", "carol": "c"})
BOTH_KEYS = signed(claim("a", "alice", "alice-2"), BOB, counted={"alice": "a", "bob": "b"})
TWICE = (claim("a", "alice"), claim("a2", "alice-2", at=NOON + HOUR), BOB)
REVOKED = policy(revoked=["alice"])

LISTED = {
    "a vote that the revoked key alone signed": (TWO, REVOKED, Chosen(), "alice", "bob", False),
    "one of three, and two are enough": (THREE, REVOKED, Chosen(), "alice", "bob carol", True),
    "two of three": (THREE, policy(revoked=["alice", "bob"]), Chosen(), "alice bob", "carol", False),
    "both keys that signed it": (BOTH_KEYS, policy(revoked=["alice", "alice-2"]), Chosen(), "alice", "bob", False),
    "both keys, of which one is gone from the policy": (
        BOTH_KEYS,
        policy(revoked=["alice"], old=_public_pem("alice-2"), new=_public_pem("somebody")),
        Chosen(),
        "alice",
        "bob",
        False,
    ),
    "the same bytes stated since, by a sound key of the operator": (
        signed(*TWICE, counted={"alice": "a", "bob": "b"}),
        REVOKED,
        Chosen(),
        "alice",
        "alice bob",
        True,
    ),
    "stated since, and taken back": (
        signed(*TWICE, counted={"alice": "a", "bob": "b"}, withdrawn=[payload("a2")]),
        REVOKED,
        Chosen(),
        "alice",
        "bob",
        False,
    ),
    "other bytes stated since": (
        signed(ALICE, claim("a2", "alice-2", sha256=OTHER), BOB, counted={"alice": "a", "bob": "b"}),
        REVOKED,
        Chosen(),
        "alice",
        "bob",
        False,
    ),
    "received at the very moment since when it is compromised": (
        TWO, policy(revoked=["alice"], since=NOON), Chosen(), "alice", "bob", False,
    ),
    "enough by number, and the one that the tier requires is not among them": (
        THREE, policy(revoked=["alice"], rules={"required": '["alice"]'}), Chosen(), "alice", "bob carol", False,
    ),
    "under a threshold that is higher by now": (
        THREE, policy(revoked=["alice"], threshold=3), Chosen(), "alice", "bob carol", False,
    ),
    "of a tier that is gone": (THREE, policy(revoked=["alice"], without=["packages"]), Chosen(), "alice", "bob carol", False),
    "the same bytes stated since, by an operator that was not counted": (
        signed(ALICE, BOB, claim("c", "carol", at=NOON + HOUR), counted={"alice": "a", "bob": "b"}), REVOKED, Chosen(), "alice", "bob carol", True,
    ),
    **{
        f"stated since, by an operator that was not counted and {why}": (
            signed(ALICE, BOB, CAROL, counted={"alice": "a", "bob": "b"}, withdrawn=withdrawn),
            policy(revoked=["alice", *revoked], **more),
            Chosen(operator="alice"),
            "alice",
            "bob",
            False,
        )
        for why, withdrawn, revoked, more in (
            ("took it back", [payload("c")], [], {}),
            ("whose key is revoked too", [], ["carol"], {}),
            ("whose key had ended", [], [], {"valid_until": {"carol": "2025-06-01T00:00:00Z"}}),
            ("is suspended", [], [], {"suspended": ["carol"]}),
        )
    },
    "other bytes stated since, by an operator that was not counted": (
        signed(ALICE, BOB, claim("c", "carol", sha256=OTHER), counted={"alice": "a", "bob": "b"}), REVOKED, Chosen(), "alice", "bob", False,
    ),
    "by the operator that was asked for": (
        THREE, policy(revoked=["alice", "bob"]), Chosen(operator="bob"), "bob", "carol", False,
    ),
    "since the moment that was asked for": (
        signed(ALICE, claim("b", "bob", at=NOON - HOUR), CAROL, counted={"alice": "a", "bob": "b", "carol": "c"}),
        policy(revoked=["alice", "bob"]),
        Chosen(since=NOON),
        "alice",
        "carol",
        False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LISTED.values(), ids=LISTED)
def test_it_rests_on_revoked_keys(case):
    one, rules, chosen, suspect, remaining, reached = case
    found = resting(one, rules, chosen)
    assert [vote.claim.operator for vote in found.votes] == suspect.split()
    assert (found.remaining, found.reached) == (frozenset(remaining.split()), reached)
    line = suspect_line(found)
    assert (line.decision, line.id, line.reached, line.remaining) == (7, P.id, reached, tuple(remaining.split()))
    assert all(vote.keys and vote.received_at for vote in line.votes)
    assert ("agreed without them" in line.sentence) == reached


NOT_LISTED = {
    "no key is revoked": (TWO, policy(), Chosen()),
    "another key is revoked": (TWO, policy(revoked=["carol"]), Chosen()),
    "another key of the operator signed it too": (BOTH_KEYS, REVOKED, Chosen()),
    "received before the key was compromised": (TWO, policy(revoked=["alice"], since=NOON + HOUR), Chosen()),
    "received before the moment that was asked for": (TWO, REVOKED, Chosen(since=NOON + HOUR)),
    "of another operator than was asked for": (TWO, REVOKED, Chosen(operator="bob")),
    "it was not counted": (signed(ALICE, BOB, CAROL, counted={"bob": "b", "carol": "c"}), REVOKED, Chosen()),
    "the key has expired, and is not revoked": (TWO, policy(valid_until={"alice": "2025-07-01T00:00:00Z"}), Chosen()),
    "its operator is suspended, and no key is revoked": (TWO, policy(suspended=["alice"]), Chosen()),
}


@pytest.mark.parametrize(("one", "rules", "chosen"), NOT_LISTED.values(), ids=NOT_LISTED)
def test_it_rests_on_none(one, rules, chosen):
    assert resting(one, rules, chosen) is None


def test_the_keys_are_named():
    [vote] = resting(TWO, REVOKED, Chosen()).votes
    assert vote.keys == {fingerprint("alice")}


@pytest.mark.parametrize(
    ("one", "rules", "said"),
    [
        (THREE, REVOKED, "2 of 2 needed operators stand without the revoked keys: bob, carol. It is agreed without them."),
        (TWO, REVOKED, "1 of 2 needed operators stand without the revoked keys: bob. Have it rebuilt and attested; if the bytes differ, revoke the release."),
        (TWO, policy(revoked=["alice", "bob"]), "0 of 2 needed operators stand without the revoked keys: nobody. Have it rebuilt"),
        (THREE, policy(revoked=["alice"], rules={"required": '["alice"]'}), "the tier requires alice among them. Have it rebuilt"),
        (TWO, policy(revoked=["alice"], without=["packages"]), "No tier governs it any more; bob stands without"),
    ],
    ids=["enough", "one too few", "nobody", "a required one", "no tier"],
)  # fmt: skip
def test_what_is_said_of_it(one, rules, said):
    assert said in suspect_line(resting(one, rules, Chosen())).sentence
