"""What is remembered of each key: bounded, exact, and used up only by what happened."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.errors import OverRate
from attestor.core.limits import Rate
from attestor.service.allowance import Allowance

SECOND = 10**9
EACH = Rate(per_minute=60, burst=3)


class Clock:
    now = 5 * SECOND

    def __call__(self):
        return self.now


def refusal(key, seconds):
    return OverRate("spent", f"{key} waits.", retry_after=seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def allowance(clock):
    return Allowance(EACH, clock, refusal, keys=8)


def spends(allowance, key):
    """Whether it was let through."""
    try:
        allowance.refuse_spent(key)
    except OverRate:
        return False
    allowance.spend(key)
    return True


def test_each_key_has_its_own_and_is_told_when_to_come_back(allowance, clock):
    assert [spends(allowance, "one") for _ in range(4)] == [True, True, True, False]
    assert spends(allowance, "other")
    with pytest.raises(OverRate) as refused:
        allowance.refuse_spent("one")
    assert refused.value.retry_after == 1
    clock.now += SECOND
    assert [spends(allowance, "one") for _ in range(2)] == [True, False]


def test_what_was_under_way_at_once_is_owed_to_the_last_of_it(allowance, clock):
    for _ in range(100):
        allowance.refuse_spent("one")
    for _ in range(100):
        allowance.spend("one")
    with pytest.raises(OverRate) as refused:
        allowance.refuse_spent("one")
    assert refused.value.retry_after == 98
    clock.now += 98 * SECOND
    assert [spends(allowance, "one") for _ in range(2)] == [True, False]


def test_looking_uses_nothing_up(allowance):
    for _ in range(10):
        allowance.refuse_spent("one")
    assert [spends(allowance, "one") for _ in range(4)] == [True, True, True, False]


def test_what_is_held_counts_while_it_is_and_after_an_error_no_more(allowance):
    with pytest.raises(ValueError), allowance.holding() as hold:  # noqa: PT012 - what happens inside is the point
        hold.take(frozenset({"one"}))
        hold.take(frozenset({"one"}))
        assert [spends(allowance, "one") for _ in range(2)] == [True, False]
        raise ValueError
    assert [spends(allowance, "one") for _ in range(3)] == [True, True, False]


def test_what_was_held_is_used_up_at_the_end(allowance, clock):
    with allowance.holding() as hold:
        for _ in range(3):
            hold.take(frozenset({"one"}))
        clock.now += SECOND  # a slow transaction regains nothing of what it holds
        assert not spends(allowance, "one")
    assert not spends(allowance, "one")


def test_of_several_keys_all_are_held_or_none(allowance):
    while spends(allowance, "b"):
        pass
    with pytest.raises(OverRate), allowance.holding() as hold:
        hold.take(frozenset({"a", "b"}))
    assert [spends(allowance, "a") for _ in range(4)] == [True, True, True, False]


def test_a_key_that_many_others_push_out_is_fresh_and_no_faster(allowance, clock):
    while spends(allowance, "one"):
        pass
    for number in range(100):
        assert spends(allowance, f"other-{number}")
        assert len(allowance) <= 8
    assert [spends(allowance, "one") for _ in range(4)] == [True, True, True, False]


def test_a_key_that_keeps_coming_is_not_pushed_out(allowance):
    while spends(allowance, "one"):
        pass
    for number in range(100):
        spends(allowance, f"other-{number}")
        assert not spends(allowance, "one")


KEYS = st.sampled_from([f"key-{number}" for number in range(12)])
STEPS = st.lists(st.tuples(KEYS, st.integers(0, 2 * SECOND)), max_size=150)


@given(steps=STEPS)
def test_the_bounded_table_refuses_nobody_whom_an_unbounded_one_lets_through(steps):
    """So what it forgets can only be a key's debt, never its burst; between two such moments the law of core holds."""
    clock = Clock()
    bounded, unbounded = Allowance(EACH, clock, refusal, keys=4), Allowance(EACH, clock, refusal, keys=1000)
    for key, pause in steps:
        clock.now += pause
        free = spends(unbounded, key)
        assert spends(bounded, key) or not free
        assert len(bounded) <= 4


@given(steps=STEPS)
def test_where_no_more_keys_come_than_fit_nothing_is_forgotten(steps):
    clock = Clock()
    bounded, unbounded = Allowance(EACH, clock, refusal, keys=26), Allowance(EACH, clock, refusal, keys=1000)
    for key, pause in steps:
        clock.now += pause
        assert spends(bounded, key) == spends(unbounded, key)
