"""P3, P8: a stolen key takes its operator's votes back. Once it counts for nothing, the operator's sound key has the last word."""

import pytest

from attestor.core.errors import Forbidden
from tests.attacks.conftest import GOOD
from tests.service.makers import BUILDER, asking, lines_of, make_policy, package, payload_digest, vote, withdrawal
from tests.service.signers import under

P, OTHER = package(), b"other"
THIEF, SOUND = "alice-2", "alice"
ENDS = {"is revoked": {"revoked": [THIEF]}, "leaves the policy": {"removed": [THIEF]}}
ENDING = pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)


def taking_back(content, key, reason="A mistake."):
    return withdrawal(P, payload_digest(P, content), key, reason=reason)


async def ended(scene, end, **rules):
    """The thief's key counts no more, for API and signer; what the API offers from then on."""
    policy = make_policy(serial=2, **end, **rules)
    gate = await scene.ground.gate(policy)
    assert await gate.reevaluate(10) == 1
    scene.signing = under(scene.signing, policy)
    await scene.aware()
    return gate


async def both_say(scene, standing):
    """The API by itself, and the signer when the API's role has it queued all the same."""
    assert await scene.standing() == standing
    await scene.as_api("UPDATE signing_requests SET state = 'queued', not_before = now()")
    await scene.caught_up()
    async with scene.untouched():
        await scene.sign()
    assert await scene.standing() == standing


async def asked(scene, *votes, rules):
    gate = await scene.ground.gate(make_policy(**rules))
    scene.signing = under(scene.signing, make_policy(**rules))
    await scene.aware()
    scene.place(P)
    for each in votes:
        await gate.admit(each)
    opened, _ = await gate.ask(BUILDER, asking(P, GOOD))
    return gate, opened


@ENDING
async def test_a_stolen_key_that_filled_up_what_it_could_locks_the_sound_one_out_of_nothing(scene, end):
    """Three of three agree, alice's vote among them; she takes it back, and the release has two."""
    rules = {"threshold": 3}
    gate, opened = await asked(scene, vote(P, GOOD, "alice", "bob", "carol"), rules=rules)
    assert opened.state == "queued"
    floods = [taking_back(GOOD, THIEF, reason=str(number)) for number in range(50)]
    answers = [answer async for answer in gate.admit_batch(lines_of(*floods))]
    assert [answer.replay for answer in answers] == [False, *[True] * 49]
    assert await scene.standing() == ("waiting", "not-reached")
    later = await ended(scene, end, **rules)
    with pytest.raises(Forbidden):
        await later.admit(taking_back(GOOD, THIEF, reason="Once more."))
    # In doubt: the thief may have said it, so it takes nothing back and nobody agrees by it.
    await both_say(scene, ("waiting", "disputed"))
    assert not (await later.admit(taking_back(GOOD, SOUND))).replay
    await both_say(scene, ("waiting", "not-reached"))
    shown = await later.release(P.id)
    assert {each.operator: each.reason for each in shown.votes} == {"alice": "withdrawn", "bob": None, "carol": None}
    # And attests what it built anew: nothing of the theft is left.
    await later.admit(vote(P, GOOD, SOUND, log=b"rebuilt"))
    await scene.caught_up()
    await scene.sign()
    assert await scene.standing() == ("signed", "signed")


@ENDING
async def test_a_dispute_that_the_thief_ended_is_back_with_the_theft_and_ends_by_the_sound_key(scene, end):
    gate, opened = await asked(scene, vote(P, OTHER, "alice"), vote(P, GOOD, "bob", "carol"), rules={})
    assert (opened.state, opened.reason) == ("waiting", "disputed")
    await gate.admit(taking_back(OTHER, THIEF))
    assert await scene.standing() == ("queued", "queued")
    later = await ended(scene, end)
    await both_say(scene, ("waiting", "disputed"))
    await later.admit(taking_back(OTHER, SOUND))
    await scene.caught_up()
    await scene.sign()
    assert await scene.standing() == ("signed", "signed")


@pytest.mark.parametrize("hidden", [THIEF, SOUND])
async def test_whichever_of_the_two_the_database_hides_the_signer_halts(scene, hidden):
    gate, _ = await asked(scene, vote(P, OTHER, "alice"), vote(P, GOOD, "bob", "carol"), rules={})
    await gate.admit(taking_back(OTHER, THIEF))
    later = await ended(scene, ENDS["is revoked"])
    await later.admit(taking_back(OTHER, SOUND))
    assert await scene.standing() == ("queued", "queued")
    await scene.caught_up()
    await scene.ground.sql("DELETE FROM withdrawals WHERE body = $1", taking_back(OTHER, hidden))
    await scene.halts("withdrawal-withheld")
