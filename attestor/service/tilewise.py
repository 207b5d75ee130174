"""What every reader of a log by tiles does alike: entries out of bundles, a partial out of what is wider."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from attestor.core.errors import Halted, Missing
from attestor.core.tlog.grammar import HASH_BYTES
from attestor.core.tlog.tiles import BUNDLE, TILE, Tile, decode_bundle, encode_bundle

MAX_ENTRIES: Final = 4096
"""Entries of one answer."""
ReadTile = Callable[[Tile], Awaitable[bytes]]


async def entries_of(read: ReadTile, start: int, end: int) -> list[bytes]:
    """The entries from index *start* up to before *end*, as :meth:`attestor.service.logports.LogSource.entries` promises them.

    Raises ``Halted`` ``log-gap``, ``Malformed`` ``bundle-malformed``.
    """
    end = min(end, start + MAX_ENTRIES)
    first = start // TILE
    wanted = [Tile(BUNDLE, index, min(TILE, end - index * TILE)) for index in range(first, -(-end // TILE))]
    try:
        bundles = await asyncio.gather(*(read(tile) for tile in wanted))
    except Missing as error:
        raise Halted(
            "log-gap",
            f"The log does not serve all entries from {start} to {end - 1}, which its checkpoint promises: ask its operator, "
            "and read it elsewhere, from an export or a mirror.",
        ) from error
    entries = [entry for tile, raw in zip(wanted, bundles, strict=True) for entry in decode_bundle(raw, tile.width)]
    return entries[start - first * TILE :]


def narrowed(raw: bytes, wide: Tile, width: int) -> bytes:
    """The first *width* hashes or entries of a tile: a partial is a prefix of every wider one (tlog-tiles, "Partial Tiles").

    Raises ``Malformed`` ``bundle-malformed``.
    """
    if wide.level == BUNDLE:
        return encode_bundle(decode_bundle(raw, wide.width)[:width])
    return raw[: width * HASH_BYTES]
