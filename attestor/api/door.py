"""What stands behind one listener: finds the row, calls its endpoint, turns each failure into a problem, counts and logs."""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from aiohttp import web

from attestor.api import queries
from attestor.api.call import Call, House
from attestor.api.peer import Peers
from attestor.api.problems import WrongMethod, problem_of, refusal
from attestor.api.routes import ANY, ROWS, Row
from attestor.core.errors import Malformed, Missing

_NOWHERE: Final = "none"
_MAX_SENTENCE: Final = 200
_NO_PLACES: Final[Mapping[str, str]] = {}
_LOG = structlog.get_logger(__name__)


class Table:
    """The rows of some audiences, found by path and method; a row of another audience is not there at all."""

    def __init__(self, audiences: frozenset[str]) -> None:
        rows = [row for row in ROWS if row.audience in audiences or row.audience == ANY]
        self._fixed = {row.path: _by_method(rows, row.path) for row in rows if "{" not in row.path}
        self._patterns = [(row.pattern, _by_method(rows, row.path)) for row in rows if "{" in row.path]

    def find(self, method: str, path: str) -> tuple[Row, Mapping[str, str]]:
        """The row and what stands in its places. Raises ``Missing``, ``WrongMethod``."""
        methods, places = self._fixed.get(path), _NO_PLACES
        if methods is None:
            methods, places = self._by_pattern(path)
        row = methods.get("GET" if method == "HEAD" else method)
        if row is None:
            raise WrongMethod(method, ", ".join([*methods, *(["HEAD"] if "GET" in methods else [])]))
        return row, places

    def _by_pattern(self, path: str) -> tuple[dict[str, Row], Mapping[str, str]]:
        for pattern, methods in self._patterns:
            if found := pattern.fullmatch(path):
                return methods, found.groupdict()
        raise Missing("not-found", "There is nothing at this URL; /openapi.json lists what there is.")


@dataclass(slots=True)
class _Visit:
    """What is counted and logged of one request."""

    request_id: str
    started: float
    row: Row | None = None
    code: str | None = None


class Door:
    """One listener's answer to everything; an ``aiohttp.web.Server`` calls it."""

    def __init__(self, audiences: frozenset[str], house: House, peers: Peers) -> None:
        self._table = Table(audiences)
        self._house = house
        self._peers = peers

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        visit = _Visit(secrets.token_hex(8), time.perf_counter())
        # A kept-alive connection is one task: what the request before it was about is over.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=visit.request_id)
        try:
            answer = await self._answer(request, visit)
        except Exception as error:  # noqa: BLE001 - the one place where every failure becomes a problem
            answer = self._refusal(error, visit)
        if not answer.prepared:
            _mark(answer, visit)
        self._note(request.method, visit, answer.status)
        return answer

    def unreadable(self, why: str) -> web.Response:
        """The answer to what is no HTTP request; the connection ends with it."""
        visit = _Visit(secrets.token_hex(8), time.perf_counter())
        said = json.dumps(why.partition("\n")[0])[1:-1][:_MAX_SENTENCE]
        answer = self._refusal(Malformed("http-malformed", f"This is no HTTP/1.1 request: {said}"), visit)
        answer.force_close()
        _mark(answer, visit)
        self._note(_NOWHERE, visit, answer.status)
        return answer

    async def _answer(self, request: web.BaseRequest, visit: _Visit) -> web.StreamResponse:
        row, places = self._table.find(request.method, request.rel_url.raw_path)
        visit.row = row
        about = {"release_id": places.get("releaseId"), "signing_request": places.get("requestId")}
        structlog.contextvars.bind_contextvars(**{name: value for name, value in about.items() if value})
        query = queries.read(request.rel_url.raw_query_string, row.query or queries.Query)
        peer = await self._peers.of(request, named=row.audience == "request")
        return await row.endpoint(Call(request, visit.request_id, places, query, self._house, peer))

    def _refusal(self, error: Exception, visit: _Visit) -> web.Response:
        problem = problem_of(error, visit.request_id)
        visit.code = problem.code
        self._house.metrics.refused(problem.code)
        if problem.status == web.HTTPInternalServerError.status_code:
            _LOG.error("request failed", exc_info=error)
        return refusal(error, problem)

    def _note(self, called: str, visit: _Visit, status: int) -> None:
        seconds = time.perf_counter() - visit.started
        row = visit.row
        method, route = (row.method, row.path) if row else (_NOWHERE, _NOWHERE)
        self._house.metrics.answered(method, route, status, seconds)
        # Reads and accepted votes are many, and counted; the events of the ledger name each vote.
        if row is not None and row.audience != "request" and visit.code is None:
            return
        _LOG.info(
            "request",
            method=called,
            route=route,
            status=status,
            code=visit.code,
            milliseconds=round(seconds * 1000, 1),
        )


def _mark(answer: web.StreamResponse, visit: _Visit) -> None:
    answer.headers["X-Request-Id"] = visit.request_id
    answer.headers["Server"] = "attestor"
    answer.headers["X-Content-Type-Options"] = "nosniff"


def _by_method(rows: Sequence[Row], path: str) -> dict[str, Row]:
    return {row.method: row for row in rows if row.path == path}
