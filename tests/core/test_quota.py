"""Calendar periods of quotas: where each begins and ends, and that every moment lies in exactly one of each kind."""

from datetime import UTC, date, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.entries import DecisionEntry
from attestor.core.quota import Period, Quota, may_count_in, window_of
from tests.core.test_entry_sizes import decision

DAY, WEEK, MONTH, YEAR = Period.DAY, Period.WEEK, Period.MONTH, Period.YEAR


def at(text):
    return datetime.fromisoformat(text)


BORDERS = {
    "the last second of a day": (DAY, "2026-11-21T23:59:59Z", "2026-11-21", "2026-11-21", "2026-11-22"),
    "midnight belongs to the new day": (DAY, "2026-11-22T00:00:00Z", "2026-11-22", "2026-11-22", "2026-11-23"),
    "a leap day": (DAY, "2028-02-29T12:00:00Z", "2028-02-29", "2028-02-29", "2028-03-01"),
    "the last day of a month": (MONTH, "2026-11-30T23:59:59.999999Z", "2026-11", "2026-11-01", "2026-12-01"),
    "the first of a month": (MONTH, "2026-12-01T00:00:00Z", "2026-12", "2026-12-01", "2027-01-01"),
    "a month of 31 days after one of 31": (MONTH, "2026-08-31T00:00:00Z", "2026-08", "2026-08-01", "2026-09-01"),
    "February": (MONTH, "2026-02-28T23:59:59Z", "2026-02", "2026-02-01", "2026-03-01"),
    "February of a leap year": (MONTH, "2028-02-29T00:00:00Z", "2028-02", "2028-02-01", "2028-03-01"),
    "February of a century that is no leap year": (MONTH, "2100-02-28T23:00:00Z", "2100-02", "2100-02-01", "2100-03-01"),
    "the last second of a year": (YEAR, "2026-12-31T23:59:59Z", "2026", "2026-01-01", "2027-01-01"),
    "a leap day's year": (YEAR, "2028-02-29T00:00:00Z", "2028", "2028-01-01", "2029-01-01"),
    "a Monday begins a week": (WEEK, "2026-11-16T00:00:00Z", "2026-W47", "2026-11-16", "2026-11-23"),
    "a Sunday ends it": (WEEK, "2026-11-22T23:59:59Z", "2026-W47", "2026-11-16", "2026-11-23"),
    "New Year's Eve in the next year's first week": (WEEK, "2024-12-31T12:00:00Z", "2025-W01", "2024-12-30", "2025-01-06"),
    "New Year's Day in the last year's 53rd week": (WEEK, "2027-01-01T12:00:00Z", "2026-W53", "2026-12-28", "2027-01-04"),
    "New Year's Day in the last year's 52nd week": (WEEK, "2023-01-01T12:00:00Z", "2022-W52", "2022-12-26", "2023-01-02"),
    "a week with a leap day": (WEEK, "2028-03-01T00:00:00Z", "2028-W09", "2028-02-28", "2028-03-06"),
    "behind UTC, where it is still the day before": (DAY, "2026-11-21T20:00:00-05:00", "2026-11-22", "2026-11-22", "2026-11-23"),
    "ahead of UTC, where it is the next year already": (YEAR, "2027-01-01T05:00:00+14:00", "2026", "2026-01-01", "2027-01-01"),
    "ahead of UTC, where it is the next month already": (MONTH, "2026-12-01T00:30:00+01:00", "2026-11", "2026-11-01", "2026-12-01"),
    "the first year with four digits": (YEAR, "1000-01-01T00:00:00Z", "1000", "1000-01-01", "1001-01-01"),
}  # fmt: skip


@pytest.mark.parametrize(("period", "moment", "name", "start", "end"), BORDERS.values(), ids=BORDERS)
def test_the_period_of(period, moment, name, start, end):
    window = window_of(period, at(moment))
    assert (window.name, window.start, window.end) == (name, at(f"{start}T00:00:00Z"), at(f"{end}T00:00:00Z"))
    assert Quota(3, period).window(at(moment)) == window


@pytest.mark.parametrize("period", Period)
@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59Z", "9999-12-27T00:00:00Z", "9999-12-26T23:59:59Z"])
def test_the_calendars_last_periods_are_periods_too(period, moment):
    window = window_of(period, at(moment))
    assert window.start <= at(moment) < window.end <= datetime.max.replace(tzinfo=UTC)
    assert may_count_in(period, at("9999-12-26T00:00:00Z"), window.name)
    # Rules count by seconds up to the end.
    assert int(at(moment).timestamp()) < int(window.end.timestamp())


def test_a_moment_is_in_the_same_period_whatever_zone_it_is_told_in():
    moment = at("2026-12-31T23:30:00Z")
    for hours in range(-23, 24):
        elsewhere = moment.astimezone(timezone(timedelta(hours=hours)))
        assert {window_of(period, elsewhere).name for period in Period} == {"2026-12-31", "2026-W53", "2026-12", "2026"}


PERIODS = st.sampled_from(Period)
ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1), timezones=ZONES)  # noqa: DTZ001 - of any zone


@given(PERIODS, MOMENTS)
def test_law_a_moment_lies_in_its_period_and_its_period_ends_where_the_next_begins(period, moment):
    window = window_of(period, moment)
    assert window.start <= moment < window.end
    assert window_of(period, window.start) == window_of(period, window.end - timedelta(microseconds=1)) == window
    after = window_of(period, window.end)
    assert (after.start, after.name != window.name) == (window.end, True)
    assert window_of(period, window.start - timedelta(microseconds=1)).end == window.start


@given(PERIODS, MOMENTS, MOMENTS)
def test_law_later_moments_are_in_no_earlier_period_and_names_sort_as_periods_do(period, one, other):
    first, second = sorted((one, other))
    earlier, later = window_of(period, first), window_of(period, second)
    assert earlier.start <= later.start
    assert (earlier.name == later.name) == (earlier.start == later.start)
    assert earlier.name <= later.name


@given(MOMENTS)
def test_law_periods_are_those_of_the_calendar(moment):
    day = moment.astimezone(UTC).date()
    year, week, _ = day.isocalendar()
    names = [window_of(period, moment).name for period in (DAY, WEEK, MONTH, YEAR)]
    assert names == [f"{day}", f"{year:04d}-W{week:02d}", f"{day.year:04d}-{day.month:02d}", f"{day.year:04d}"]
    monday = date.fromisocalendar(year, week, 1)
    assert window_of(WEEK, moment).start.date() == monday


@given(PERIODS, MOMENTS)
def test_law_a_period_is_written_as_a_decision_entry_takes_it(period, moment):
    entry = decision(period=window_of(period, moment).name)
    decoder = msgspec.json.Decoder(DecisionEntry)
    assert decoder.decode(msgspec.json.encode(entry)).period == entry.period


COUNTS = {
    "in its own": (MONTH, "2026-11", True),
    "in the next, which a signer whose clock was ahead has opened": (MONTH, "2026-12", True),
    "in one of the next year": (MONTH, "2027-01", True),
    "in one before its own": (MONTH, "2026-10", False),
    "in one of the year before": (MONTH, "2025-12", False),
    "in a period of another length": (MONTH, "2026", False),
    "in a day, where months are counted": (MONTH, "2026-11-21", False),
    "in a week, where months are counted": (MONTH, "2026-W47", False),
    "in its own week": (WEEK, "2026-W47", True),
    "in the week before": (WEEK, "2026-W46", False),
    "in the next year's first week": (WEEK, "2027-W01", True),
}


@pytest.mark.parametrize(("period", "name", "counts"), COUNTS.values(), ids=COUNTS)
def test_a_decision_of_the_21st_of_november_2026_may_count(period, name, counts):
    assert may_count_in(period, at("2026-11-21T12:00:00Z"), name) is counts
