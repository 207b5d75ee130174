"""Who counts as dissenting, and how loud it becomes."""

import pytest

from attestor.core.dissent import Alarm, alarm_at, dissenters
from attestor.core.quorum import Disputed, Pending, Tally


def tally(agreeing="", dissenting="", equivocating="", failed=""):
    return Tally(2, None, *map(frozenset, (agreeing, dissenting, equivocating, failed)), frozenset(), frozenset())


@pytest.mark.parametrize(
    ("weighed", "who"),
    [
        pytest.param(tally(), "", id="nobody said anything"),
        pytest.param(tally("a"), "", id="one alone"),
        pytest.param(tally("a", "b"), "", id="one against one: nobody can say who dissents"),
        pytest.param(tally("ab", "c"), "c", id="one against two"),
        pytest.param(tally("ab", "cd"), "", id="two against two"),
        pytest.param(tally("ab", "cde"), "", id="the largest camp has more against it than for it"),
        pytest.param(tally("abc", "de"), "de", id="two against three, whether of one mind or not"),
        pytest.param(tally("", "", "a"), "a", id="against itself alone"),
        pytest.param(tally("a", "b", "c"), "c", id="against itself, while others are one against one"),
        pytest.param(tally("ab", "c", "d"), "cd", id="against others, and against itself"),
        pytest.param(tally("ab", failed="c"), "", id="a failed build is no dissent"),
    ],
)
@pytest.mark.parametrize("outcome", [Pending, Disputed])
def test_who_dissents(weighed, who, outcome):
    assert dissenters(outcome(weighed)) == frozenset(who)


@pytest.mark.parametrize(
    ("count", "limit", "alarm"),
    [
        (0, 1, Alarm.NONE),
        (1, 1, Alarm.WARNING),
        (2, 1, Alarm.CRITICAL),
        (25, 50, Alarm.NONE),
        (26, 50, Alarm.WARNING),
        (50, 50, Alarm.WARNING),
        (51, 50, Alarm.CRITICAL),
    ],
)
def test_how_loud_it_is(count, limit, alarm):
    assert alarm_at(count, limit) is alarm
