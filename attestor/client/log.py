"""A C2SP tlog-tiles log read over HTTP (port ``LogSource``): this service's, a mirror's, or a static tree on any web server."""

from typing import Final

from attestor.client.address import HttpAddress
from attestor.client.answers import body
from attestor.client.patience import patiently, reached
from attestor.core.errors import Missing, Unavailable
from attestor.core.tlog.grammar import HASH_BYTES
from attestor.core.tlog.note import MAX_NOTE_BYTES
from attestor.core.tlog.tiles import BUNDLE, MAX_ENTRY, TILE, Tile
from attestor.service.tilewise import entries_of, narrowed

_LENGTH_BYTES: Final = 2
_ELSEWHERE: Final = range(300, 400)


class HttpLog(HttpAddress):
    """The log below ``url`` (``https://host:port/log``: where ``/checkpoint`` and ``/tile/`` are); use as a context.

    Raises ``Unavailable`` ``unreachable`` where nobody answered within *patience_seconds*.
    """

    kind = "a log: https://host:port/log"
    silence_seconds = 30

    async def checkpoint(self) -> bytes | None:
        try:
            return await self._bytes("checkpoint", MAX_NOTE_BYTES)
        except Missing as error:
            # Our service says so where there is no log at all; elsewhere nobody can tell that from an empty one.
            if error.code == "not-found":
                raise
            return None

    async def tile(self, tile: Tile) -> bytes:
        try:
            return await self._bytes(tile.path, _most(tile))
        except Missing:
            if tile.width == TILE:
                raise
        # A log may drop a partial tile once the full one is there (tlog-tiles, "Partial Tiles").
        full = Tile(tile.level, tile.index)
        return narrowed(await self._bytes(full.path, _most(full)), full, tile.width)

    async def entries(self, start: int, end: int) -> list[bytes]:
        return await entries_of(self.tile, start, end)

    async def _bytes(self, path: str, limit: int) -> bytes:
        async def once() -> bytes:
            async with self._session.get(f"{self._base}/{path}", allow_redirects=False) as response:
                if response.status in _ELSEWHERE:
                    raise Unavailable("answer-unreadable", f"{self._base} leads elsewhere: give the log's own address.")
                return await body(response, limit)

        return await patiently(lambda: reached(once), seconds=self._patience)


def _most(tile: Tile) -> int:
    """Bytes that a tile or bundle of this width can have."""
    return tile.width * (_LENGTH_BYTES + MAX_ENTRY if tile.level == BUNDLE else HASH_BYTES)
