"""The count of each release key's uses, beside the anchor and never derived from the log (SQLite; port ``Operations``).

It says what the device is held against, so it is durable before the call that it counts. Calls that come together share one
write to the disk; signer processes of one machine share the file. Where it is lost every key counts 0, so that all of them stop.
"""

import asyncio
import os
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

from attestor.anchor.anchorfile import read_anchor, sync_folder
from attestor.core.errors import Unavailable
from attestor.core.operations import Acknowledgement, KeyCount, acknowledged, met

NAME: Final = "operations.sqlite3"
_FORMAT: Final = 1
_SCHEMA: Final = Path(__file__).with_name("operations.sql").read_text("utf-8")
_BUSY_SECONDS: Final = 10.0

_T = TypeVar("_T")


class FileOperations:
    """See the port for its promises. Made by :meth:`opened`; for one event loop."""

    def __init__(self, folder: Path) -> None:
        """Opens nothing yet."""
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, "operations")
        self._turn = asyncio.Lock()
        self._gathered: Counter[str] = Counter()
        self._writing: asyncio.Future[None] | None = None

    @classmethod
    @asynccontextmanager
    async def opened(cls, folder: Path) -> "AsyncIterator[FileOperations]":
        """The counts beside the anchor in *folder*; the file is made where it is missing.

        Raises ``Halted`` ``anchor-missing``, ``anchor-unreadable``, ``anchor-open``; ``Unavailable`` ``operations-unavailable``.
        """
        read_anchor(folder)
        counts = cls(folder)
        try:
            await counts._run(counts._open)
            yield counts
        finally:
            await asyncio.shield(counts._run(counts._close))
            counts._thread.shutdown()

    async def count(self, place: str) -> None:
        self._gathered[place] += 1
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._write_together())
        await asyncio.shield(self._writing)

    async def key(self, place: str) -> KeyCount:
        return await self._run(lambda: self._key(place))

    async def met(self, place: str, operations: int, at: datetime) -> KeyCount:
        return await self._change(place, lambda known: met(known, operations, at))

    async def acknowledge(self, place: str, said: Acknowledgement) -> KeyCount:
        return await self._change(place, lambda known: self._noted(known, said))

    async def _write_together(self) -> None:
        async with self._turn:
            # Whoever comes from here on waits for the next write.
            together, self._gathered, self._writing = self._gathered, Counter(), None
            await self._run(lambda: self._add(together))

    async def _change(self, place: str, change: Callable[[KeyCount], KeyCount]) -> KeyCount:
        def changed() -> KeyCount:
            with self._transaction():
                known = change(self._key(place))
                self._keep(known)
                return known

        return await self._run(changed)

    async def _run(self, work: Callable[[], _T]) -> _T:
        def told() -> _T:
            with _told(self._folder):
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._thread, told)

    def _open(self) -> None:
        path = self._folder / NAME
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        sync_folder(self._folder)
        self._connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=rw", uri=True, isolation_level=None, timeout=_BUSY_SECONDS
        )
        # FULL: in WAL mode only then is a commit durable when it returns.
        for setting in ("journal_mode=WAL", "synchronous=FULL"):
            self._connection.execute(f"PRAGMA {setting}")
        [version] = self._connection.execute("PRAGMA user_version").fetchone()
        if version not in {0, _FORMAT}:
            raise sqlite3.DatabaseError(f"it is of form {version}")
        self._connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version={_FORMAT};COMMIT;")

    def _close(self) -> None:
        if hasattr(self, "_connection"):
            self._connection.close()

    def _add(self, together: Counter[str]) -> None:
        with self._transaction():
            for place, calls in together.items():
                self._connection.execute(
                    "INSERT INTO keys (place, counted) VALUES (?, ?) "
                    "ON CONFLICT (place) DO UPDATE SET counted = counted + excluded.counted",
                    (place, calls),
                )

    def _key(self, place: str) -> KeyCount:
        row = self._connection.execute(
            "SELECT counted, operations, counted_then, read_at, stopped FROM keys WHERE place = ?", (place,)
        ).fetchone()
        if row is None:
            return KeyCount(place)
        counted, operations, counted_then, read_at, stopped = row
        moment = datetime.fromisoformat(read_at) if read_at is not None else None
        return KeyCount(place, counted, operations, counted_then, moment, bool(stopped))

    def _keep(self, key: KeyCount) -> None:
        read_at = key.read_at.isoformat() if key.read_at is not None else None
        self._connection.execute(
            "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, ?, ?)",
            (key.place, key.counted, key.operations, key.counted_then, read_at, int(key.stopped)),
        )

    def _noted(self, known: KeyCount, said: Acknowledgement) -> KeyCount:
        after = acknowledged(known, said)
        self._connection.execute(
            "INSERT INTO acknowledged (place, at, who, reason, counted, operations) VALUES (?, ?, ?, ?, ?, ?)",
            (known.place, said.at.isoformat(), said.who, said.reason, known.counted_then, said.operations),
        )
        return after

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(
            "operations-unavailable",
            f"The count of the release keys' uses, {folder / NAME}, cannot be read or written: {error}. Nothing is signed uncounted. "
            "Is the disk full? If the file is damaged, move it away: every key then waits for attestor hsm reconcile --acknowledge.",
        ) from error
