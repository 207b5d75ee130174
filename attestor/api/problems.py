"""Which status a failure has: one table from the classes of ``core.errors`` to RFC 9457 problems."""

from typing import Final

import msgspec
from aiohttp import web

from attestor.core.errors import (
    AttestorError,
    Conflict,
    Exhausted,
    Forbidden,
    Halted,
    Malformed,
    Missing,
    OverRate,
    Rejected,
    TooLarge,
    Unavailable,
)
from attestor.core.wire import Problem

PROBLEM_TYPE: Final = "application/problem+json"
_RETRY_SECONDS: Final = "1"


class WrongMethod(Rejected):
    """The URL exists, the method does not (RFC 9110 §15.5.6)."""

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__("method-not-allowed", f"This URL does not take {method[:20]}; it takes {allowed}.")
        self.allowed = allowed


class WrongMediaType(Rejected):
    """The body is of a type that is not read here (RFC 9110 §15.5.16)."""


class TooSlow(Rejected):
    """The body did not come in time (RFC 9110 §15.5.9)."""


TABLE: Final[dict[type[AttestorError], tuple[int, str]]] = {
    Malformed: (400, "The input cannot be read"),
    Forbidden: (403, "Not permitted"),
    Missing: (404, "Not found"),
    WrongMethod: (405, "Method not allowed"),
    TooSlow: (408, "The body did not come in time"),
    Conflict: (409, "Someone else moved first"),
    TooLarge: (413, "Over a limit"),
    WrongMediaType: (415, "Wrong media type"),
    Rejected: (422, "The input is wrong"),
    Exhausted: (429, "A count is used up"),
    Unavailable: (503, "Not available now"),
    Halted: (503, "The log contradicts itself"),
}


class _Unexpected(AttestorError):
    """What this program did not foresee: logged with all it has, answered with nothing of it."""


def problem_of(error: Exception, request_id: str) -> Problem:
    """The RFC 9457 object of a failure; what is no ``AttestorError`` of the table becomes ``internal`` without any detail."""
    found = next((TABLE[base] for base in type(error).__mro__ if base in TABLE), None)
    if found is None or not isinstance(error, AttestorError):
        found = (500, "Internal error")
        error = _Unexpected("internal", f"The service failed; its log says why under request id {request_id}.")
    status, title = found
    return Problem(
        type=f"urn:attestor:problem:{error.code}",
        title=title,
        status=status,
        detail=error.sentence,
        code=error.code,
        request_id=request_id,
        retry_after=error.retry_after if isinstance(error, OverRate) else None,
    )


def refusal(error: Exception, problem: Problem) -> web.Response:
    """The answer that carries *problem*, which was made of *error*."""
    response = web.Response(status=problem.status, body=msgspec.json.encode(problem), content_type=PROBLEM_TYPE)
    # A cache may keep a 404 by itself (RFC 9111 §4.2.2), and what is not there now may be there in a moment.
    response.headers["Cache-Control"] = "no-store"
    if isinstance(error, WrongMethod):
        response.headers["Allow"] = error.allowed
    if isinstance(error, Unavailable):
        response.headers["Retry-After"] = _RETRY_SECONDS
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    if isinstance(error, TooLarge | TooSlow):
        response.force_close()  # the rest of the body is not worth reading
    return response
