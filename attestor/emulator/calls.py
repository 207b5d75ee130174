"""What an endpoint gets and gives, and the shapes of the JSON bodies that it reads.

Every shape refuses members that the OpenAPI description does not name, as the device does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import msgspec

from attestor.emulator.access import Caller, FailedLogins
from attestor.emulator.device import Device
from attestor.emulator.errors import StatusError

JSON = "application/json"
PEM = "application/x-pem-file"
BYTES = "application/octet-stream"
FORM = "multipart/form-data"


class Answer(NamedTuple):
    """An HTTP answer. ``content_type`` goes out exactly as it stands: the SDK refuses ``; charset=utf-8``."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    location: str | None = None


DONE = Answer(204)
CREATED = Answer(201)
UNCHANGED = Answer(304)


def answer_json(content: Any, status: int = 200, location: str | None = None) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, msgspec.json.encode(content), JSON, location)


class SignSlots:
    """How many signatures are made at a time, and how long each takes: a device's speed, for measurements."""

    def __init__(self, slots: int, delay: float) -> None:
        """``slots`` 0 means no limit; ``delay`` in seconds."""
        self._slots = asyncio.Semaphore(slots) if slots else None
        self._delay = delay

    async def __aenter__(self) -> None:
        if self._slots is not None:
            await self._slots.acquire()
        if self._delay:
            await asyncio.sleep(self._delay)

    async def __aexit__(self, *_: object) -> None:
        if self._slots is not None:
            self._slots.release()


@dataclass(slots=True)
class Emulator:
    """What all requests share."""

    device: Device
    failed_logins: FailedLogins
    sign_slots: SignSlots
    counters: dict[str, int]

    def count(self, name: str) -> None:
        """One more of what ``GET /metrics`` shows."""
        self.counters[name] = self.counters.get(name, 0) + 1


@dataclass(frozen=True, slots=True)
class Call:
    """One request that passed state, method, authentication, role and headers; the content type with its parameters."""

    emulator: Emulator
    address: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    content_type: str
    body: bytes
    known_caller: Caller | None

    @property
    def device(self) -> Device:
        return self.emulator.device

    @property
    def caller(self) -> Caller:
        """The authenticated user; only public endpoints have none, and they do not ask."""
        if self.known_caller is None:
            raise RuntimeError("a public endpoint asked for its caller")
        return self.known_caller


Endpoint = Callable[[Call], Awaitable[Answer]]


class Body(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A JSON body: members as the OpenAPI description spells them, no others."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"


_Body = TypeVar("_Body", bound=Body)


def read_json(body: bytes, shape: type[_Body]) -> _Body:
    """The body, else 400."""
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StatusError(400, f"Invalid data for JSON schema: {error}.") from None
