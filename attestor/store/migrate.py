"""Migrations: plain SQL, forward only, applied by ``pogo-core`` under our own advisory lock."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
from pogo_core.error import BadMigrationError
from pogo_core.util import migrate as pogo

from attestor.core.errors import Rejected, Unavailable
from attestor.store.pool import translated

_LOCK: Final = int.from_bytes(b"attestor")
_QUIET: Final = logging.getLogger("attestor.migrate")


def folder() -> Path:
    """The migrations: beside this module in a wheel, at the top of the repository in a checkout."""
    packaged = Path(__file__).with_name("migrations")
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "migrations"


async def migrate(dsn: str) -> list[str]:
    """Bring the schema up to date and return the names of what was applied; safe to run from anywhere at once."""
    async with _locked(dsn) as connection:
        before = await applied(connection)
        try:
            await pogo.apply(connection, folder(), schema_name="public", logger=_QUIET)
        except BadMigrationError as error:
            raise Rejected("migration-failed", f"{error}: {error.__cause__}. Nothing of it was kept.") from error
        return sorted(await applied(connection) - before)


async def pending(dsn: str) -> list[str]:
    """Names of the migrations that the database lacks."""
    with translated():
        connection = await asyncpg.connect(dsn, timeout=10)
    try:
        done = await applied(connection)
    finally:
        await connection.close()
    return sorted({path.stem for path in folder().glob("*.sql")} - done)


async def applied(connection: "asyncpg.Connection[asyncpg.Record]") -> set[str]:
    """Names of the migrations that the database has."""
    if await connection.fetchval("SELECT to_regclass('public._pogo_migration')") is None:
        return set()
    return {row["migration_id"] for row in await connection.fetch("SELECT migration_id FROM public._pogo_migration")}


@asynccontextmanager
async def _locked(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    with translated():
        connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        yield connection
    except asyncpg.PostgresConnectionError as error:
        raise Unavailable("database-unavailable", "The database went away during the migration.") from error
    finally:
        await connection.close()


async def create_database(dsn: str, name: str) -> None:
    """Create a database where it is missing; *dsn* is of a user who may."""
    with translated():
        connection = await asyncpg.connect(dsn, timeout=10)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()
