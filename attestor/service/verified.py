"""The hash tiles of one tree, each believed only once it hashes up to the root that the log has signed."""

from typing import Final

from attestor.core.errors import Halted
from attestor.core.tlog.checkpoint import Checkpoint
from attestor.core.tlog.grammar import HASH_BYTES
from attestor.core.tlog.merkle import EMPTY, Frontier
from attestor.core.tlog.tiles import TILE, Tile, place_of, subtrees
from attestor.service.tilewise import ReadTile


class VerifiedTiles:
    """Of the tree that *checkpoint*, itself verified, commits to; read in rising order, each tile is fetched once.

    Every method raises ``Halted`` ``tile-unproven`` for a tile that is not of this tree, and what *read* raises.
    """

    def __init__(self, checkpoint: Checkpoint, read: ReadTile) -> None:
        self._checkpoint: Final = checkpoint
        self._read = read
        self._edge: dict[int, bytes] | None = None
        self._held: dict[int, tuple[int, bytes]] = {}

    async def tile(self, tile: Tile) -> bytes:
        """A hash tile, full or as wide as the tree has it."""
        if tile.width < TILE:
            return (await self._partials())[tile.level]
        held = self._held.get(tile.level)
        if held is not None and held[0] == tile.index:
            return held[1]
        expected = await self._commitment(tile)
        raw = await self._read(tile)
        if len(raw) != TILE * HASH_BYTES or _root(raw) != expected:
            raise self._unproven(tile.path)
        self._held[tile.level] = (tile.index, raw)
        return raw

    async def frontier(self, size: int) -> Frontier:
        """The compact range of the tree as it was at *size*, at most its own."""
        hashes = []
        for node in subtrees(0, size):
            tile, first, last = place_of(node, self._checkpoint.size)
            raw = await self.tile(tile)
            hashes.append(_root(raw[first * HASH_BYTES : last * HASH_BYTES]))
        return Frontier(size, tuple(hashes))

    async def _commitment(self, tile: Tile) -> bytes:
        """What the tile above says that a full tile hashes to."""
        index, place = divmod(tile.index, TILE)
        width = min(TILE, width_of(tile.level + 1, self._checkpoint.size) - index * TILE)
        above = await self.tile(Tile(tile.level + 1, index, width))
        return above[place * HASH_BYTES :][:HASH_BYTES]

    async def _partials(self) -> dict[int, bytes]:
        """The partial tiles by level: together they are the tree's compact range, so the root proves them."""
        if self._edge is None:
            size = self._checkpoint.size
            edge: dict[int, bytes] = {}
            hashes: list[bytes] = []
            levels = (level for level in range(8) if width_of(level, size) % TILE)
            for level in sorted(levels, reverse=True):
                full, width = divmod(width_of(level, size), TILE)
                edge[level] = await self._read(Tile(level, full, width))
                if len(edge[level]) != width * HASH_BYTES:
                    raise self._unproven(Tile(level, full, width).path)
                hashes += EMPTY.extended(_hashes(edge[level])).hashes
            if Frontier(size, tuple(hashes)).root != self._checkpoint.root:
                raise self._unproven("The partial tiles")
            self._edge = edge
        return self._edge

    def _unproven(self, what: str) -> Halted:
        return Halted(
            "tile-unproven",
            f"{what}: these are not the hashes that the checkpoint of {self._checkpoint.size} entries was signed for. Nothing of "
            "it was kept. If this file stands in a copy of yours, move it away; else read the log elsewhere and tell its operator.",
        )


def width_of(level: int, size: int) -> int:
    """How many hashes (or entries) a tree of *size* has at a tile level."""
    return size >> 8 * max(level, 0)


def _hashes(raw: bytes) -> list[bytes]:
    return [raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)]


def _root(raw: bytes) -> bytes:
    return EMPTY.extended(_hashes(raw)).root
