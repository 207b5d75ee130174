"""What every request passes, in the device's order, before its endpoint sees it.

412 state, 501 unknown method, 414, 405, then with authentication 429, 401, 403 role, then 415, 413, 406; the endpoints go
on with 404, 400 and 403 tags. (reference: the Webmachine diagram with the device's overrides)
"""

from collections.abc import Collection

from aiohttp import web

from attestor.emulator.access import Caller, authenticate, check_role
from attestor.emulator.calls import Answer, Call, Emulator, answer_json
from attestor.emulator.errors import StatusError
from attestor.emulator.table import Row

_KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT", "OPTIONS"})
_LONGEST_URI = 2000


class Gate:
    """One path of the table: its rows by method, in front of the emulator that they share."""

    def __init__(self, emulator: Emulator, rows: Collection[Row]) -> None:
        """All rows of a path are open in the same states."""
        self._emulator = emulator
        self._rows = {row.method: row for row in rows}
        (self._states,) = {frozenset(row.states) for row in rows}

    async def serve(self, request: web.Request) -> web.Response:
        """Answer one request; never logs it, because it carries a passphrase."""
        try:
            answer = await self._answer(request)
            headers: dict[str, str] = {}
        except StatusError as error:
            answer, headers = answer_json({"message": error.message}, error.status), error.headers
        self._emulator.count(f"http response {answer.status}")
        if answer.body:
            headers["Content-Type"] = answer.content_type
        if answer.location:
            headers["Location"] = answer.location
        return web.Response(status=answer.status, body=answer.body or None, headers=headers)

    async def _answer(self, request: web.Request) -> Answer:
        row = self._row(request)
        address = request.remote or ""
        caller = self._caller(row, address, request)
        _check_headers(row, request)
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise _too_large(row) from None
        if len(body) > row.limit:  # chunked: no length was announced
            raise _too_large(row)
        content_type = request.headers.get("Content-Type", "")
        call = Call(self._emulator, address, request.match_info, request.query, content_type, body, caller)
        return await row.endpoint(call)

    def _row(self, request: web.Request) -> Row:
        if self._emulator.device.state not in self._states:
            raise StatusError(412, "Service not available")
        if request.method not in _KNOWN_METHODS:
            raise StatusError(501, f"The method {request.method} is not implemented.")
        if len(request.raw_path) > _LONGEST_URI:
            raise StatusError(414, f"The URI is longer than {_LONGEST_URI} characters.")
        if request.method not in self._rows:
            raise StatusError(405, "Method not allowed.", {"Allow": ", ".join(self._rows)})
        return self._rows[request.method]

    def _caller(self, row: Row, address: str, request: web.Request) -> Caller | None:
        if row.roles is None:
            return None
        device = self._emulator.device
        authorization = request.headers.get("Authorization")
        caller = authenticate(device, self._emulator.failed_logins, address, authorization)
        check_role(device, caller, row.roles, root_only=row.root_only)
        return caller


def _check_headers(row: Row, request: web.Request) -> None:
    if row.accepts is not None and _media_type(request.headers.get("Content-Type", "")) not in row.accepts:
        raise StatusError(415, f"Content-Type must be one of {', '.join(filter(None, row.accepts))}.")
    if (request.content_length or 0) > row.limit:
        raise _too_large(row)
    wanted = {_media_type(one) for one in request.headers.get("Accept", "*/*").split(",")}
    if wanted.isdisjoint({row.provides, row.provides.partition("/")[0] + "/*", "*/*"}):
        raise StatusError(406, f"This answers in {row.provides} only.")


def _too_large(row: Row) -> StatusError:
    return StatusError(413, f"The body is larger than {row.limit} bytes.")


def _media_type(header: str) -> str:
    return header.partition(";")[0].strip().lower()


async def not_emulated(_: web.Request) -> web.Response:
    """501 for what the device can do and this program cannot."""
    return _refused(501, "This part of the API is not emulated; see the README of attestor/emulator.")


async def unknown(_: web.Request) -> web.Response:
    """404 for what the device does not know either."""
    return _refused(404, "There is no such path in this API.")


def _refused(status: int, message: str) -> web.Response:
    answer = answer_json({"message": message})
    return web.Response(status=status, body=answer.body, headers={"Content-Type": answer.content_type})
