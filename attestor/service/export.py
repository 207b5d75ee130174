"""Keep a static copy of the log: nothing comes into it that is not proven, and nothing in it ever changes.

Order of effects: the source's checkpoint, verified; its tree, shown to contain the copy's; each bundle and tile, verified
before it is written; the checkpoint last. So whoever dies on the way leaves a copy that is right as far as it goes, and the
next run goes on from there.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from attestor.core.errors import Halted, Missing, Unavailable
from attestor.core.tlog.checkpoint import Checkpoint, open_checkpoint
from attestor.core.tlog.merkle import EMPTY_ROOT, leaf_hash
from attestor.core.tlog.note import VerifierKey
from attestor.core.tlog.tiles import BUNDLE, TILE, Tile, decode_bundle
from attestor.service.logports import LogSource
from attestor.service.verified import VerifiedTiles, width_of

Progress = Callable[[int, int], None]
"""Told how many entries are done, and of how many."""
AT_ONCE: Final = 16
"""Bundles that are fetched at the same time; divides ``TILE``, so that they stand under one tile."""


class LogTree(LogSource, Protocol):
    """A copy of the log that can be added to. What it holds is never overwritten with other bytes."""

    def writing(self) -> AbstractAsyncContextManager[None]:
        """Be the one writer. Raises ``Conflict`` ``tree-busy``."""

    async def put(self, tile: Tile, raw: bytes) -> None:
        """Add a tile; the same bytes again change nothing. Raises ``Halted`` ``tile-differs``, ``Unavailable``."""

    async def put_checkpoint(self, note: bytes) -> None:
        """Replace the checkpoint, once all that was put is durable; durable itself on return."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What one run did: the tree sizes before and after it."""

    before: int
    checkpoint: Checkpoint


async def export(source: LogSource, tree: LogTree, key: VerifierKey, progress: Progress) -> Exported:
    """Bring *tree* up to the checkpoint that *source* publishes.

    Raises ``Halted``: ``log-rolled-back``, ``log-forked``, ``tile-unproven``, ``tile-differs``, ``log-gap``; ``Rejected`` for a
    checkpoint that *key* did not sign; ``Unavailable`` ``log-empty``; ``Conflict`` ``tree-busy``.
    """
    async with tree.writing():
        note = await source.checkpoint()
        if note is None:
            raise Unavailable("log-empty", "The log has published no checkpoint yet; try again later.")
        wanted = open_checkpoint(note, key)
        kept_note = await tree.checkpoint()
        kept = open_checkpoint(kept_note, key) if kept_note is not None else Checkpoint(key.name, 0, EMPTY_ROOT)
        _refuse_going_back(kept, wanted)
        if note != kept_note:
            await _Copying(source, tree, wanted).from_size(kept, progress)
            await tree.put_checkpoint(note)
    return Exported(kept.size, wanted)


def _refuse_going_back(kept: Checkpoint, wanted: Checkpoint) -> None:
    if wanted.size < kept.size:
        raise Halted(
            "log-rolled-back",
            f"The log shows {wanted.size} entries, and this copy holds {kept.size} of it: its database was rolled back, or another "
            "one answers there. Nothing was written. Keep this copy: its operator recovers from it with "
            "`attestor log recover --from` it.",
        )
    if wanted.size == kept.size and wanted.root != kept.root:
        raise forked(kept, wanted)


def forked(kept: Checkpoint, wanted: Checkpoint) -> Halted:
    """Two trees of one log, both signed."""
    return Halted(
        "log-forked",
        f"The log's tree of {wanted.size} entries does not contain this copy's tree of {kept.size}, and its key signed both: the log "
        "was forked. Nothing was written. Keep this copy and what the log serves now: the two checkpoints are the evidence. Tell "
        "everybody who follows the log, and trust neither until its operator has said why.",
    )


class _Copying:
    """One run. What an interrupted run has left in the tree is verified and used again."""

    def __init__(self, source: LogSource, tree: LogTree, wanted: Checkpoint) -> None:
        self._source = source
        self._tree = tree
        self._wanted = wanted
        self._proven = VerifiedTiles(wanted, self._hashes)

    async def from_size(self, kept: Checkpoint, progress: Progress) -> None:
        if kept.size and (await self._proven.frontier(kept.size)).root != kept.root:
            raise forked(kept, self._wanted)
        for tiles in _by_parent(kept.size, self._wanted.size):
            # The tile above is read once, and not by each of these at the same time.
            await self._proven.tile(tiles[0])
            await self._all_leaves(tiles)
            progress(tiles[-1].index * TILE + tiles[-1].width, self._wanted.size)
        for tile in _upper_tiles(kept.size, self._wanted.size):
            await self._tree.put(tile, await self._proven.tile(tile))

    async def _all_leaves(self, tiles: list[Tile]) -> None:
        # After a failure too, nothing is still being written when the tree is let go.
        done = await asyncio.gather(*map(self._leaves, tiles), return_exceptions=True)
        for failed in filter(None, done):
            raise failed

    async def _leaves(self, tile: Tile) -> None:
        hashes = await self._proven.tile(tile)
        bundle = Tile(BUNDLE, tile.index, tile.width)
        raw = await self._tree_or_source(bundle)
        if b"".join(map(leaf_hash, decode_bundle(raw, bundle.width))) != hashes:
            raise Halted(
                "tile-unproven",
                f"{bundle.path}: these are not the entries that the checkpoint of {self._wanted.size} entries was signed for. "
                "If this file stands in a copy of yours, move it away; else read the log elsewhere and tell its operator.",
            )
        await self._tree.put(bundle, raw)
        await self._tree.put(tile, hashes)

    async def _hashes(self, tile: Tile) -> bytes:
        # Partial tiles come from the source alone: together they are proven by the root, and one stale file would spoil them.
        return await (self._tree_or_source(tile) if tile.width == TILE else self._promised(tile))

    async def _tree_or_source(self, tile: Tile) -> bytes:
        try:
            return await self._tree.tile(tile)
        except Missing:
            return await self._promised(tile)

    async def _promised(self, tile: Tile) -> bytes:
        try:
            return await self._source.tile(tile)
        except Missing as error:
            raise Halted(
                "log-gap", f"The log does not serve {tile.path}, which its checkpoint promises: tell its operator."
            ) from error


def new_tiles(level: int, before: int, size: int) -> Iterator[Tile]:
    """The tiles of one level that a tree of *size* has and one of *before* has not."""
    had, has = width_of(level, before), width_of(level, size)
    for index in range(had // TILE, -(-has // TILE)):
        tile = Tile(level, index, min(TILE, has - index * TILE))
        if index * TILE + tile.width > had:
            yield tile


def _by_parent(before: int, size: int) -> Iterator[list[Tile]]:
    group: list[Tile] = []
    for tile in new_tiles(0, before, size):
        if group and tile.index // AT_ONCE != group[0].index // AT_ONCE:
            yield group
            group = []
        group.append(tile)
    if group:
        yield group


def _upper_tiles(before: int, size: int) -> Iterator[Tile]:
    for level in range(1, 8):
        yield from new_tiles(level, before, size)
