"""Dissent by operator: what is counted, once, when it is recorded; and an hour of it."""

from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.dissent import Alarm
from attestor.service.dissent import DissentRate
from tests.service.makers import lines_of, make_policy, package, payload_digest, vote, withdrawal

GOOD, OTHER, THIRD = b"the package", b"another package", b"a third package"
MINUTE = 60 * 10**9
P, Q = package(), package("other")


def of(*operators, release=P):
    return [(operator, release.id) for operator in operators]


COMES = {
    "nobody dissents": ([vote(P, GOOD, "alice", "bob", "carol")], of()),
    "one after two that agree": ([vote(P, GOOD, "alice", "bob"), vote(P, OTHER, "carol")], of("carol")),
    "one before two that agree, once the second of them comes": (
        [vote(P, OTHER, "carol"), vote(P, GOOD, "alice"), vote(P, GOOD, "bob")],
        of("carol"),
    ),
    "one against one is nobody's": ([vote(P, GOOD, "alice"), vote(P, OTHER, "carol")], of()),
    "the same again": (
        [vote(P, GOOD, "alice", "bob"), vote(P, OTHER, "carol"), vote(P, OTHER, "carol")],
        of("carol"),
    ),
    "other bytes again, by the same": (
        [vote(P, GOOD, "alice", "bob"), vote(P, OTHER, "carol"), vote(P, THIRD, "carol")],
        of("carol"),
    ),
    "on two releases": (
        [*(vote(each, GOOD, "alice", "bob") for each in (P, Q)), *(vote(each, OTHER, "carol") for each in (P, Q))],
        [*of("carol"), *of("carol", release=Q)],
    ),
    "one that agreed and contradicts itself": (
        [vote(P, GOOD, "alice", "bob"), vote(P, OTHER, "bob")],
        of("bob"),
    ),
    "a failed build": ([vote(P, GOOD, "alice", "bob"), vote(P, None, "carol")], of()),
    "taken back, and stated anew in other words": (
        [
            vote(P, GOOD, "alice", "bob"),
            vote(P, OTHER, "carol"),
            withdrawal(P, payload_digest(P, OTHER), "carol"),
            vote(P, OTHER, "carol", log=b"again"),
        ],
        of("carol", "carol"),
    ),
}


@pytest.mark.parametrize("batch", [False, True], ids=["one by one", "in one batch"])
@pytest.mark.parametrize(("comes", "counted"), COMES.values(), ids=COMES)
async def test_a_dissent_is_counted_once(ground, gate, comes, counted, batch):
    if batch:
        _ = [answer async for answer in gate.admit_batch(lines_of(*comes))]
        # Taken back in the same transaction, the first was never there to be seen.
        counted = list(dict.fromkeys(counted))
    else:
        for each in comes:
            await gate.admit(each)
    assert sorted(ground.lookout.dissents) == sorted(counted)
    assert ground.lookout.late == []


async def test_a_suspended_operator_is_not_counted(ground):
    gate = await ground.gate(make_policy(suspended=["carol"]))
    await gate.admit(vote(P, GOOD, "alice", "bob"))
    await gate.admit(vote(P, OTHER, "carol"))
    assert ground.lookout.dissents == []


async def test_what_was_refused_is_not_counted(ground, gate):
    """Nothing of it is kept: neither votes nor counts."""
    await gate.admit(vote(P, GOOD, "alice", "bob"))
    await ground.sql("REVOKE INSERT ON claims FROM attestor_api")
    try:
        with pytest.raises(Exception, match="refused the statement"):
            await gate.admit(vote(P, OTHER, "carol"))
    finally:
        await ground.sql("GRANT INSERT ON claims TO attestor_api")
    assert ground.lookout.dissents == []


class Clock:
    now = 0

    def __call__(self):
        return self.now


def test_it_is_said_once_for_each_step_up_and_again_after_a_quieter_hour():
    clock = Clock()
    rate = DissentRate(4, clock)
    said = [(risen.alarm, risen.count) for _ in range(8) for risen in rate.add(["carol"])]
    assert said == [(Alarm.WARNING, 3), (Alarm.CRITICAL, 5)]
    assert (rate.counts(), rate.over()) == ({"carol": 8}, {"carol": 8})
    clock.now = 60 * MINUTE
    assert (rate.counts(), rate.over()) == ({}, {})
    said = [risen.alarm for _ in range(8) for risen in rate.add(["carol"])]
    assert said == [Alarm.WARNING, Alarm.CRITICAL]


def test_each_operator_is_counted_by_itself():
    rate = DissentRate(1, Clock())
    assert [(risen.operator, risen.alarm) for risen in rate.add(["a", "b", "a"])] == [
        ("a", Alarm.WARNING),
        ("b", Alarm.WARNING),
        ("a", Alarm.CRITICAL),
    ]
    assert (rate.counts(), rate.over()) == ({"a": 2, "b": 1}, {"a": 2})


@given(st.lists(st.integers(0, 20 * MINUTE), min_size=1, max_size=120), st.integers(1, 60))
def test_it_is_the_number_of_the_last_sixty_minutes_in_flat_memory(steps, limit):
    clock, times = Clock(), []
    rate = DissentRate(limit, clock)
    for step in steps:
        clock.now += step
        times.append(clock.now // MINUTE)
        rate.add(["carol"])
        expected = len(times) - bisect_right(times, times[-1] - 60)
        assert rate.counts() == {"carol": expected}
        assert bool(rate.over()) == (expected > limit)
        assert len(rate._minutes["carol"]) <= 61
