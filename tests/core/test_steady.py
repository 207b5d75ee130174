"""A clock that goes on as clocks do, and one that was set."""

from datetime import UTC, datetime, timedelta

import pytest

from attestor.core.errors import Halted
from attestor.core.steady import ClockMark, refuse_jump

DAY = timedelta(days=1)
KNOWN = ClockMark("boot one", 1000.0, datetime(2026, 11, 21, tzinfo=UTC))


def later(moved, passed=None, boot="boot one"):
    return ClockMark(boot, 1000.0 + (moved if passed is None else passed).total_seconds(), KNOWN.moment + moved)


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(later(timedelta(0)), id="at once"),
        pytest.param(later(100 * DAY), id="a hundred days of running"),
        pytest.param(later(timedelta(seconds=3), timedelta(seconds=50)), id="drift"),
        pytest.param(later(6 * DAY, timedelta(0), "boot two"), id="off for some days"),
        pytest.param(later(timedelta(seconds=-30), timedelta(0), "boot two"), id="a little back over a start"),
    ],
)
def test_goes_on(now):
    refuse_jump(KNOWN, now)


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(later(30 * DAY, timedelta(seconds=5)), id="a month ahead"),
        pytest.param(later(-DAY, timedelta(seconds=5)), id="a day back"),
        pytest.param(later(timedelta(0), DAY), id="it stood still"),
        pytest.param(later(8 * DAY, timedelta(0), "boot two"), id="off for too long to tell"),
        pytest.param(later(-DAY, timedelta(0), "boot two"), id="back over a start"),
    ],
)
def test_was_set(now):
    with pytest.raises(Halted) as raised:
        refuse_jump(KNOWN, now)
    assert raised.value.code == "clock-jumped"
