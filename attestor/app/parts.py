"""Probes of the parts that a process rests on, for ``/readyz``."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from attestor.core.wire import PartHealth
from attestor.store.pool import Pool, clock

Probe = Callable[[], Awaitable[PartHealth]]


def database_probe(pool: Pool, now: Callable[[], datetime]) -> Probe:
    """The database answers, and its clock agrees with ours."""

    async def database() -> PartHealth:
        skew = abs((await clock(pool) - now()).total_seconds())
        return PartHealth(part="database", ready=skew <= 5, age_seconds=0.0, detail=f"clock differs by {skew:.3f} s")

    return database
