"""The two connections of a memory, one that reads and one that writes, each in a thread of its own."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from attestor.anchor.anchorfile import HeldFolder
from attestor.anchor.database import Database, is_damage, make_generation, open_current
from attestor.core.errors import Malformed, Unavailable

_T = TypeVar("_T")


@dataclass(slots=True)
class Generations:
    """What both sides know of the files in the folder."""

    folder: Path
    anchor_id: str
    checked: str | None = None
    """The generation whose pages were looked through."""
    damaged: str | None = None
    """The last one that broke while it was in use."""

    def usable(self, database: Database) -> bool:
        return database.name != self.damaged and database.is_current(self.folder)

    def open(self) -> Database | None:
        """The generation in use, unless a new one must be made."""
        found = open_current(self.folder, self.anchor_id, checked=self.checked)
        if found is not None and not self.usable(found):
            found.close()
            return None
        if found is not None:
            self.checked = found.name
        return found


class Side:
    """One connection that follows the generation in use. All but :meth:`run` belongs into its thread."""

    def __init__(self, generations: Generations, name: str) -> None:
        self._generations = generations
        self._database: Database | None = None
        self._thread = ThreadPoolExecutor(1, f"memory-{name}")

    async def run(self, work: Callable[[], _T]) -> _T:
        """Do *work* in this side's thread, in turn. A cancelled caller leaves at once, and what has begun goes on."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """Close the connection once what is under way has ended."""
        await asyncio.shield(self.run(self._let_go))
        self._thread.shutdown()

    def current(self) -> sqlite3.Connection | None:
        """A connection to the generation in use; ``None`` when a new one must be made."""
        if self._database is not None and not self._generations.usable(self._database):
            self._let_go()
        if self._database is None:
            self._database = self._generations.open()
        return self._database.connection if self._database is not None else None

    def current_or_new(self, place: HeldFolder) -> sqlite3.Connection:
        """The same, and a new generation where one must be made."""
        found = self.current()
        if found is None:
            self._database = make_generation(place, self._generations.anchor_id)
            self._generations.checked = self._database.name
            found = self._database.connection
        return found

    @contextmanager
    def told(self) -> Iterator[None]:
        """What SQLite and the folder refuse becomes ``Unavailable`` ``memory-damaged``, ``memory-unavailable``."""
        try:
            yield
        except (sqlite3.Error, Malformed) as error:
            if isinstance(error, sqlite3.Error) and not is_damage(error):
                raise self._unavailable(error) from error
            self._generations.damaged = self._database.name if self._database is not None else None
            raise Unavailable(
                "memory-damaged",
                f"The signer's memory in {self._generations.folder} is damaged ({error}); it is made anew from the log.",
            ) from error
        except OSError as error:
            raise self._unavailable(error) from error

    def rolled_back(self) -> None:
        """End the open transaction, if there is one."""
        if self._database is not None and self._database.connection.in_transaction:
            self._database.connection.execute("ROLLBACK")

    def _let_go(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _unavailable(self, error: Exception) -> Unavailable:
        return Unavailable(
            "memory-unavailable",
            f"The signer's memory in {self._generations.folder} cannot be read or written: {error}. Is the disk full?",
        )
