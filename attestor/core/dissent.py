"""Who stands against what most operators state: what is counted by operator, and alarms when it becomes much."""

from enum import IntEnum

from attestor.core.quorum import Decision


class Alarm(IntEnum):
    """How loud it is said."""

    NONE = 0
    WARNING = 1
    """More than half of the limit."""
    CRITICAL = 2
    """Over the limit."""


def alarm_at(count: int, limit: int) -> Alarm:
    """How loud *count* dissents in an hour are, where *limit* are borne."""
    if count > limit:
        return Alarm.CRITICAL
    return Alarm.WARNING if 2 * count > limit else Alarm.NONE


def dissenters(decision: Decision) -> frozenset[str]:
    """Operators that contradict themselves, and those against bytes that more operators state than state others.

    While no bytes have more operators for than against them, nobody can say who dissents: whichever are named as the
    candidate then are so by their value alone, and an honest operator must not be counted for coming second.
    """
    tally = decision.tally
    outvoted = tally.dissenting if len(tally.agreeing) > len(tally.dissenting) else frozenset()
    return outvoted | tally.equivocating
