"""Audience ``request``: who is known by certificate asks for signatures."""

import asyncio

import structlog
from aiohttp import web

from attestor.api import bodies
from attestor.api.call import Call
from attestor.api.queries import RequestsQuery, WaitQuery
from attestor.api.read import given
from attestor.core.wire import SigningRequestAsk, SigningRequestView

SIGNATURE_TYPE = "application/pgp-signature"


async def ask(call: Call) -> web.StreamResponse:
    """Ask for the signature of an artifact; asking again joins the live or signed request."""
    asked = await bodies.ask(call.request, SigningRequestAsk)
    view, opened = await call.house.gate.ask(call.client, asked)
    structlog.contextvars.bind_contextvars(release_id=view.release_id, signing_request=view.id)
    answer = call.answer(view, 201 if opened else 200)
    answer.headers["Location"] = f"/v1/signing-requests/{view.id}"
    return answer


async def requests(call: Call) -> web.StreamResponse:
    """A page of the client's own signing requests."""
    wanted = call.asked(RequestsQuery)
    page = await call.house.gate.requests(
        call.client, state=given(wanted.state), cursor=given(wanted.cursor), limit=wanted.limit
    )
    return call.tagged(page)


async def request(call: Call) -> web.StreamResponse:
    """One signing request; with ``wait``, as soon as it is settled, and at the latest after so many seconds."""
    seconds = call.asked(WaitQuery).wait
    view = await _settled(call, seconds) if seconds else await _now(call)
    return call.tagged(view)


async def upload(call: Call) -> web.StreamResponse:
    """The bytes of the artifact, streamed."""
    bodies.refuse_media_type(call.request, "application/octet-stream")
    content = bodies.chunks(call.request)
    return call.answer(await call.house.gate.upload(call.client, call.path["requestId"], content))


async def signature(call: Call) -> web.StreamResponse:
    """The detached OpenPGP signature, binary, the same bytes at every read."""
    name, made = await call.house.gate.signature(call.client, call.path["requestId"])
    answer = call.tagged(made, SIGNATURE_TYPE)
    # Names of releases hold neither quotes nor backslashes (core.naming), so they need no quoting here.
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


async def withdraw(call: Call) -> web.StreamResponse:
    """Take the request back before it is signed."""
    return call.answer(await call.house.gate.withdraw(call.client, call.path["requestId"]))


async def retry(call: Call) -> web.StreamResponse:
    """Queue a request again that was set aside."""
    return call.answer(await call.house.gate.retry(call.client, call.path["requestId"]))


async def _now(call: Call) -> SigningRequestView:
    return await call.house.gate.request(call.client, call.path["requestId"])


async def _settled(call: Call, seconds: float) -> SigningRequestView:
    """Wait; when the process ends meanwhile, answer with what is known, and the client asks another process."""
    waiting = asyncio.ensure_future(call.house.gate.wait(call.client, call.path["requestId"], seconds))
    leaving = asyncio.ensure_future(call.house.leaving.wait())
    try:
        await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return await waiting if waiting.done() else await _now(call)
    finally:
        waiting.cancel()
        leaving.cancel()
