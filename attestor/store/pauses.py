"""Tiers that an operator of the service has paused, and what waits in each, as the owner of the tables."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attestor.store.pool import Pool, translated
from attestor.store.queries import queries

_SQL: Final = queries("pauses.sql")


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is not settled in one tier, by state, and since when, by whom and why the tier is paused."""

    tier: str
    queued: int
    waiting: int
    claimed: int
    aside: int
    paused_at: datetime | None
    paused_by: str | None
    reason: str | None


class Pauses:
    """Pausing stops what is not claimed yet; what a signer has begun, it ends."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def backlog(self) -> list[Backlog]:
        """Of every tier that has something open, or is paused."""
        with translated():
            return [Backlog(**row) for row in await self._pool.fetch(_SQL["backlog"])]

    async def pause(self, tier: str, reason: str, by: str) -> bool:
        """Say whether the tier was not paused before."""
        with translated():
            return await self._pool.fetchval(_SQL["pause"], tier, reason, by) is not None

    async def resume(self, tier: str) -> bool:
        """Say whether the tier was paused."""
        with translated():
            return bool(await self._pool.fetch(_SQL["resume"], tier))

    async def retry_aside(self, tier: str) -> int:
        """Put back everything that was set aside in the tier; return how much that was."""
        with translated():
            count: int = await self._pool.fetchval(_SQL["retry_aside"], tier)
        return count
