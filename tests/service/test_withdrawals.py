"""Who takes a vote back, and who again: a withdrawal whose key does not count any more takes the place of no other."""

import hashlib

import pytest

from attestor.core.entries import WithdrawalEntry
from attestor.core.entrybytes import read_entry
from attestor.core.errors import Forbidden, Missing
from tests.service.makers import lines_of, make_policy, package, payload_digest, vote, withdrawal

GOOD, OTHER = b"the package", b"another package"
STATED = payload_digest(package(), OTHER)
FIRST = withdrawal(package(), STATED, "alice-2")
ENDED = {"alice-2": "2026-01-01T00:00:00Z"}


def again(*keys, reason="The build host was broken."):
    return withdrawal(package(), STATED, *keys, reason=reason)


async def kept(ground):
    """The withdrawals as stored, and as the log names them."""
    rows = await ground.sql("SELECT sha256(body) AS envelope FROM withdrawals ORDER BY withdrawn_at")
    await ground.settled()
    logged = await ground.sql("SELECT entry FROM log_entries WHERE kind = 'withdrawal' ORDER BY idx")
    entries = [read_entry(row["entry"]) for row in logged]
    assert {(entry.operator, entry.payload, entry.release) for entry in entries} <= {
        ("alice", STATED.hex(), package().id)
    }
    assert all(isinstance(entry, WithdrawalEntry) for entry in entries)
    stored = [row["envelope"].hex() for row in rows]
    assert stored == [entry.envelope for entry in entries]
    return stored


def digests(*bodies):
    return [hashlib.sha256(body).hexdigest() for body in bodies]


async def standing(gate):
    """The decision, and why alice's vote does not count."""
    shown = await gate.release(package().id)
    [reason] = [each.reason for each in shown.votes if each.operator == "alice"]
    return shown.decision.state, shown.decision.equivocating, reason


async def taken_back(ground):
    """Bob and carol state the same, alice something else, which alice-2 took back; nobody has ended that key yet."""
    gate = await ground.gate()
    await gate.admit(vote(package(), OTHER, "alice"))
    await gate.admit(vote(package(), GOOD, "bob", "carol"))
    assert not (await gate.admit(FIRST)).replay
    assert await standing(gate) == ("reached", (), "withdrawn")


DOUBTED = {"is revoked by now": {"revoked": ["alice-2"]}, "has left the policy": {"removed": ["alice-2"]}}


@pytest.mark.parametrize("change", DOUBTED.values(), ids=DOUBTED)
async def test_an_operator_takes_back_what_a_key_took_back_that(ground, change):
    await taken_back(ground)
    later = await ground.gate(make_policy(serial=2, **change))
    assert await standing(later) == ("disputed", ("alice",), None)
    second = again("alice")
    assert not (await later.admit(second)).replay
    assert await standing(later) == ("reached", (), "withdrawn")
    assert await kept(ground) == digests(FIRST, second)
    # Final as ever: no third one is kept, and the first one's key changes nothing by counting again.
    assert (await later.admit(again("alice", reason="Once more."))).replay
    assert (await later.admit(second)).replay
    healed = await ground.gate(make_policy(serial=3))
    assert (await healed.admit(FIRST)).replay
    assert (await healed.admit(again("alice-2", reason="Once more."))).replay
    assert await standing(healed) == ("reached", (), "withdrawn")
    assert await kept(ground) == digests(FIRST, second)


REPLAYS = {
    "the very same bytes": (FIRST, {}),
    "the same words under another key": (again("alice"), {}),
    "other words under the same key": (again("alice-2", reason="Another one."), {}),
    "both keys beside each other": (again("alice", "alice-2"), {}),
    "a sound key's, once the first one's time is over: its word was final": (again("alice"), {"valid_until": ENDED}),
    "a sound key's, while another key is revoked": (again("alice-2", reason="Once more."), {"revoked": ["alice"]}),
    "a sound key's, while the operator is suspended": (again("alice"), {"suspended": ["alice"]}),
}


@pytest.mark.parametrize(("comes", "change"), REPLAYS.values(), ids=REPLAYS)
async def test_where_a_key_that_counts_took_it_back_this_is_a_replay(ground, comes, change):
    await taken_back(ground)
    later = await ground.gate(make_policy(serial=2, **change))
    before = await standing(later)
    assert (await later.admit(comes)).replay
    assert await standing(later) == before
    assert await kept(ground) == digests(FIRST)


async def test_a_key_stores_one_withdrawal_of_a_vote_however_many_it_sends(ground):
    """So as many as an operator has keys, and a stolen key leaves no less room for the sound one."""
    await taken_back(ground)
    gate = await ground.gate()
    for number in range(40):
        assert (await gate.admit(again("alice-2", reason=f"{number}"))).replay
    later = await ground.gate(make_policy(serial=2, revoked=["alice-2"]))
    for number in range(40, 50):
        with pytest.raises(Forbidden, match="key-revoked"):
            await later.admit(again("alice-2", reason=f"{number}"))
    second = again("alice")
    assert not (await later.admit(second)).replay
    assert await kept(ground) == digests(FIRST, second)


async def test_in_one_transaction_the_first_sound_one_is_kept_and_the_next_is_a_replay(ground):
    await taken_back(ground)
    later = await ground.gate(make_policy(serial=2, revoked=["alice-2"]))
    second, third = again("alice"), again("alice", reason="Once more.")
    answers = [answer async for answer in later.admit_batch(lines_of(second, third, second))]
    assert [answer.replay for answer in answers] == [False, True, True]
    assert await kept(ground) == digests(FIRST, second)


async def test_a_sound_key_beside_a_revoked_one_in_the_same_envelope_takes_it_back(ground):
    await taken_back(ground)
    later = await ground.gate(make_policy(serial=2, revoked=["alice-2"]))
    second = again("alice-2", "alice")
    assert not (await later.admit(second)).replay
    assert await standing(later) == ("reached", (), "withdrawn")
    assert await kept(ground) == digests(FIRST, second)


async def test_another_operators_key_takes_back_nothing_that_is_in_doubt(ground):
    await taken_back(ground)
    later = await ground.gate(make_policy(serial=2, revoked=["alice-2"]))
    with pytest.raises(Missing, match="payload-unknown"):
        await later.admit(again("bob"))
    assert await standing(later) == ("disputed", ("alice",), None)
    assert await kept(ground) == digests(FIRST)
