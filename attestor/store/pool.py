"""The connection pool, and what PostgreSQL's failures mean to a caller."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

import asyncpg

from attestor.core.errors import AttestorError, Conflict, Unavailable

# Quoted: the driver's classes are generic in its stubs only.
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]"

_SETTINGS: Final = {
    "application_name": "attestor",
    # P4: a 2xx answer means that the commit is on disk.
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "lock_timeout": "5s",
    "statement_timeout": "15s",
    "idle_in_transaction_session_timeout": "15s",
    "timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """How a role reaches its database; the DSN may hold a password, so it is never printed."""

    dsn: str
    connections: int = 8

    def __repr__(self) -> str:
        return f"Settings(connections={self.connections})"


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[Pool]:
    """Open a pool. Raises ``Unavailable`` ``database-unavailable``."""
    with translated():
        pool = await asyncpg.create_pool(
            settings.dsn,
            min_size=1,
            max_size=settings.connections,
            server_settings=_SETTINGS,
            timeout=10,
            reset=_as_it_is,
        )
    try:
        yield pool
    finally:
        await pool.close()


async def _as_it_is(_connection: Connection) -> None:
    """Spare the round trip that resets a session: what is set here ends with its transaction, and nothing else is held."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise our errors for the driver's: a lost race is ``Conflict``, a part that does not answer ``Unavailable``."""
    try:
        yield
    except Exception as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # What is let go of on the way out may fail too; in a cancellation's place it would be caught, and its task never end.
            raise asyncio.CancelledError from error
        ours = _ours(error)
        if ours is None:
            raise
        raise ours from error


def _ours(error: Exception) -> AttestorError | None:
    match error:
        case asyncpg.DeadlockDetectedError() | asyncpg.SerializationError():
            return Conflict("database-race", "Two transactions met; the whole is done anew.")
        case asyncpg.UniqueViolationError():
            return Conflict("database-race", "Someone else was first; read again.")
        case asyncpg.LockNotAvailableError() | asyncpg.QueryCanceledError():
            return Unavailable("database-busy", "The database did not answer in time; try again.")
        case (
            OSError()
            | asyncpg.PostgresConnectionError()
            | asyncpg.InterfaceError()
            # What the driver says when its connection ends between two of its own steps.
            | asyncpg.InternalClientError()
            | TimeoutError()
        ):
            return Unavailable("database-unavailable", "The database cannot be reached; try again later.")
        case asyncpg.PostgresError():
            return Unavailable("database-refused", f"The database refused the statement ({error.sqlstate}).")
        case _:
            return None


async def clock(pool: Pool) -> datetime:
    """The database's clock. Raises ``Unavailable``."""
    with translated():
        moment: datetime = await pool.fetchval("SELECT clock_timestamp()")
    return moment
