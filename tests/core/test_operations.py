"""A key's uses by our count and by the device's: when it stops, and what a person's word changes."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.errors import Conflict
from attestor.core.operations import ABOVE, Acknowledgement, KeyCount, acknowledged, met

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
COUNT = st.integers(0, 1 << 40)


def said(operations):
    return Acknowledgement("dora", NOW, "a key ceremony", operations)


@pytest.mark.parametrize(
    ("counted", "operations", "stopped", "missing"),
    [
        pytest.param(0, 0, False, 0, id="a new key"),
        pytest.param(7, 7, False, 0, id="even"),
        pytest.param(7, 5, False, 2, id="below: a call failed, or the device lost its power"),
        pytest.param(7, 8, True, 0, id="one above"),
        pytest.param(0, 1, True, 0, id="a key that was used before anybody counted"),
    ],
)
def test_a_key_stops_exactly_where_the_device_is_above_the_count(counted, operations, stopped, missing):
    key = met(KeyCount("release/packages", counted), operations, NOW)
    assert (key.stopped, key.missing, key.counted, key.operations) == (stopped, missing, counted, operations)
    assert (key.obstacle is not None and key.obstacle.reason == ABOVE) is stopped


def test_a_key_that_stopped_stays_so_whatever_the_device_says_next():
    key = met(met(KeyCount("release/packages", 3), 4, NOW), 0, NOW)
    assert key.stopped
    assert "used 0 times" in key.obstacle.sentence


def test_a_persons_word_is_for_the_number_that_the_device_says_and_no_other():
    key = met(KeyCount("release/packages", 3), 9, NOW)
    with pytest.raises(Conflict, match="hsm-operations-moved"):
        acknowledged(key, said(8))
    free = acknowledged(key, said(9))
    assert (free.stopped, free.counted, free.missing) == (False, 9, 0)
    assert met(free, 10, NOW).stopped


def test_no_word_is_taken_of_a_key_that_nobody_has_read():
    with pytest.raises(Conflict, match="hsm-operations-moved"):
        acknowledged(KeyCount("release/packages", 3), said(3))


@given(COUNT, COUNT, st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
def test_after_a_word_exactly_the_foreign_uses_are_above(counted, operations, since, later, foreign):
    """Calls that were counted after the reading stay counted: they are no reason to stop, and hide no foreign one."""
    key = met(KeyCount("k", counted), operations, NOW)
    key = KeyCount("k", key.counted + since, key.operations, key.counted_then, key.read_at, key.stopped)
    key = acknowledged(key, said(operations))
    key = KeyCount("k", key.counted + later, key.operations, key.counted_then, key.read_at, key.stopped)
    assert met(key, operations + since + later + foreign, NOW).stopped is (foreign > 0)
