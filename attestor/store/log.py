"""The log on PostgreSQL: rows and a frontier, from which tiles are computed on read (ports ``LogSource``, ``LogBook``).

Appending is READ COMMITTED on purpose: each statement after the lock on the state's row sees what was committed before the
lock was granted. Under REPEATABLE READ the lock's own statement would fix an older view of the log.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from asyncpg import Record, UniqueViolationError

from attestor.core.entrybytes import Outgoing, outgoing
from attestor.core.errors import Conflict, Halted, Malformed, Missing, Unavailable
from attestor.core.tlog.merkle import Frontier, TileNode
from attestor.core.tlog.tiles import BUNDLE, TILE, Tile, encode_bundle
from attestor.service.logports import LogState, Sequenced
from attestor.store.listen import Listener
from attestor.store.pool import Connection, Pool, translated
from attestor.store.queries import queries

MAX_ENTRIES: Final = 4096
"""Entries of one answer."""
_SQL: Final = queries("log.sql")
_LOCK: Final = int.from_bytes(b"att-log")
_POLL_SECONDS: Final = 0.02
"""How long an entry waits in the outbox at most before somebody looks: intake tells nobody, and a hint may be lost."""


class PostgresLog:
    """The log as it is published; see the port ``LogSource`` for its promises."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def checkpoint(self) -> bytes | None:
        with translated():
            row = await self._pool.fetchrow(_SQL["published_note"])
        if row is None:
            return None
        return b"".join([row["note"], *(f"{line}\n".encode() for line in row["lines"])])

    async def tile(self, tile: Tile) -> bytes:
        with translated():
            async with self._pool.acquire() as connection:
                state = await connection.fetchrow(_SQL["state"])
                return await _tile(connection, tile, state["published"] if state else 0)

    async def entries(self, start: int, end: int) -> list[bytes]:
        end = min(end, start + MAX_ENTRIES)
        with translated():
            rows = await self._pool.fetch(_SQL["published_entries"], start, end)
        if len(rows) != max(end - start, 0):
            raise _gap(start, end)
        return [row["entry"] for row in rows]


class PostgresSequencing:
    """One transaction that holds the lock; see the port ``Sequencing`` for its promises."""

    def __init__(self, connection: Connection, state: LogState) -> None:
        self._connection = connection
        self._state = state

    @property
    def state(self) -> LogState:
        return self._state

    async def drain(self, limit: int) -> list[Outgoing]:
        fresh, refused = [], []
        for row in await self._connection.fetch(_SQL["drain"], limit):
            told = _told(row)
            if told is None or row["logged"] not in (None, told.entry):
                refused.append(row["entry"])
            elif row["logged"] is None:
                fresh.append(told)
        if refused:
            await self._connection.execute(_SQL["refuse"], refused)
        return fresh

    async def append(
        self, entries: Sequence[Sequenced], nodes: Sequence[TileNode], frontier: Frontier, note: bytes, *, publish: bool
    ) -> None:
        before, after = self._state.frontier.size, frontier.size
        try:
            moved = await self._connection.fetchval(
                _SQL["append"],
                before,
                after,
                frontier.root,
                frontier.encode(),
                publish,
                note,
                [entry.index for entry in entries],
                [entry.outgoing.subject for entry in entries],
                [entry.outgoing.kind for entry in entries],
                [entry.outgoing.number for entry in entries],
                [entry.leaf for entry in entries],
                [entry.outgoing.entry for entry in entries],
                [node.level for node in nodes],
                [node.index for node in nodes],
                [node.hash for node in nodes],
            )
        except UniqueViolationError as error:
            # No race, under the lock: what is about to be written stands there already.
            raise _contradiction() from error
        if moved is None:
            raise Conflict("log-moved", "The log grew meanwhile; nothing was appended. Read its state, then try anew.")
        if publish:
            await self._connection.execute(_SQL["announce_between"], self._state.published, after)


class PostgresLogBook:
    """The sequencer's side; see the port ``LogBook`` for its promises."""

    def __init__(self, pool: Pool, listener: Listener) -> None:
        self._pool = pool
        self._listener = listener
        self._lost = False
        """Whether another process had the lock when this one asked last."""

    @asynccontextmanager
    async def sequencing(self) -> AsyncIterator[PostgresSequencing | None]:
        with translated():
            async with (
                self._pool.acquire(timeout=10) as connection,
                connection.transaction(isolation="read_committed"),
            ):
                lock = await connection.fetchrow(_SQL["take_lock"], _LOCK)
                self._lost = lock is None or not lock["taken"]
                if self._lost:
                    yield None
                else:
                    yield PostgresSequencing(connection, _state_of(await connection.fetchrow(_SQL["lock_state"])))

    async def newest(self) -> tuple[LogState, bytes | None]:
        with translated():
            row = await self._pool.fetchrow(_SQL["newest"])
        return _state_of(row), row["note"] if row else None

    async def cosigned(self, size: int, witness: str, line: str) -> None:
        with translated():
            await self._pool.execute(_SQL["keep_cosignature"], size, witness, line)

    async def cosignatures(self, size: int) -> dict[str, str]:
        with translated():
            rows = await self._pool.fetch(_SQL["cosignatures"], size)
        return {row["witness"]: row["line"] for row in rows}

    async def publish(self, size: int) -> None:
        with translated():
            async with self._pool.acquire() as connection, connection.transaction():
                state = _state_of(await connection.fetchrow(_SQL["lock_state"]))
                if await connection.fetchval(_SQL["publish"], size) is not None:
                    await connection.execute(_SQL["announce_between"], state.published, size)

    async def witness_size(self, witness: str) -> int:
        with translated():
            size: int | None = await self._pool.fetchval(_SQL["witness_size"], witness)
        return size or 0

    async def keep_witness_size(self, witness: str, size: int) -> None:
        with translated():
            await self._pool.execute(_SQL["keep_witness_size"], witness, size)

    async def tile(self, tile: Tile) -> bytes:
        with translated():
            async with self._pool.acquire() as connection:
                state = _state_of(await connection.fetchrow(_SQL["state"]))
                return await _tile(connection, tile, state.frontier.size)

    async def due(self, seconds: float) -> None:
        clock = asyncio.get_running_loop().time
        ends = clock() + seconds
        # What another process is just taking out can still be seen here: who lost the lock to it waits before it looks.
        lost, self._lost = self._lost, False
        if lost:
            await self._listener.enqueued(min(seconds, _POLL_SECONDS))
        while (left := ends - clock()) > 0 and not await self._waiting(left):
            await self._listener.enqueued(min(left, _POLL_SECONDS))

    async def _waiting(self, left: float) -> bool:
        try:
            with translated():
                found: bool = await self._pool.fetchval(_SQL["waiting"])
        except Unavailable:
            # The caller's next step says so better; until then there is nothing to ask for.
            await asyncio.sleep(left)
            return False
        return found


async def _tile(connection: Connection, tile: Tile, size: int) -> bytes:
    """A tile of a tree of this size, computed from rows."""
    if not tile.exists_in(size):
        raise Missing("tile-unknown", f"The log has no such tile; its tree has {size} entries.")
    start = tile.index * TILE
    end = start + tile.width
    if tile.level > 0:
        rows = await connection.fetch(_SQL["nodes"], start, end, tile.level)
    else:
        rows = await connection.fetch(_SQL["entries" if tile.level == BUNDLE else "leaves"], start, end)
    if len(rows) != tile.width:
        raise _gap(start, end)
    parts = [row[0] for row in rows]
    return encode_bundle(parts) if tile.level == BUNDLE else b"".join(parts)


def _told(row: Record) -> Outgoing | None:
    """The entry of an outbox row; ``None`` where its bytes are none, or one of another key than the row's."""
    try:
        told = outgoing(row["entry"])
    except Malformed:
        return None
    return told if (told.subject, told.kind, told.number) == (row["subject"], row["kind"], row["number"]) else None


def _state_of(row: Record | None) -> LogState:
    """Raises ``Halted`` ``log-root`` when the stored root is not what the stored frontier comes to."""
    with suppress(Malformed):
        if row is not None and (frontier := Frontier.decode(row["size"], row["frontier"])).root == row["root"]:
            return LogState(frontier, row["published"])
    raise _contradiction()


def _contradiction() -> Halted:
    return Halted(
        "log-root",
        "The log's stored size, frontier, root and rows contradict each other: somebody wrote to them. Nothing is appended; "
        "compare the database with an export of the log.",
    )


def _gap(start: int, end: int) -> Halted:
    return Halted(
        "log-gap",
        f"The log lacks rows between index {start} and {end} that its checkpoint includes: they were removed.",
    )
