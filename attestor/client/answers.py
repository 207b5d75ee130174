"""Answers, read back: bounded, decoded as the types that the service encodes, problems as the errors that it raised."""

from typing import Final, TypeVar

import aiohttp
import msgspec

from attestor.core.errors import (
    AttestorError,
    Conflict,
    Exhausted,
    Forbidden,
    Malformed,
    Missing,
    OverRate,
    Rejected,
    TooLarge,
    Unavailable,
)
from attestor.core.wire import Problem

MAX_ANSWER: Final = 64 << 20
_MAX_PROBLEM: Final = 64 << 10
_FIRST_FAILURE: Final = 400
_FIRST_SERVER_FAILURE: Final = 500

CLASSES: Final[dict[int, type[AttestorError]]] = {
    400: Malformed,
    403: Forbidden,
    404: Missing,
    409: Conflict,
    413: TooLarge,
    429: Exhausted,
}

T = TypeVar("T")


async def body(response: aiohttp.ClientResponse, limit: int = MAX_ANSWER) -> bytes:
    """The whole answer. Raises the error that a problem names, ``Unavailable`` ``answer-too-large``."""
    failed = response.status >= _FIRST_FAILURE
    raw = await _bounded(response, _MAX_PROBLEM if failed else limit)
    if failed:
        raise error_of(response.status, raw)
    return raw


async def decoded(response: aiohttp.ClientResponse, type_: type[T]) -> T:
    """The answer as *type_*. Raises as :func:`body`, and ``Unavailable`` ``answer-unreadable``."""
    raw = await body(response)
    try:
        return msgspec.json.decode(raw, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unavailable("answer-unreadable", f"The service answered something else than asked: {error}.") from None


def error_of(status: int, raw: bytes) -> AttestorError:
    """The error that the service raised, with its code and sentence, as the class that says what can be done."""
    try:
        problem = msgspec.json.decode(raw, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        code, sentence = "answer-unreadable", f"The service answered {status} without saying why; is this its address?"
    else:
        code, sentence = problem.code, f"{problem.detail} (request {problem.request_id})"
        if problem.retry_after is not None:
            return OverRate(code, sentence, retry_after=problem.retry_after)
    if status >= _FIRST_SERVER_FAILURE:
        return Unavailable(code, sentence)
    return CLASSES.get(status, Rejected)(code, sentence)


async def _bounded(response: aiohttp.ClientResponse, limit: int) -> bytes:
    raw = bytearray()
    async for chunk in response.content.iter_any():
        raw += chunk
        if len(raw) > limit:
            response.close()
            raise Unavailable("answer-too-large", f"The service answered more than {limit} bytes.")
    return bytes(raw)
