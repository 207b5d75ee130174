"""How much each operator dissents: the last hour of it, as one API process took it in.

Held per process and lost with it: of several processes each sees its share. At most 61 numbers are held for each operator that
had a key in a policy of this process.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from attestor.core.dissent import Alarm, alarm_at

Ticks = Callable[[], int]
"""Nanoseconds of a clock that never steps back."""

_MINUTE: Final = 60 * 10**9
_MINUTES: Final = 60


@dataclass(frozen=True, slots=True)
class Dissent:
    """One operator's on one release, just committed."""

    operator: str
    release_id: str


class Lookout(Protocol):
    """Is told of what people should look at, once it is committed; returns at once and raises nothing."""

    def dissented(self, dissents: Sequence[Dissent]) -> None:
        """These operators dissent on these releases since now; each is told once."""

    def dissented_late(self, dissents: Sequence[Dissent]) -> None:
        """They stated other bytes than a decision entry names: it is logged, and changes nothing."""


@dataclass(frozen=True, slots=True)
class Risen:
    """An operator whose alarm became louder; *count* in the last hour."""

    operator: str
    alarm: Alarm
    count: int


class DissentRate:
    """Counts by the minute, for an hour."""

    def __init__(self, limit: int, ticks: Ticks) -> None:
        self.limit: Final = limit
        """Dissents of one operator in an hour that are borne."""
        self._ticks = ticks
        self._minutes: dict[str, deque[tuple[int, int]]] = {}
        self._said: dict[str, Alarm] = {}

    def counts(self) -> dict[str, int]:
        """By operator, the dissents of the last hour; whoever has none is not in it."""
        for operator in list(self._minutes):
            self._forget(operator)
        return {operator: sum(n for _, n in minutes) for operator, minutes in self._minutes.items()}

    def over(self) -> dict[str, int]:
        """Of these, who is over the limit."""
        return {
            operator: count
            for operator, count in self.counts().items()
            if alarm_at(count, self.limit) is Alarm.CRITICAL
        }

    def add(self, operators: Iterable[str]) -> list[Risen]:
        """Count one dissent each; say whose alarm is louder now than it was said last, and has not been quiet since."""
        risen = []
        now = self._ticks() // _MINUTE
        for operator in operators:
            self._forget(operator)
            minutes = self._minutes.setdefault(operator, deque())
            # Once the hour is quieter, what was said of it is over.
            self._said[operator] = min(self._said.get(operator, Alarm.NONE), self._alarm(operator))
            last, count = minutes.pop() if minutes and minutes[-1][0] == now else (now, 0)
            minutes.append((last, count + 1))
            if (alarm := self._alarm(operator)) > self._said[operator]:
                self._said[operator] = alarm
                risen.append(Risen(operator, alarm, sum(n for _, n in minutes)))
        return risen

    def _alarm(self, operator: str) -> Alarm:
        return alarm_at(sum(n for _, n in self._minutes[operator]), self.limit)

    def _forget(self, operator: str) -> None:
        minutes = self._minutes.get(operator)
        oldest = self._ticks() // _MINUTE - _MINUTES
        while minutes and minutes[0][0] <= oldest:
            minutes.popleft()
        if not minutes:
            self._minutes.pop(operator, None)
            self._said.pop(operator, None)
