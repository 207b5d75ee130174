"""What every client of an HTTP address is: its prefix, its patience, and one session that it closes."""

import ssl
from types import TracebackType
from typing import Final, Self

import aiohttp

from attestor.core.errors import Rejected
from attestor.core.socketaddress import is_socket, socket_path

_CONNECT_SECONDS: Final = 10
_ON_SOCKET: Final = "http://attestor"
"""A name for the Host field; nobody looks it up."""


class HttpAddress:
    """The address below which calls are made; use as an asynchronous context."""

    kind: str
    """What stands at such an address, and how it is written."""
    silence_seconds: float
    """How long an answer may bring nothing more."""

    def __init__(
        self, url: str, *, tls: ssl.SSLContext | None = None, patience_seconds: float = 30, connections: int = 8
    ) -> None:
        """Raises ``Rejected`` ``client-url``, ``socket-path``; calls are tried again for *patience_seconds*.

        ``unix:/PATH`` is a socket of this host, which has no TLS: the kernel tells the service who we are.
        """
        if not url.startswith(("https://", "http://", "unix:")):
            raise Rejected("client-url", f"{url!r} is no address of {self.kind}.")
        self._base = _ON_SOCKET if is_socket(url) else url.rstrip("/")
        self._patience = patience_seconds
        self._session = aiohttp.ClientSession(
            connector=_connector(url, tls, connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=self.silence_seconds),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self._session.close()


def _connector(url: str, tls: ssl.SSLContext | None, connections: int) -> aiohttp.BaseConnector:
    if is_socket(url):
        return aiohttp.UnixConnector(socket_path(url), limit=connections)
    return aiohttp.TCPConnector(ssl=tls if tls is not None else True, limit=connections)
