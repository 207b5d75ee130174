"""A C2SP tlog-tiles log read over HTTP (port ``LogSource``): this service's, a mirror's, or a static tree on any web server."""

import ssl
from types import TracebackType
from typing import Final, Self

import aiohttp

from attestor.client.answers import body
from attestor.client.patience import patiently, reached
from attestor.core.errors import Missing, Rejected, Unavailable
from attestor.core.tlog.grammar import HASH_BYTES
from attestor.core.tlog.note import MAX_NOTE_BYTES
from attestor.core.tlog.tiles import BUNDLE, MAX_ENTRY, TILE, Tile
from attestor.service.tilewise import entries_of, narrowed

_CONNECT_SECONDS: Final = 10
_SILENCE_SECONDS: Final = 30
_LENGTH_BYTES: Final = 2
_ELSEWHERE: Final = range(300, 400)


class HttpLog:
    """The log below ``url`` (``https://host:port/log``: where ``/checkpoint`` and ``/tile/`` are); use as a context.

    Raises ``Unavailable`` ``unreachable`` where nobody answered within *patience_seconds*.
    """

    def __init__(
        self, url: str, *, tls: ssl.SSLContext | None = None, patience_seconds: float = 30, connections: int = 8
    ) -> None:
        if not url.startswith(("https://", "http://")):
            raise Rejected("client-url", f"{url!r} is no address of a log: https://host:port/log.")
        self._prefix = url.rstrip("/")
        self._patience = patience_seconds
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls if tls is not None else True, limit=connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self._session.close()

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
            async with self._session.get(f"{self._prefix}/{path}", allow_redirects=False) as response:
                if response.status in _ELSEWHERE:
                    raise Unavailable(
                        "answer-unreadable", f"{self._prefix} leads elsewhere: give the log's own address."
                    )
                return await body(response, limit)

        return await patiently(lambda: reached(once), seconds=self._patience)


def _most(tile: Tile) -> int:
    """Bytes that a tile or bundle of this width can have."""
    return tile.width * (_LENGTH_BYTES + MAX_ENTRY if tile.level == BUNDLE else HASH_BYTES)
