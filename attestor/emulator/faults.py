"""Faults to order, for tests: a queue that the control endpoint ``/faults`` (outside of /api/v1) fills.

Each request takes the first fault in the queue whose method and path match it, and uses it up once.
"""

import asyncio
import re
from contextlib import suppress
from typing import Annotated, Literal

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

_MOST = 1000


class _Match(msgspec.Struct, forbid_unknown_fields=True):
    """``method`` absent: any. ``path``: a regular expression for the whole path after /api/v1; absent: any."""

    method: str | None = None
    path: str = ".*"

    def fits(self, request: web.Request) -> bool:
        path = request.path.removeprefix("/api/v1")
        return self.method in (None, request.method) and re.fullmatch(self.path, path) is not None


class _Fault(msgspec.Struct, forbid_unknown_fields=True):
    """What befalls the next ``count`` requests that match.

    ``delay``: wait ``milliseconds`` first, or until faults are forgotten, then go on as usual. ``status``: answer ``status`` and do nothing else.
    ``hang``: never answer. ``drop-after-sign``: do all that was asked, then close the connection instead of answering.
    """

    action: Literal["delay", "status", "hang", "drop-after-sign"]
    match: _Match = msgspec.field(default_factory=_Match)
    count: Annotated[int, msgspec.Meta(ge=1, le=_MOST)] = 1
    milliseconds: Annotated[int, msgspec.Meta(ge=0, le=600_000)] = 0
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 503

    def __post_init__(self) -> None:
        re.compile(self.match.path)


class Faults:
    """The queue, its control endpoint, and the middleware that applies it."""

    def __init__(self) -> None:
        self._queue: list[_Fault] = []
        self._stopping = asyncio.Event()
        self._forgotten = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        """POST one fault, GET those left, DELETE them all."""
        return [web.post("/faults", self._add), web.get("/faults", self._show), web.delete("/faults", self._clear)]

    def release(self) -> None:
        """Let go of the requests that hang or are delayed, so that the program can end."""
        self._stopping.set()
        self._forgotten.set()

    async def _add(self, request: web.Request) -> web.Response:
        try:
            fault = msgspec.json.decode(await request.read(), type=_Fault)
        except (msgspec.MsgspecError, re.error) as error:
            raise web.HTTPBadRequest(text=f"no fault: {error}\n") from None
        if len(self._queue) >= _MOST:
            raise web.HTTPTooManyRequests(text="the queue is full\n")
        self._queue.append(fault)
        return web.Response(status=204)

    async def _show(self, _: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self._queue), content_type="application/json")

    async def _clear(self, _: web.Request) -> web.Response:
        self._queue.clear()
        self._forgotten.set()
        self._forgotten = asyncio.Event()
        return web.Response(status=204)

    def middleware(self) -> Middleware:
        """The part that stands before the API."""

        @web.middleware
        async def befall(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._apply(request, handler)

        return befall

    async def _apply(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        fault = None if request.path == "/faults" else self._take(request)
        if fault is None:
            return await handler(request)
        if fault.action == "status":
            return _failed(fault.status)
        if fault.action == "hang":
            await self._stopping.wait()
            return _dropped(request)
        if fault.action == "delay":
            with suppress(TimeoutError):
                await asyncio.wait_for(self._forgotten.wait(), fault.milliseconds / 1000)
        response = await handler(request)
        return _dropped(request) if fault.action == "drop-after-sign" else response

    def _take(self, request: web.Request) -> _Fault | None:
        for fault in self._queue:
            if fault.match.fits(request):
                fault.count -= 1
                if not fault.count:
                    self._queue.remove(fault)
                return fault
        return None


def _failed(status: int) -> web.Response:
    if status == 503:  # the device's answer when an exception escapes is no JSON
        return web.Response(status=503, text="Fault ordered by a test")
    body = msgspec.json.encode({"message": "Fault ordered by a test."})
    return web.Response(status=status, body=body, headers={"Content-Type": "application/json"})


def _dropped(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
