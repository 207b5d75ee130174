"""Where the service listens, for whom, and behind which TLS; started whole or not at all, ended after the last answer."""

import asyncio
import ipaddress
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry

import attestor
from attestor.api import openapi
from attestor.api.call import House, Probe
from attestor.api.door import Door
from attestor.api.metrics import Metrics, Standing
from attestor.api.routes import Audience
from attestor.api.turnstile import Turnstile
from attestor.core.errors import Rejected, Unavailable
from attestor.service.gate import Gate

PUBLIC: Final = frozenset({"read", "submit"})
_KEEPALIVE_SECONDS: Final = 75
_LINGER_SECONDS: Final = 2
_MAX_LINE: Final = 8190
_MAX_HEADERS: Final = 64
_MAX_PORT: Final = 65535
_BACKLOG: Final = 1024


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the server's certificate chain and key, and the authority that client certificates must come from."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """One ``address`` (``host:port``, an IPv6 host in brackets; port 0 takes a free one) and whom it serves.

    ``connections`` is how many may be open at once.
    """

    address: str
    audiences: frozenset[Audience]
    tls: TlsFiles | None = None
    connections: int = 1024

    def checked(self) -> tuple[str, int]:
        """Host and port. Raises ``Rejected`` ``listener-…`` for what must not be served so."""
        host, colon, port = self.address.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > _MAX_PORT:
            raise Rejected("listener-address", f"{self.address!r} is no host:port.")
        if not self.audiences:
            raise Rejected("listener-without-audience", f"{self.address} serves nobody: name its audiences.")
        host = host.removeprefix("[").removesuffix("]")
        if not (self.tls and self.tls.client_ca) and self._needs_client_ca(host):
            named = ", ".join(sorted(self.audiences - PUBLIC))
            raise Rejected(
                "listener-without-client-ca", f"{self.address} serves {named}: give it TLS with a client_ca."
            )
        return host, int(port)

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
    """The listeners of one process, open. ``addresses`` are (host, port) in the order of the listeners."""

    def __init__(self, runners: Sequence[web.ServerRunner], leaving: asyncio.Event) -> None:
        self._runners = runners
        self._leaving = leaving
        self.addresses = tuple((str(runner.addresses[0][0]), int(runner.addresses[0][1])) for runner in runners)

    async def stop(self) -> None:
        """Accept nothing new, answer what is under way (who waits, at once), close. Can be called again."""
        self._leaving.set()
        await asyncio.gather(*(runner.cleanup() for runner in self._runners))


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
    places = [(listener, *listener.checked(), _context(listener)) for listener in listeners]
    runners: list[web.ServerRunner] = []
    try:
        for listener, host, port, tls in places:
            runners.append(_runner(listener, house, limits))
            await _open(runners[-1], host, port, tls)
    except BaseException:
        await asyncio.gather(*(runner.cleanup() for runner in runners))
        raise
    return Running(runners, house.leaving)


class _Server(web.Server):
    """Closes connections over its limit at once; aiohttp itself takes as many as there are descriptors."""

    limit: int = 0

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self.connections) > self.limit:
            # In a moment: aiohttp takes for granted that its task on a connection starts before the connection ends.
            asyncio.get_running_loop().call_soon(transport.abort)


def _runner(listener: Listener, house: House, limits: Limits) -> web.ServerRunner:
    server = _Server(
        Door(listener.audiences, house),
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=_KEEPALIVE_SECONDS,
        lingering_time=_LINGER_SECONDS,
        max_line_size=_MAX_LINE,
        max_field_size=_MAX_LINE,
        max_headers=_MAX_HEADERS,
    )
    server.limit = listener.connections
    return web.ServerRunner(server, shutdown_timeout=limits.drain_seconds)


async def _open(runner: web.ServerRunner, host: str, port: int, tls: ssl.SSLContext | None) -> None:
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls, backlog=_BACKLOG).start()
    except OSError as error:
        raise Unavailable("listener-in-use", f"{host}:{port} cannot be opened: {error.strerror}.") from None


def _context(listener: Listener) -> ssl.SSLContext | None:
    """TLS 1.3 alone; with a client authority, a certificate that it signed, by the strict rules of RFC 5280."""
    files = listener.tls
    if files is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
        if files.client_ca is not None:
            context.load_verify_locations(cafile=files.client_ca)
    except (OSError, ssl.SSLError) as error:
        raise Rejected("listener-tls", f"The TLS files of {listener.address} cannot be used: {error}.") from None
    if files.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.num_tickets = 0  # a resumed session would not look at the certificate's validity again
    return context


def _no_password() -> str:
    """Without this OpenSSL asks at the terminal, and the service hangs at start."""
    return ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
