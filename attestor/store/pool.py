"""The connection pool, and what PostgreSQL's failures mean to a caller."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

import asyncpg

from attestor.core.errors import Conflict, Unavailable

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
    except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
        raise Conflict("database-race", "Two transactions met; the whole is done anew.") from error
    except asyncpg.UniqueViolationError as error:
        raise Conflict("database-race", "Someone else was first; read again.") from error
    except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError) as error:
        raise Unavailable("database-busy", "The database did not answer in time; try again.") from error
    # The driver's internal error is what it says when its connection ends between two of its own steps.
    except (
        OSError,
        asyncpg.PostgresConnectionError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        TimeoutError,
    ) as error:
        raise Unavailable("database-unavailable", "The database cannot be reached; try again later.") from error
    except asyncpg.PostgresError as error:
        raise Unavailable("database-refused", f"The database refused the statement ({error.sqlstate}).") from error


async def clock(pool: Pool) -> datetime:
    """The database's clock. Raises ``Unavailable``."""
    with translated():
        moment: datetime = await pool.fetchval("SELECT clock_timestamp()")
    return moment
