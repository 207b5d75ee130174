"""A signer's memory in a folder of its own: the anchor, and beside it in SQLite what was folded from the log (design §8).

What was folded is committed first and the anchor moved second, so a crash leaves a fold that is ahead of the anchor and
never one that is behind. A fold that is missing, damaged or of another anchor is made anew from the log: it is derived, and the
anchor is not. Signer processes of one machine may share the folder (flock, SQLite's WAL).
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

from attestor.anchor import recall, rules
from attestor.anchor.anchorfile import HeldFolder, read_anchor, try_hold
from attestor.anchor.folding import Fold
from attestor.anchor.side import Generations, Side
from attestor.core.errors import Unavailable
from attestor.core.past import NOTHING, Fact, Remembered, RulesPast, RulesQuestion
from attestor.core.quota import window_of
from attestor.core.tlog.checkpoint import Checkpoint
from attestor.core.tlog.merkle import EMPTY, Frontier

_SHORTEST_WAIT: Final = 0.001
_LONGEST_WAIT: Final = 0.02
"""Seconds between two tries at the folder's lock: a wait inside ``flock`` could not be cancelled."""

_T = TypeVar("_T")


class FileStep:
    """Implements ``CatchUp``, over one open transaction."""

    def __init__(
        self, side: Side, place: HeldFolder, connection: sqlite3.Connection, fold: Fold, *, anchor: Checkpoint
    ) -> None:
        self.anchor: Final = anchor
        self._side = side
        self._place = place
        self._connection = connection
        self._fold = fold

    @property
    def frontier(self) -> Frontier:
        return self._fold.frontier

    async def take(self, leaves: Sequence[bytes], facts: Sequence[tuple[int, Fact]]) -> Frontier:
        """All of it or nothing. Raises as ``CatchUp.take``, and ``Unavailable`` ``memory-damaged``, ``memory-unavailable``."""
        return await self._side.run(lambda: self._take(leaves, facts))

    async def settle(self, checkpoint: Checkpoint, note: bytes) -> None:
        """Raises as :meth:`HeldFolder.move`, and ``Unavailable`` as :meth:`take`."""
        await self._side.run(lambda: self._settle(checkpoint, note))

    def _take(self, leaves: Sequence[bytes], facts: Sequence[tuple[int, Fact]]) -> Frontier:
        with self._side.told():
            self._refuse_lost_transaction()
            return self._fold.take(leaves, facts)

    def _settle(self, checkpoint: Checkpoint, note: bytes) -> None:
        folded = self._fold.frontier
        if (folded.size, folded.root) != (checkpoint.size, checkpoint.root):
            raise ValueError("an anchor is moved only to what was folded")
        with self._side.told():
            self._refuse_lost_transaction()
            self._connection.execute("COMMIT")
            self._place.move(checkpoint, note)
            self._connection.execute("BEGIN IMMEDIATE")

    def _refuse_lost_transaction(self) -> None:
        # SQLite ends a transaction by itself when the disk is full; what came after would be kept one by one.
        if not self._connection.in_transaction:
            raise sqlite3.OperationalError("the transaction was lost")


class FileMemory:
    """Implements ``Memory``. Made by :meth:`opened`."""

    def __init__(self, folder: Path, origin: str) -> None:
        """Raises ``Halted`` ``anchor-missing``, ``anchor-unreadable``, ``anchor-open``."""
        anchor = read_anchor(folder)
        anchor.checkpoint(origin)
        self.anchor_id: Final = anchor.id
        self._folder = folder
        self._origin = origin
        self._turn = asyncio.Lock()
        generations = Generations(folder, anchor.id)
        self._reading = Side(generations, "reading")
        self._writing = Side(generations, "writing")

    @classmethod
    @asynccontextmanager
    async def opened(cls, folder: Path, origin: str) -> "AsyncIterator[FileMemory]":
        """The memory of the log *origin* in *folder*, for as long as the context lasts.

        Raises ``Halted`` ``anchor-missing``, ``anchor-unreadable`` (also for another log's), ``anchor-open``.
        """
        memory = cls(folder, origin)
        try:
            yield memory
        finally:
            await memory.close()

    async def close(self) -> None:
        """Let threads and connections go, once what is under way has ended."""
        await self._reading.close()
        await self._writing.close()

    async def anchor(self) -> Checkpoint:
        """Raises as :meth:`opened`, and ``Halted`` ``anchor-replaced`` when another one was made since."""
        return await self._reading.run(lambda: read_anchor(self._folder, self.anchor_id).checkpoint(self._origin))

    async def frontier(self) -> Frontier:
        """Of all that was folded: nothing, where the memory is to be made anew."""
        return await self._reading.run(self._frontier)

    async def release(self, release_id: str) -> Remembered:
        """Raises ``Unavailable`` ``memory-behind`` while the memory is made anew: it would say too little."""
        return await self._reading.run(lambda: self._ask(lambda known: recall.remembered(known, release_id), NOTHING))

    async def rules(self, question: RulesQuestion) -> RulesPast:
        """Raises ``Unavailable`` ``memory-behind``."""
        window = window_of(question.period, question.moment) if question.period is not None else None
        nothing = RulesPast(newest=None, used=0, window=window, unspendable=frozenset())
        return await self._reading.run(lambda: self._ask(lambda known: rules.past(known, question), nothing))

    async def policy(self) -> tuple[int, str] | None:
        """Raises ``Unavailable`` ``memory-behind``."""
        return await self._reading.run(lambda: self._ask(recall.policy, None))

    async def forged(self) -> int:
        """How many entries claimed to be a signer's and carried no seal of one. Raises ``Unavailable`` ``memory-behind``."""
        return await self._reading.run(lambda: self._ask(recall.forged, 0))

    async def leaves(self, start: int, end: int) -> list[bytes]:
        """Raises ``Unavailable`` ``memory-behind`` when not all of them were folded."""
        none: list[bytes] = []
        hashes = await self._reading.run(lambda: self._ask(lambda known: recall.leaves(known, start, end), none))
        if len(hashes) != end - start:
            raise self._behind()
        return hashes

    @asynccontextmanager
    async def catching_up(self, *, alone: bool) -> AsyncIterator[FileStep]:
        """Raises ``Halted`` as :meth:`anchor`, ``Unavailable`` ``memory-damaged``, ``memory-unavailable``."""
        async with self._turn:
            place = await self._held()
            try:
                yield await self._writing.run(lambda: self._begin(place, alone=alone))
            finally:
                # Behind whatever that thread still does, also where the caller was cancelled.
                await asyncio.shield(self._writing.run(lambda: self._end(place)))

    async def _held(self) -> HeldFolder:
        wait = _SHORTEST_WAIT
        while True:
            with self._writing.told():
                place = try_hold(self._folder)
            if place is not None:
                return place
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    def _begin(self, place: HeldFolder, *, alone: bool) -> FileStep:
        anchor = read_anchor(self._folder, self.anchor_id)
        with self._writing.told():
            connection = self._writing.current_or_new(place)
            connection.execute("BEGIN IMMEDIATE")
            fold = Fold(connection, anchor, alone=alone)
            return FileStep(self._writing, place, connection, fold, anchor=anchor.checkpoint(self._origin))

    def _end(self, place: HeldFolder) -> None:
        try:
            with self._writing.told():
                self._writing.rolled_back()
        finally:
            place.release()

    def _frontier(self) -> Frontier:
        with self._reading.told():
            connection = self._reading.current()
            return EMPTY if connection is None else recall.frontier(connection)

    def _ask(self, question: Callable[[sqlite3.Connection], _T], nothing: _T) -> _T:
        """The answer of a memory that has come to its anchor; *nothing* where the anchor is at no entries, and no fold yet."""
        # The anchor is read first: another process may move both in between, and it moves the fold first.
        anchor = read_anchor(self._folder, self.anchor_id).checkpoint(self._origin)
        with self._reading.told():
            connection = self._reading.current()
            if connection is None:
                if anchor.size > 0:
                    raise self._behind()
                return nothing
            connection.execute("BEGIN")
            try:
                if recall.frontier(connection).size < anchor.size:
                    raise self._behind()
                return question(connection)
            finally:
                self._reading.rolled_back()

    def _behind(self) -> Unavailable:
        return Unavailable(
            "memory-behind",
            f"The signer's memory in {self._folder} has not come to its anchor yet: it is being made from the log.",
        )
