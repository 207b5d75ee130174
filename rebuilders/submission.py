"""One attestation to the service: the POST, the tries, the receipt, the problem.

The same bytes may be sent any number of times (the service answers with the first receipt), so whatever may pass is tried
again until the deadline: a connection that fails, 502 to 504, and 429 where the service says when to come back.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_before_delay, wait_random_exponential

from attestor.core.errors import AttestorError, Conflict, Exhausted, Forbidden, Missing, Rejected, TooLarge, Unavailable

MEDIA_TYPE: Final = "application/vnd.dsse.envelope.v1+json"
MAX_ANSWER_BYTES: Final = 1 << 20
_ATTEMPT_SECONDS: Final = 30.0
_SHORTEST_ATTEMPT: Final = 0.1
_LONGEST_PAUSE: Final = 3600
_PASSING: Final = frozenset({502, 503, 504})
_ERRORS: Final[dict[int, type[AttestorError]]] = {
    403: Forbidden,
    404: Missing,
    409: Conflict,
    413: TooLarge,
    429: Exhausted,
}
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class ReleaseReceipt(msgspec.Struct, frozen=True, rename="camel"):
    """How one release stands now. What newer services add is ignored."""

    id: str
    kind: str = ""
    purl: str = ""
    file_name: str = ""
    state: str = ""
    agreeing: tuple[object, ...] = ()
    dissenting: tuple[object, ...] = ()
    equivocating: tuple[object, ...] = ()
    missing: int | None = None


class Receipt(msgspec.Struct, frozen=True, rename="camel"):
    """The service's answer to an attestation that it keeps."""

    payload_digest: str
    replay: bool = False
    releases: tuple[ReleaseReceipt, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """Where attestations go."""

    url: str
    """``https://HOST[:PORT][/PATH]``, without ``/v1``; ``http`` to this same machine only."""
    deadline_seconds: float
    """For all tries together."""
    ca: Path | None = None
    """PEM certificates to trust instead of the system's."""


class _Later(Unavailable):
    """The same bytes may be accepted later; carries how long the service asks to wait."""

    def __init__(self, code: str, sentence: str, seconds: float | None = None) -> None:
        super().__init__(code, sentence)
        self.seconds = seconds


def plain(text: str) -> str:
    """What a stranger sent, without characters that a terminal would act on."""
    return "".join(character if character.isprintable() else "?" for character in text)


async def submit(service: Service, envelope: bytes) -> tuple[Receipt, bytes]:
    """Send one envelope to ``/v1/attestations``; the receipt, and the answer's own JSON.

    Raises Unavailable when the deadline passes (with the last reason); Rejected, Conflict, Forbidden, Missing, TooLarge or
    Exhausted with the code and detail of the service's problem document; Rejected ``server-url``, ``tls-refused``, ``ca-unreadable``,
    ``answer-unreadable``.
    """
    url = _endpoint(service.url)
    trust = _trust(service.ca)
    ends = asyncio.get_running_loop().time() + service.deadline_seconds
    # The proof is in the signature: no cookies, no proxy or netrc of the environment, no redirects.
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(_Later),
            stop=stop_before_delay(service.deadline_seconds),
            wait=_pause,
            reraise=True,
        ):
            with attempt:
                left = max(ends - asyncio.get_running_loop().time(), _SHORTEST_ATTEMPT)
                answer = await _post(session, url, trust, envelope, min(left, _ATTEMPT_SECONDS))
    return _receipt(answer), answer


_backoff = wait_random_exponential(multiplier=0.2, max=30)


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _Later) and error.seconds is not None:
        return error.seconds
    return _backoff(state)


async def _post(
    session: aiohttp.ClientSession, url: str, trust: ssl.SSLContext, envelope: bytes, seconds: float
) -> bytes:
    try:
        async with session.post(
            url,
            data=envelope,
            headers={"Content-Type": MEDIA_TYPE, "Accept": "application/json, application/problem+json"},
            ssl=trust,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=seconds),
        ) as response:
            answer = await _bounded(response)
            if not response.ok or response.status in range(300, 400):
                raise _problem(response.status, response.headers, answer)
            return answer
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
        raise Rejected("tls-refused", f"TLS with {url} failed: {plain(str(error))}; give its CA with --ca.") from None
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
        why = plain(str(error)) or "no answer in time"
        raise _Later("server-unreachable", f"{url} cannot be reached: {why}.") from None
    except aiohttp.ClientError as error:
        raise Rejected("answer-unreadable", f"{url} does not answer as HTTP: {plain(str(error))}.") from None


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    answer = bytearray()
    async for block in response.content.iter_chunked(1 << 16):
        answer += block
        if len(answer) > MAX_ANSWER_BYTES:
            raise Rejected("answer-unreadable", f"The service's answer is over {MAX_ANSWER_BYTES} bytes.")
    return bytes(answer)


class _Problem(msgspec.Struct):
    """RFC 9457."""

    type: str = "about:blank"
    title: str = ""
    detail: str = ""


def _problem(status: int, headers: Mapping[str, str], answer: bytes) -> AttestorError:
    try:
        problem = msgspec.json.decode(answer, type=_Problem)
    except msgspec.MsgspecError:
        problem = _Problem()
    code = plain(problem.type.rpartition(":")[2])[:64] or f"http-{status}"
    code = f"http-{status}" if problem.type == "about:blank" else code
    sentence = plain(problem.detail or problem.title)[:1000] or f"The service answered with status {status}."
    pause = _seconds(headers.get("Retry-After"))
    # A 429 that names no time is a count that stays used up (payloads of one operator on one release).
    if status in _PASSING or (status == 429 and pause is not None):
        return _Later(code, sentence, pause)
    return _ERRORS.get(status, Unavailable if status >= 500 else Rejected)(code, sentence)


def _seconds(retry_after: str | None) -> float | None:
    """RFC 9110 §10.2.3 in seconds, the form that the service sends; never longer than the longest pause."""
    if retry_after is None or not (retry_after.isascii() and retry_after.isdigit()):
        return None
    return float(min(int(retry_after[:6]), _LONGEST_PAUSE))


def _receipt(answer: bytes) -> Receipt:
    try:
        return msgspec.json.decode(answer, type=Receipt)
    except msgspec.MsgspecError as error:
        raise Rejected("answer-unreadable", f"The service's receipt cannot be read: {plain(str(error))}.") from None


def _endpoint(server: str) -> str:
    try:
        parts = urlsplit(server)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    safe = parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
    if not host or not safe or parts.query or parts.fragment or parts.username is not None:
        raise Rejected(
            "server-url", f"{plain(server)[:128]} is no service: write https://HOST[:PORT]; http only to this machine."
        )
    return server.rstrip("/") + "/v1/attestations"


def _trust(ca: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise Rejected("ca-unreadable", f"The CA file {ca} cannot be read: {error.strerror or error}.") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
