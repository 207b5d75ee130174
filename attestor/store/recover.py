"""Appending to the log what its database has lost, as the owner of the tables (port ``Recovery``)."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from asyncpg import UniqueViolationError

from attestor.core.errors import Conflict, Halted
from attestor.core.tlog.merkle import Frontier, TileNode, leaf_hash
from attestor.service.logports import Sequenced
from attestor.service.recover import NamedBytes, NamedSignature
from attestor.store.pool import Connection, Pool, translated
from attestor.store.queries import queries

_SQL: Final = queries("recover.sql")
_LOG: Final = queries("log.sql")
_T = TypeVar("_T")


class PostgresRecovering:
    """One transaction that holds the state's row; see the port ``Recovering`` for its promises."""

    def __init__(self, connection: Connection, size: int, root: bytes) -> None:
        self._connection = connection
        self._size = size
        self._root = root

    @property
    def size(self) -> int:
        return self._size

    @property
    def root(self) -> bytes:
        return self._root

    async def leaves(self, start: int, end: int) -> list[bytes]:
        rows = await self._connection.fetch(_SQL["entries"], start, end)
        if len(rows) != end - start:
            raise Halted(
                "log-gap",
                f"The database lacks entries between {start} and {end} of its own log: rows were removed. Restore a backup that "
                "has them, then recover.",
            )
        return [leaf_hash(row["entry"]) for row in rows]

    async def append(self, entries: Sequence[Sequenced], nodes: Sequence[TileNode]) -> None:
        try:
            await self._connection.execute(
                _SQL["add_entries"],
                [entry.index for entry in entries],
                [entry.outgoing.subject for entry in entries],
                [entry.outgoing.kind for entry in entries],
                [entry.outgoing.number for entry in entries],
                [entry.leaf for entry in entries],
                [entry.outgoing.entry for entry in entries],
            )
            await self._connection.execute(
                _SQL["add_nodes"],
                [node.level for node in nodes],
                [node.index for node in nodes],
                [node.hash for node in nodes],
            )
        except UniqueViolationError as error:
            raise Halted(
                "log-root",
                f"The database states {self._size} entries of its log and holds rows beyond them: somebody wrote to it. Nothing was "
                "changed; restore a backup, then recover.",
            ) from error

    async def conclude(self, frontier: Frontier, note: bytes, cosignatures: Mapping[str, str]) -> int:
        moved = await self._connection.fetchval(
            _SQL["conclude"], self._size, frontier.size, frontier.root, frontier.encode()
        )
        if moved is None:
            raise Conflict("log-moved", "The log grew meanwhile; nothing was appended. Try again.")
        await self._connection.execute(_SQL["add_checkpoint"], frontier.size, frontier.root, note)
        for witness, line in cosignatures.items():
            await self._connection.execute(_LOG["keep_cosignature"], frontier.size, witness, line)
        await self._connection.execute(_LOG["announce_between"], self._size, frontier.size)
        gone: int = await self._connection.fetchval(_SQL["clear_outbox"])
        return gone

    async def lost_payloads(self, named: Sequence[NamedBytes]) -> list[NamedBytes]:
        return await self._lost("lost_payloads", named, *_columns(named))

    async def lost_withdrawals(self, named: Sequence[NamedBytes]) -> list[NamedBytes]:
        releases = [bytes.fromhex(one.release) for one in named]
        return await self._lost("lost_withdrawals", named, *_columns(named), releases)

    async def lost_signatures(self, named: Sequence[NamedSignature]) -> list[NamedSignature]:
        releases, digests = [bytes.fromhex(one.release) for one in named], [one.sha256 for one in named]
        return await self._lost("lost_signatures", named, releases, digests)

    async def _lost(self, query: str, named: Sequence[_T], *columns: object) -> list[_T]:
        if not named:
            return []
        return [named[row["place"] - 1] for row in await self._connection.fetch(_SQL[query], *columns)]


class PostgresRecovery:
    """See the port ``Recovery`` for its promises."""

    def __init__(self, pool: Pool) -> None:
        """*pool* connects as the owner: appending is the sequencer's, and nobody else may look into the other tables too."""
        self._pool = pool

    @asynccontextmanager
    async def recovering(self) -> AsyncIterator[PostgresRecovering]:
        with translated():
            async with (
                self._pool.acquire(timeout=10) as connection,
                connection.transaction(isolation="read_committed"),
            ):
                row = await connection.fetchrow(_SQL["lock_state"])
                if row is None:
                    raise Halted("log-root", "The database has no state of a log: run attestor migrate, then recover.")
                yield PostgresRecovering(connection, row["size"], row["root"])


def _columns(named: Sequence[NamedBytes]) -> tuple[list[str], list[bytes], list[bytes]]:
    return [one.operator for one in named], [one.payload for one in named], [one.sha256 for one in named]
