"""P1: nothing reaches the device unless n distinct operators attested those bytes under the signer's own policy."""

import pytest

from attestor.core.algorithm import Algorithm
from tests.attacks.conftest import GOOD
from tests.service.makers import BUILDER, asking, iso, make_policy, package, vote
from tests.service.test_ask import hash_state

OTHER = b"other bytes"
BELOW = {
    "nobody": [],
    "one operator": [vote(package(), GOOD, "alice")],
    "one operator and a failed build of another": [vote(package(), GOOD, "alice"), vote(package(), None, "bob")],
    "two operators for two digests": [vote(package(), GOOD, "alice"), vote(package(), OTHER, "bob")],
    "two operators for another package": [vote(package("other"), GOOD, "alice", "bob")],
    "two operators, of whom one contradicts itself": [
        vote(package(), GOOD, "alice", "bob"),
        vote(package(), OTHER, "bob"),
    ],
}


@pytest.mark.parametrize("attack", BELOW)
async def test_the_device_is_not_asked_for_what_was_attested_by(scene, attack):
    scene.place(package())
    for envelope in BELOW[attack]:
        await scene.gate.admit(envelope)
    await scene.gate.ask(BUILDER, asking(package(), GOOD))
    await scene.as_api("UPDATE signing_requests SET state = 'queued'")
    calls = scene.running.operations(Algorithm.ED25519)
    await scene.sign()
    assert (await scene.standing())[0] == "waiting"
    assert scene.running.operations(Algorithm.ED25519) == calls


STRICTER = {
    "a higher threshold": make_policy(serial=2, threshold=3),
    "a revoked key": make_policy(serial=2, revoked=["bob"]),
    "a suspended operator": make_policy(serial=2, suspended=["bob"]),
    "an expired key": make_policy(serial=2, valid_until={"bob": "2026-01-02T00:00:00Z"}),
    "no such tier": make_policy(serial=2, without=["packages"]),
}


@pytest.mark.parametrize("policy", STRICTER.values(), ids=STRICTER)
async def test_what_the_apis_policy_lets_through_the_signers_own_holds_back_with(scene, policy):
    await scene.queued()
    await scene.loads(policy)
    await scene.sign()
    assert (await scene.standing())[0] == "waiting"
    assert await scene.signatures() == 0


async def test_a_hash_state_written_into_a_request_of_a_single_builder_is_refused_by_the_signer(scene):
    await scene.gate.admit(vote(iso(), GOOD, "carol"))
    await scene.gate.ask(BUILDER, asking(iso(), GOOD))
    await scene.ground.sql(
        """UPDATE signing_requests SET content = '{"type":"hashState","state":"' || $1 || '"}'""",
        hash_state(GOOD).state,
    )
    await scene.sign()
    assert await scene.standing() == ("refused", "hash-state-not-allowed")


async def test_a_requester_written_into_a_request_must_be_one_of_the_tier(scene):
    await scene.queued()
    await scene.ground.sql("UPDATE signing_requests SET requester = 'stranger'")
    await scene.sign()
    assert await scene.standing() == ("waiting", "requester-not-allowed")
