"""How far the log has come, for readiness and metrics."""

from dataclasses import dataclass
from typing import Final

from attestor.core.errors import Missing
from attestor.store.pool import Pool, translated
from attestor.store.queries import queries

_SQL: Final = queries("progress.sql")


@dataclass(frozen=True, slots=True)
class LogProgress:
    """Tree sizes, and for how long the oldest checkpoint waits to be published; ``None`` when none does."""

    size: int
    published: int
    held_seconds: float | None


async def log_progress(pool: Pool) -> LogProgress:
    """Raises ``Unavailable``, ``Missing`` ``log-empty``."""
    with translated():
        row = await pool.fetchrow(_SQL["progress"])
    if row is None:
        raise Missing("log-empty", "The database holds no log: run attestor migrate.")
    return LogProgress(**row)
