"""The law of a rate with a burst, and as whom a peer is counted."""

from bisect import bisect_left

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.limits import FRESH, Rate, after_one, peer_of, retry_after, wait_before

SECOND = 10**9
RATES = st.builds(Rate, per_minute=st.floats(0.01, 100_000), burst=st.integers(1, 50))
PAUSES = st.lists(st.integers(0, 20 * SECOND) | st.integers(0, 1000), max_size=80)


def moments(pauses):
    now = 5 * SECOND
    for pause in pauses:
        now += pause
        yield now


def passed(rate, pauses):
    whole_at, through = FRESH, []
    for now in moments(pauses):
        if not wait_before(rate, whole_at, now):
            whole_at = after_one(rate, whole_at, now)
            through.append(now)
    return through


@given(rate=RATES, pauses=PAUSES)
def test_no_window_lets_more_through_than_the_burst_and_its_share_of_the_rate(rate, pauses):
    through = passed(rate, pauses)
    for first, start in enumerate(through):
        for last in range(first, len(through)):
            # Exact: in integers, with the interval that the rate is rounded to.
            assert last - first + 1 <= rate.burst + (through[last] - start) // rate.interval


@given(rate=RATES, pauses=PAUSES)
def test_the_whole_burst_passes_at_once_after_a_pause_that_makes_it_whole(rate, pauses):
    through = passed(rate, [*pauses, rate.burst * rate.interval, *[0] * rate.burst])
    last = through[-1]
    assert len(through) - bisect_left(through, last) == rate.burst


@given(rate=RATES, pauses=PAUSES, held=st.integers(0, 5))
def test_who_comes_back_after_retry_after_passes_and_a_second_less_is_too_early(rate, pauses, held):
    held = min(held, rate.burst)
    whole_at, now = FRESH, 5 * SECOND
    for now in moments(pauses):
        if not wait_before(rate, whole_at, now, held=held):
            whole_at = after_one(rate, whole_at, now)
    seconds = retry_after(wait_before(rate, whole_at, now, held=held))
    for _ in range(held):  # what was under way has come to its end meanwhile
        whole_at = after_one(rate, whole_at, now)
    assert not wait_before(rate, whole_at, now + seconds * SECOND)
    assert seconds == 1 or wait_before(rate, whole_at, now + (seconds - 1) * SECOND)


def test_the_rate_is_never_rounded_up():
    rate = Rate(per_minute=7, burst=1)
    assert rate.interval * 7 >= 60 * SECOND
    assert (rate.interval - 1) * 7 < 60 * SECOND


@pytest.mark.parametrize("per_minute", [0, -1, 1e-300, 0.009, float("inf"), float("nan")])
def test_a_rate_that_cannot_be_counted_is_none(per_minute):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"per_minute": per_minute, "burst": 1}, Rate)


@pytest.mark.parametrize(("wait", "said"), [(1, 1), (SECOND, 1), (SECOND + 1, 2), (59 * SECOND, 59)])
def test_a_wait_is_said_in_whole_seconds_rounded_up(wait, said):
    assert retry_after(wait) == said


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        pytest.param("192.0.2.7", "192.0.2.7", id="IPv4 is itself"),
        pytest.param("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", id="IPv6 is its /64"),
        pytest.param("2001:db8:1:2::", "2001:db8:1:2::/64", id="another host of it"),
        pytest.param("2001:db8:1:3::1", "2001:db8:1:3::/64", id="the next /64 is somebody else"),
        pytest.param("::ffff:192.0.2.7", "192.0.2.7", id="IPv4 in IPv6"),
        pytest.param("fe80::1%eth0", "fe80::/64", id="with a zone"),
        pytest.param("unix:1000", "unix:1000", id="a user of the host"),
        pytest.param("", "", id="nobody knows"),
    ],
)
def test_a_peer_is_counted_as(address, counted):
    assert peer_of(address) == counted
