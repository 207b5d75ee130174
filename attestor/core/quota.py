"""How many signatures a calendar period may have (design §7). Periods are UTC and begin at midnight; weeks begin on Monday."""

from calendar import isleap, monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

MAX_QUOTA: Final = 1_000_000
_LAST: Final = datetime.max.replace(tzinfo=UTC)


class Period(StrEnum):
    """What a quota counts by."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class Window:
    """One calendar period: its name, as log entries and people write it, its beginning, and when the next one opens.

    The last ones that a calendar has end with it: who reads a log must take whatever times stand in it.
    """

    name: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Quota:
    """At most *limit* releases are signed in each *period*."""

    limit: int
    period: Period

    def window(self, moment: datetime) -> Window:
        """The period in which *moment* (aware) lies."""
        return window_of(self.period, moment)


def window_of(period: Period, moment: datetime) -> Window:
    """The calendar period around *moment*: ``2026-11-21``, ``2026-W47`` (ISO 8601), ``2026-11``, ``2026``."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case Period.DAY:
            return _window(f"{day:%Y-%m-%d}", day, 1)
        case Period.WEEK:
            return _window(f"{day:%G-W%V}", day - timedelta(days=day.weekday()), 7)
        case Period.MONTH:
            return _window(f"{day:%Y-%m}", day.replace(day=1), monthrange(day.year, day.month)[1])
        case Period.YEAR:
            return _window(f"{day:%Y}", day.replace(month=1, day=1), 366 if isleap(day.year) else 365)


def may_count_in(period: Period, moment: datetime, name: str) -> bool:
    """Whether a decision made at *moment* may count in the period *name*: in its own, or in a later one that others opened."""
    own = window_of(period, moment).name
    return len(name) == len(own) and name >= own


def _window(name: str, start: datetime, days: int) -> Window:
    return Window(name, start, start + min(timedelta(days=days), _LAST - start))
