"""The lookout of an API process: dissent as metrics, as log lines, and as a part of readiness."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from attestor.api.alarms import DissentMetrics
from attestor.core.dissent import Alarm
from attestor.core.wire import PartHealth
from attestor.service.dissent import Dissent, DissentRate, Risen

_NAMED: Final = 10
"""Releases that one log line names."""

log = structlog.get_logger("attestor.dissent")


class DissentLookout:
    """Counts what was committed, and says so where it is too much. See the port for its promises."""

    def __init__(self, rate: DissentRate, metrics: DissentMetrics) -> None:
        self._rate = rate
        self._metrics = metrics

    def dissented(self, dissents: Sequence[Dissent]) -> None:
        for dissent in dissents:
            self._metrics.recorded(dissent.operator)
        for risen in self._rate.add(dissent.operator for dissent in dissents):
            self._say(risen)

    def dissented_late(self, dissents: Sequence[Dissent]) -> None:
        releases = defaultdict(list)
        for dissent in dissents:
            self._metrics.late(dissent.operator)
            releases[dissent.operator].append(dissent.release_id)
        for operator, named in releases.items():
            log.critical(
                "late dissent",
                operator=operator,
                count=len(named),
                releases=named[:_NAMED],
                detail="A decision to sign stands in the log and these votes change nothing of it. See runbook dissent.md.",
            )

    def _say(self, risen: Risen) -> None:
        say = log.critical if risen.alarm is Alarm.CRITICAL else log.warning
        say("dissent rate", operator=risen.operator, last_hour=risen.count, limit=self._rate.limit)


def dissent_probe(rate: DissentRate) -> Callable[[], Awaitable[PartHealth]]:
    """Who dissents more than the limit. It fails nothing: whoever has stolen a key must not take the service away with it."""

    async def dissent() -> PartHealth:
        detail = f"no operator is over {rate.limit} an hour in this process"
        if over := rate.over():
            named = "; ".join(f"{operator} {count}" for operator, count in sorted(over.items()))
            detail = f"over {rate.limit} in the last hour: {named}. Is a key stolen? See runbook dissent.md"
        return PartHealth(part="dissent", ready=True, age_seconds=0.0, detail=detail)

    return dissent
