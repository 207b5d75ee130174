"""P3: one operator, one vote; and a key that was stolen, and revoked since, takes nothing back."""

import pytest

from tests.attacks.conftest import GOOD
from tests.service.makers import BUILDER, asking, make_policy, package, payload_digest, vote, withdrawal

OTHER = b"other bytes"
TAKE_BACK = "INSERT INTO withdrawals VALUES ('alice', $1, $2, 'r', $3, now())"


async def asked(scene, *envelopes):
    scene.place(package())
    for envelope in envelopes:
        await scene.gate.admit(envelope)
    await scene.gate.ask(BUILDER, asking(package(), GOOD))


async def signed_by_force(scene, policy=None):
    """The API's role says that all is agreed; the signer's answer."""
    await scene.as_api("UPDATE signing_requests SET state = 'queued'")
    if policy:
        await scene.loads(policy)
    await scene.sign()
    return await scene.standing()


ONE_OPERATOR = {
    "two keys": [vote(package(), GOOD, "alice"), vote(package(), GOOD, "alice-2")],
    "two keys under one envelope": [vote(package(), GOOD, "alice", "alice-2")],
    "many payloads for the same bytes": [vote(package(), GOOD, "alice", log=b"%d" % n) for n in range(8)],
    "one signature many times": [vote(package(), GOOD, *["alice"] * 16)],
    "two keys for two payloads": [vote(package(), GOOD, "alice"), vote(package(), GOOD, "alice-2", log=b"2")],
}


@pytest.mark.parametrize("attack", ONE_OPERATOR)
async def test_one_operator_is_one_vote_with(scene, attack):
    await asked(scene, *ONE_OPERATOR[attack])
    assert await signed_by_force(scene) == ("waiting", "not-reached")
    assert await scene.signatures() == 0


async def test_one_operators_envelope_stored_under_all_operators_names_is_one_vote(scene):
    await asked(scene, vote(package(), GOOD, "alice"))
    for name in ("bob", "carol"):
        await scene.as_api(
            "INSERT INTO envelopes SELECT $1, payload_digest, body, received_at FROM envelopes LIMIT 1", name
        )
        await scene.as_api(
            """INSERT INTO claims SELECT release_id, $1, payload_digest, form, keys, outcome, sha256, sha512, size,
               received_at FROM claims LIMIT 1""",
            name,
        )
    assert await signed_by_force(scene) == ("waiting", "not-reached")


async def test_a_stolen_and_revoked_key_ends_no_dispute_by_withdrawing_the_dissent(scene):
    await asked(scene, vote(package(), GOOD, "bob", "carol"), vote(package(), OTHER, "alice"))
    taken = payload_digest(package(), OTHER)
    await scene.as_api(TAKE_BACK, taken, bytes.fromhex(package().id), withdrawal(package(), taken, "alice-2"))
    assert await signed_by_force(scene, make_policy(serial=2, revoked=["alice-2"])) == ("waiting", "disputed")
    assert await scene.signatures() == 0


async def test_a_stolen_and_revoked_key_settles_no_equivocation_into_a_vote(scene):
    await asked(scene, vote(package(), GOOD, "alice", "bob"), vote(package(), OTHER, "alice"))
    taken = payload_digest(package(), OTHER)
    await scene.as_api(TAKE_BACK, taken, bytes.fromhex(package().id), withdrawal(package(), taken, "alice-2"))
    policy = make_policy(serial=2, revoked=["alice-2"], dissent_limit=1)
    assert await signed_by_force(scene, policy) == ("waiting", "not-reached")
    assert await scene.signatures() == 0


async def test_a_vote_taken_back_stays_so_when_the_key_that_took_it_back_is_revoked(scene):
    await asked(scene, vote(package(), GOOD, "alice", "bob"))
    await scene.gate.admit(withdrawal(package(), payload_digest(package(), GOOD), "alice-2"))
    standing = await signed_by_force(scene, make_policy(serial=2, revoked=["alice-2"], dissent_limit=1))
    assert standing == ("waiting", "not-reached")
    assert await scene.signatures() == 0


async def test_a_withdrawal_by_a_valid_key_of_the_operator_does_end_the_dispute(scene):
    await asked(scene, vote(package(), GOOD, "bob", "carol"), vote(package(), OTHER, "alice"))
    await scene.gate.admit(withdrawal(package(), payload_digest(package(), OTHER), "alice-2"))
    await scene.sign()
    assert await scene.standing() == ("signed", "signed")
