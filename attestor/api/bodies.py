"""Bodies of requests: limited before they are read, given up when they stall, never gathered when they are large."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from typing import Final, TypeVar

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from attestor.api.problems import TooSlow, WrongMediaType
from attestor.core import strictjson
from attestor.core.errors import Malformed, Rejected, TooLarge

MAX_ASK_BYTES: Final = 64 << 10
_MAX_ASK_DEPTH: Final = 8
_MAX_SENTENCE: Final = 300
_WHOLE_SECONDS: Final = 30
_STALL_SECONDS: Final = 60

T = TypeVar("T")


def refuse_media_type(request: web.BaseRequest, *accepted: str) -> None:
    """Refuse a body of another type, or a compressed one: sizes are counted as they come, and signed bytes are plain."""
    if request.content_type not in accepted:
        sent = json.dumps(request.content_type[:80])
        raise WrongMediaType("media-type", f"The body is {sent}; send Content-Type: {accepted[0]}.")
    if "Content-Encoding" in request.headers:
        raise WrongMediaType("content-encoding", "The body is compressed; send it as it is.")


def refuse_announced(request: web.BaseRequest, limit: int) -> None:
    """Refuse by ``Content-Length`` what would be over *limit*, before a byte of it is read."""
    if (request.content_length or 0) > limit:
        raise _too_large(limit)


async def whole(request: web.BaseRequest, limit: int) -> bytes:
    """The body of at most *limit* bytes, within 30 s. Raises ``TooLarge``, ``TooSlow``, ``Malformed`` ``body-truncated``."""
    refuse_announced(request, limit)
    await _go_on(request)
    content = request.content
    if content.is_eof():  # what came in one packet with its head needs no clock
        body = content.read_nowait()
        if len(body) > limit:
            raise _too_large(limit)
        return body
    try:
        async with asyncio.timeout(_WHOLE_SECONDS):
            return await _gathered(request, limit)
    except TimeoutError:
        raise TooSlow("body-too-slow", f"The body did not come whole within {_WHOLE_SECONDS} s.") from None


async def chunks(request: web.BaseRequest, *, patience: float = math.inf) -> AsyncIterator[bytes]:
    """The body as it comes; memory stays flat.

    Raises ``TooSlow`` after 60 s without a byte, or *patience* seconds of waiting in all; ``Malformed`` ``body-truncated``.
    """
    await _go_on(request)
    clock = asyncio.get_running_loop().time
    while True:
        began = clock()
        try:
            async with asyncio.timeout(min(_STALL_SECONDS, patience)):
                chunk = await request.content.readany()
        except TimeoutError:
            raise TooSlow("body-too-slow", "The body comes too slowly, or no byte of it came for long.") from None
        except (web.RequestPayloadError, HttpProcessingError):
            raise _truncated() from None
        if not chunk:
            return
        patience = max(0.0, patience - (clock() - began))
        yield chunk


async def ask(request: web.BaseRequest, type_: type[T], limit: int = MAX_ASK_BYTES) -> T:
    """A JSON body with one meaning only, as *type_*. Raises ``Malformed``, or ``Rejected`` ``ask-invalid`` with the place."""
    refuse_media_type(request, "application/json")
    value = strictjson.decode(await whole(request, limit), limit_depth=_MAX_ASK_DEPTH)
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        raise Rejected(
            "ask-invalid", f"The request does not fit: {json.dumps(str(error))[1:-1][:_MAX_SENTENCE]}."
        ) from None


async def _gathered(request: web.BaseRequest, limit: int) -> bytes:
    body = bytearray()
    try:
        while chunk := await request.content.readany():
            body += chunk
            if len(body) > limit:
                raise _too_large(limit)
    except (web.RequestPayloadError, HttpProcessingError):
        raise _truncated() from None
    return bytes(body)


async def _go_on(request: web.BaseRequest) -> None:
    """Say ``100 Continue`` where it is awaited (RFC 9110 §10.1.1): only now, so that what is refused is never sent."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.writer.output_size == 0:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


def _too_large(limit: int) -> TooLarge:
    return TooLarge("body-too-large", f"The body has more than {limit} bytes, which is the limit here.")


def _truncated() -> Malformed:
    return Malformed("body-truncated", "The body ended before its announced end.")
