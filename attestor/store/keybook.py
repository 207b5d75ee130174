"""What is shown of release keys, on PostgreSQL (port ``KeyBook``): how they stand, and their canaries."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from attestor.service.keyports import Canary, CanaryClock, KeyStanding
from attestor.store.pool import Pool, translated
from attestor.store.queries import queries

KEPT: Final = 20
"""Canaries of each key; older ones are named by the log alone."""
_SQL: Final = queries("keybook.sql")


class PostgresKeyBook:
    """See the port for its promises."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def stands(self, keys: Sequence[KeyStanding]) -> None:
        with translated():
            await self._pool.execute(
                _SQL["stands"],
                [key.name for key in keys],
                [key.fingerprint for key in keys],
                [key.certificate for key in keys],
                [key.counted for key in keys],
                [key.operations for key in keys],
                [key.stopped for key in keys],
            )

    async def canary_clock(self) -> CanaryClock:
        with translated():
            [row] = await self._pool.fetch(_SQL["canary_clock"])
        return CanaryClock(row["now"], row["wanted"], dict(map(tuple, row["made"])))

    async def keep_canary(self, canary: Canary) -> None:
        with translated():
            await self._pool.execute(
                _SQL["keep_canary"], canary.key_fingerprint, canary.index, canary.created, canary.signature, KEPT
            )


async def release_keys(pool: Pool) -> list[KeyStanding]:
    """As a signer said last, by name. Raises ``Unavailable``."""
    with translated():
        rows = await pool.fetch(_SQL["release_keys"])
    return [KeyStanding(**row) for row in rows]


async def canaries(pool: Pool) -> list[Canary]:
    """The last one of each key. Raises ``Unavailable``."""
    with translated():
        rows = await pool.fetch(_SQL["canaries"])
    return [Canary(row["key_fingerprint"], row["idx"], row["created"], row["signature"]) for row in rows]


async def want_canaries(owner: Pool) -> datetime:
    """Ask every signer for canaries, as the owner; when that was. Raises ``Unavailable``."""
    with translated():
        moment: datetime = await owner.fetchval(_SQL["want"])
    return moment


async def made_since(owner: Pool, moment: datetime) -> dict[str, bool]:
    """By key name, whether a canary was kept after that moment. Raises ``Unavailable``."""
    with translated():
        rows = await owner.fetch(_SQL["made_since"], moment)
    return {row["name"]: row["made"] for row in rows}
