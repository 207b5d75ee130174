"""One request on its way: what an endpoint gets, and the forms of its answer."""

import asyncio
import functools
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from aiohttp import web

from attestor.api.metrics import Metrics, Standing
from attestor.api.peer import Peer
from attestor.api.turnstile import Turnstile
from attestor.core.tls import load_client_fingerprint
from attestor.core.wire import Answer, PartHealth
from attestor.service.gate import Client, Gate

Probe = Callable[[], Awaitable[PartHealth]]
Q = TypeVar("Q")

# A client's certificate comes with each request of a connection; its key is decoded once.
_fingerprint = functools.lru_cache(maxsize=1024)(load_client_fingerprint)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class House:
    """What all requests of one process share."""

    gate: Gate
    probes: Sequence[Probe]
    metrics: Metrics
    standing: Callable[[], Awaitable[Standing]] | None
    """Reads how signers and log stand, for each scrape."""
    document: bytes
    """The OpenAPI document."""
    singles: Turnstile
    batches: Turnstile
    leaving: asyncio.Event
    """Set when the process ends: whoever waits is answered now."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request that found its row; ``query`` is what the row says, decoded."""

    request: web.BaseRequest
    request_id: str
    path: Mapping[str, str]
    query: object
    house: House
    peer: Peer

    def asked(self, type_: type[Q]) -> Q:
        """The query, as the type that the row names."""
        if not isinstance(self.query, type_):
            raise TypeError(f"the row's query is {type(self.query)}, the endpoint reads {type_}")
        return self.query

    @property
    def client(self) -> Client:
        """Who the TLS handshake of this connection or the kernel proved, and from where; headers say nothing about who."""
        transport = self.request.transport
        tls = transport.get_extra_info("ssl_object") if transport else None
        der = tls.getpeercert(binary_form=True) if tls else None
        return Client(_fingerprint(der) if der else None, self.peer.address, self.peer.user)

    def answer(self, answer: Answer, status: int = 200) -> web.Response:
        """A JSON answer that nobody keeps."""
        return web.Response(
            body=_encode(answer),
            status=status,
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    def tagged(
        self, body: Answer | bytes, media_type: str = "application/json", *, charset: str | None = None
    ) -> web.Response:
        """An answer that can be polled: 304 when the client has these very bytes (RFC 9110 §13.1.2)."""
        raw = body if isinstance(body, bytes) else _encode(body)
        tag = hashlib.sha256(raw).hexdigest()
        headers = {"ETag": f'"{tag}"', "Cache-Control": "no-cache"}
        known = self.request.if_none_match or ()
        if any(each.value in {tag, "*"} for each in known):
            return web.Response(status=304, headers=headers)
        return web.Response(body=raw, content_type=media_type, charset=charset, headers=headers)
