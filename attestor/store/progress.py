"""How far the log has come, for readiness and metrics."""

from dataclasses import dataclass
from typing import Final

from attestor.core.errors import Missing
from attestor.service.ports import HeldRequests
from attestor.store.pool import Pool, translated
from attestor.store.queries import queries

_SQL: Final = queries("progress.sql")


@dataclass(frozen=True, slots=True)
class LogProgress:
    """How the log stands."""

    size: int
    """Of the tree, in entries."""
    published: int
    held_seconds: float | None
    """For how long the oldest checkpoint waits to be published; ``None`` when none does."""
    backlog_seconds: float | None
    """For how long the oldest entry waits to be appended; ``None`` when none does."""
    refused: int
    """How many rows of the outbox could be no entry: anything but 0 is a defect or an attack."""


async def log_progress(pool: Pool) -> LogProgress:
    """Raises ``Unavailable``, ``Missing`` ``log-empty``."""
    with translated():
        row = await pool.fetchrow(_SQL["progress"])
    if row is None:
        raise Missing("log-empty", "The database holds no log: run attestor migrate.")
    return LogProgress(**row)


async def held_requests(pool: Pool) -> list[HeldRequests]:
    """What keeps requests from their signatures, the most frequent first. Raises ``Unavailable``."""
    with translated():
        return [HeldRequests(**row) for row in await pool.fetch(_SQL["held"])]
