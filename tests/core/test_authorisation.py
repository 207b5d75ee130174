"""May this be signed: every single thing that a permit rests on takes it away when it is otherwise."""

import dataclasses
import hashlib
from datetime import UTC, datetime
from uuid import UUID

import pytest

from attestor.core.authorisation import Authorisation, Never, NotNow, Seen, authorise, next_state, standing
from attestor.core.claims import Claim, Outcome
from attestor.core.lifecycle import State
from attestor.core.quorum import evaluate
from attestor.core.requests import SigningRequest
from attestor.core.wire import HashState, Pull, Upload
from tests.service.makers import iso, make_policy, package, secret_key

NOW = datetime(2026, 6, 1, tzinfo=UTC)
GOOD, OTHER = b"the package", b"another package"
POLICY = make_policy()
TIER = POLICY.tier_of(package())


def sha256(content):
    return hashlib.sha256(content).digest()


def sha512(content):
    return hashlib.sha512(content).digest()


def claim(operator, content=GOOD, **changes):
    point = secret_key(operator).public_key().public_bytes_raw()
    [key] = [key for key in POLICY.keys if key.spki.endswith(point)]
    said = {"sha256": sha256(content), "sha512": sha512(content), "size": len(content)} | changes
    return Claim(
        operator=operator,
        release=package(),
        payload_digest=sha256(operator.encode() + content),
        form="rebuild",
        keys=frozenset({key.fingerprint}),
        outcome=Outcome.BUILT,
        received_at=NOW,
        **said,
    )


def decided(*claims, policy=POLICY, tier=TIER):
    return evaluate(tier, policy, claims, frozenset(), NOW)


def request(**changes):
    values = {
        "id": UUID(int=1),
        "release": package(),
        "requester": "build-service",
        "tier": "packages",
        "size": len(GOOD),
        "sha256": sha256(GOOD),
        "sha512": sha512(GOOD),
        "content": Pull("files", "f"),
        "content_present": True,
        "state": State.CLAIMED,
        "reason": "claimed",
        "sentence": "",
        "tries": 1,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return SigningRequest(**(values | changes))


AGREED = decided(claim("alice"), claim("bob"))
SEEN = Seen(len(GOOD), sha256(GOOD), sha512(GOOD))


def permit(asked=None, **changes):
    values = {"policy": POLICY, "tier": TIER, "decision": AGREED, "signed_digest": None, "seen": SEEN, "created": NOW}
    return authorise(asked or request(), **(values | changes))


def test_a_permit_names_exactly_the_agreed_bytes_and_who_agreed():
    assert permit() == Authorisation(
        release=package(),
        tier="packages",
        signing_key="packages",
        size=len(GOOD),
        sha256=sha256(GOOD),
        sha512=sha512(GOOD),
        created=NOW,
        counted=frozenset({"alice", "bob"}),
    )


def test_the_same_digest_signed_before_is_no_obstacle():
    assert isinstance(permit(signed_digest=sha256(GOOD)), Authorisation)


NO_PERMIT = {
    "another digest is signed": (lambda: permit(signed_digest=sha256(OTHER)), Never, "other-digest-signed"),
    "nobody attested": (lambda: permit(decision=decided()), NotNow, "no-claims"),
    "one of two agrees": (lambda: permit(decision=decided(claim("alice"))), NotNow, "not-reached"),
    "one operator says it twice": (
        lambda: permit(decision=decided(claim("alice"), claim("alice", size=None))),
        NotNow,
        "not-reached",
    ),
    "the third dissents": (
        lambda: permit(decision=decided(claim("alice"), claim("bob"), claim("carol", OTHER))),
        NotNow,
        "disputed",
    ),
    "other bytes are agreed": (
        lambda: permit(decision=decided(claim("alice", OTHER), claim("bob", OTHER))),
        NotNow,
        "other-digest-reached",
    ),
    "the asked SHA-512 is another than stated": (
        lambda: permit(request(sha512=sha512(OTHER))),
        NotNow,
        "other-digest-reached",
    ),
    "the asked size is another than stated": (lambda: permit(request(size=5)), NotNow, "other-digest-reached"),
    "one operator states another size beside the same SHA-256": (
        lambda: permit(request(size=5), decision=decided(claim("alice", size=None), claim("bob"))),
        NotNow,
        "other-digest-reached",
    ),
    "the requester may not ask": (lambda: permit(request(requester="stranger")), NotNow, "requester-not-allowed"),
    "the bytes are not there": (
        lambda: permit(request(content=Upload(), content_present=False)),
        NotNow,
        "content-missing",
    ),
    "the measured SHA-256 differs": (
        lambda: permit(seen=dataclasses.replace(SEEN, sha256=sha256(OTHER))),
        Never,
        "content-differs",
    ),
    "the measured SHA-512 differs": (
        lambda: permit(seen=dataclasses.replace(SEEN, sha512=sha512(OTHER))),
        Never,
        "content-differs",
    ),
    "the measured size differs": (lambda: permit(seen=dataclasses.replace(SEEN, size=5)), Never, "content-differs"),
    "SHA-512 is stated by none, and the measured one is not the asked one": (
        lambda: permit(
            request(sha512=sha512(OTHER)),
            decision=decided(claim("alice", sha512=None), claim("bob", sha512=None)),
        ),
        Never,
        "content-differs",
    ),
    "a hash state whose SHA-512 only one operator states": (
        lambda: permit(
            request(content=HashState("")),
            decision=decided(claim("alice"), claim("bob", sha512=None)),
            seen=dataclasses.replace(SEEN, sha256=None),
        ),
        NotNow,
        "sha512-not-agreed",
    ),
    "a hash state of another SHA-512": (
        lambda: permit(request(content=HashState("")), seen=Seen(len(GOOD), None, sha512(OTHER))),
        Never,
        "content-differs",
    ),
    "the tier is not one of the signer's policy": (
        lambda: permit(policy=make_policy(serial=2, dissent_limit=1)),
        NotNow,
        "not-reached",
    ),
}


@pytest.mark.parametrize("case", NO_PERMIT)
def test_there_is_no_permit_when(case):
    ask, kind, reason = NO_PERMIT[case]
    answer = ask()
    assert (type(answer), answer.reason) == (kind, reason)
    assert answer.sentence


def test_a_hash_state_of_agreed_sha512_and_size_is_permitted():
    answer = permit(request(content=HashState("")), seen=dataclasses.replace(SEEN, sha256=None))
    assert isinstance(answer, Authorisation)
    assert answer.sha256 == sha256(GOOD)


def test_a_single_builders_tier_never_takes_a_hash_state():
    tier = POLICY.tier_of(iso())
    answer = standing(request(release=iso(), content=HashState("")), tier, decided(tier=tier), None)
    assert (type(answer), answer.reason) == (Never, "hash-state-not-allowed")


@pytest.mark.parametrize(
    ("obstacle", "state"),
    [(None, State.QUEUED), (NotNow("r", "s"), State.WAITING), (Never("r", "s"), State.REFUSED)],
)
def test_a_request_that_nobody_works_on_stands_where_its_obstacle_puts_it(obstacle, state):
    assert next_state(obstacle) is state
