"""Where the service listens, for whom, and behind which TLS; started whole or not at all, ended after the last answer."""

import asyncio
import ipaddress
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry

import attestor
from attestor.api import openapi
from attestor.api.call import House, Probe
from attestor.api.door import Door
from attestor.api.metrics import Metrics, Standing
from attestor.api.peer import Network, Peers
from attestor.api.routes import Audience
from attestor.api.tls import TlsFiles, server_tls
from attestor.api.turnstile import Turnstile
from attestor.api.unixsocket import UnixSite, UnixSocket
from attestor.core.errors import Rejected, Unavailable
from attestor.core.socketaddress import is_socket, socket_path
from attestor.service.gate import Gate

__all__ = ["Limits", "Listener", "Running", "TlsFiles", "serve"]

PUBLIC: Final = frozenset({"read", "submit"})
_KEEPALIVE_SECONDS: Final = 75
_LINGER_SECONDS: Final = 2
_MAX_LINE: Final = 8190
_MAX_HEADERS: Final = 64
_MAX_PORT: Final = 65535
_BACKLOG: Final = 1024

Place = tuple[str, int] | Path
"""Host and port, or the path of a socket."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One ``address`` (``host:port``, an IPv6 host in brackets, port 0 takes a free one; or ``unix:/path``) and whom it serves.

    ``connections`` is how many may be open at once; ``proxies`` are the networks whose ``X-Forwarded-For`` is believed.
    """

    address: str
    audiences: frozenset[Audience]
    tls: TlsFiles | None = None
    connections: int = 1024
    proxies: tuple[Network, ...] = ()

    def checked(self) -> "Place":
        """Where that is. Raises ``Rejected`` ``listener-…``, ``socket-path`` for what must not be served so."""
        if not self.audiences:
            raise Rejected("listener-without-audience", f"{self.address} serves nobody: name its audiences.")
        if "request" in self.audiences and self.proxies:
            raise Rejected(
                "listener-proxies", f"{self.address} serves request, so it ends TLS itself and stands behind no proxy."
            )
        if is_socket(self.address):
            self._refuse_unfit_for_socket()
            return Path(socket_path(self.address))
        host, colon, port = self.address.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > _MAX_PORT:
            raise Rejected("listener-address", f"{self.address!r} is no host:port, and no unix:/path.")
        host = host.removeprefix("[").removesuffix("]")
        if not (self.tls and self.tls.client_ca) and self._needs_client_ca(host):
            named = ", ".join(sorted(self.audiences - PUBLIC))
            raise Rejected(
                "listener-without-client-ca", f"{self.address} serves {named}: give it TLS with a client_ca."
            )
        return host, int(port)

    def _refuse_unfit_for_socket(self) -> None:
        if self.tls or self.proxies or "operate" in self.audiences:
            raise Rejected(
                "listener-socket", f"{self.address} is a socket: it has no TLS, no proxies, and does not serve operate."
            )

    def _needs_client_ca(self, host: str) -> bool:
        # Health and metrics change nothing; on loopback Prometheus may read them without a certificate.
        return "request" in self.audiences or ("operate" in self.audiences and not _is_loopback(host))


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the process takes at once: single submissions and batches inside, and seconds for the last answers."""

    submissions: int = 256
    batches: int = 8
    drain_seconds: float = 30


class Running:
    """The listeners of one process, open. ``addresses`` are (host, port) of those with a port, in their order.

    ``named`` says the same of all, as a log line does.
    """

    def __init__(self, opened: Sequence["_Opened"], leaving: asyncio.Event) -> None:
        self._opened = opened
        self._leaving = leaving
        bound = [one.runner.addresses[0] for one in opened]
        self.addresses = tuple((str(each[0]), int(each[1])) for each in bound if isinstance(each, tuple))
        self.named = tuple(f"{each[0]}:{each[1]}" if isinstance(each, tuple) else f"unix:{each}" for each in bound)

    async def stop(self) -> None:
        """Accept nothing new, answer what is under way (who waits, at once), close. Can be called again."""
        self._leaving.set()
        await asyncio.gather(*(one.close() for one in self._opened))


async def serve(  # noqa: PLR0913 - what the process brings, each by name
    listeners: Sequence[Listener],
    gate: Gate,
    *,
    registry: CollectorRegistry,
    probes: Sequence[Probe] = (),
    standing: Callable[[], Awaitable[Standing]] | None = None,
    limits: Limits | None = None,
) -> Running:
    """Open all listeners, or none. Raises ``Rejected`` ``listener-…``, ``Unavailable`` ``listener-in-use``.

    ``probes`` are the parts of ``/readyz``; *registry* is what ``/metrics`` shows, with what *standing* reads.
    """
    limits = limits or Limits()
    house = House(
        gate=gate,
        probes=probes,
        metrics=Metrics(registry),
        standing=standing,
        document=openapi.document(attestor.__version__),
        singles=Turnstile(limits.submissions),
        batches=Turnstile(limits.batches),
        leaving=asyncio.Event(),
    )
    places = [(listener, listener.checked(), _context(listener)) for listener in listeners]
    opened: list[_Opened] = []
    try:
        for listener, place, tls in places:
            opened.append(_Opened(_runner(listener, house, limits)))
            await opened[-1].open(place, tls)
    except BaseException:
        await asyncio.gather(*(one.close() for one in opened))
        raise
    return Running(opened, house.leaving)


class _Opened:
    """One listener, on its way from nothing to open and back."""

    def __init__(self, runner: web.ServerRunner) -> None:
        self.runner = runner
        self._socket: UnixSocket | None = None

    async def open(self, place: Place, tls: ssl.SSLContext | None) -> None:
        await self.runner.setup()
        if isinstance(place, Path):
            self._socket = UnixSocket(place)
            await UnixSite(self.runner, self._socket, backlog=_BACKLOG).start()
            return
        host, port = place
        try:
            await web.TCPSite(self.runner, host, port, ssl_context=tls, backlog=_BACKLOG).start()
        except OSError as error:
            raise Unavailable("listener-in-use", f"{host}:{port} cannot be opened: {error.strerror}.") from None

    async def close(self) -> None:
        opened, self._socket = self._socket, None
        if opened is not None:
            opened.remove()
        await self.runner.cleanup()
        if opened is not None:
            opened.close()


class _Connection(web.RequestHandler):
    """Answers what is no HTTP with a problem as well; aiohttp itself answers plain text."""

    def __init__(self, server: "_Server", **options: Any) -> None:
        super().__init__(server, **options)
        self._door = server.door

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0 or status != web.HTTPBadRequest.status_code:
            return super().handle_error(request, status, exc, message)
        return self._door.unreadable(message or "")


class _Server(web.Server):
    """Closes connections over its limit at once; aiohttp itself takes as many as there are descriptors."""

    limit: int = 0
    door: Door

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self.connections) > self.limit:
            # In a moment: aiohttp takes for granted that its task on a connection starts before the connection ends.
            asyncio.get_running_loop().call_soon(transport.abort)


def _runner(listener: Listener, house: House, limits: Limits) -> web.ServerRunner:
    door = Door(listener.audiences, house, Peers(local=is_socket(listener.address), proxies=listener.proxies))
    server = _Server(
        door,
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=_KEEPALIVE_SECONDS,
        lingering_time=_LINGER_SECONDS,
        max_line_size=_MAX_LINE,
        max_field_size=_MAX_LINE,
        max_headers=_MAX_HEADERS,
    )
    server.limit = listener.connections
    server.door = door
    return web.ServerRunner(server, shutdown_timeout=limits.drain_seconds)


def _context(listener: Listener) -> ssl.SSLContext | None:
    return server_tls(listener.tls, listener.address) if listener.tls is not None else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
