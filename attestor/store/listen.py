"""Wakes who waits, by LISTEN on one connection of its own; a lost hint costs one poll interval, never more (port ``Watch``).

Four channels: ``attestor`` (a release moved; its id), ``attestor_queue`` (there may be work for signers), ``attestor_log`` (the
published checkpoint grew; its size), ``attestor_outbox`` (the signer waits for what it enqueued).
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import asyncpg

from attestor.store.pool import Settings, translated

_MOVES, _QUEUE, _LOG, _OUTBOX = "attestor", "attestor_queue", "attestor_log", "attestor_outbox"
_RECONNECT_SECONDS = 1.0
_POLL_SECONDS = 5.0

_Place: TypeAlias = tuple[str, str | None]
"""A channel, and the payload that is waited for there; ``None`` is any."""


class Listener:
    """Hints of what moved, by release id; of work for signers; of a larger published checkpoint; of entries for the log."""

    def __init__(self) -> None:
        self._waiting: defaultdict[_Place, set[asyncio.Future[None]]] = defaultdict(set)

    async def moved(self, release_id: str, seconds: float) -> None:
        """Return when something of a release may have moved, and at the latest after *seconds*."""
        await self._wait(seconds, (_MOVES, release_id))

    async def queued(self, seconds: float) -> None:
        """Return when a request may have come into the queue, and at the latest after *seconds*.

        What signers themselves do to requests is no such hint: each would wake all the others in vain.
        """
        await self._wait(seconds, (_QUEUE, None))

    async def logged(self, seconds: float) -> None:
        """Return when a larger checkpoint may be published, and at the latest after *seconds*."""
        await self._wait(seconds, (_LOG, None))

    async def enqueued(self, seconds: float) -> None:
        """Return when somebody may wait for what is in the outbox, and at the latest after *seconds*."""
        await self._wait(seconds, (_OUTBOX, None), (_QUEUE, None))

    async def _wait(self, seconds: float, *places: _Place) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for place in places:
            self._waiting[place].add(future)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(future, min(seconds, _POLL_SECONDS))
        finally:
            for place in places:
                self._waiting[place].discard(future)
                if not self._waiting[place]:
                    del self._waiting[place]

    def wake(self, channel: str, payload: str) -> None:
        for place in ((channel, payload), (channel, None)):
            for future in self._waiting.get(place, ()):
                if not future.done():
                    future.set_result(None)


@asynccontextmanager
async def listening(settings: Settings) -> AsyncIterator[Listener]:
    """Keep a listener connected for as long as the context lasts."""
    listener = Listener()
    task = asyncio.create_task(_stay_connected(settings, listener), name="listener")
    try:
        yield listener
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _stay_connected(settings: Settings, listener: Listener) -> None:
    while True:
        # Who waits polls meanwhile, so a database that is away needs no other answer than another try.
        with suppress(Exception):
            await _listen(settings, listener)
        await asyncio.sleep(_RECONNECT_SECONDS)


async def _listen(settings: Settings, listener: Listener) -> None:
    def heard(_connection: Any, _pid: int, channel: str, payload: object) -> None:
        listener.wake(channel, str(payload))

    with translated():
        connection = await asyncpg.connect(
            settings.dsn, server_settings={"application_name": "attestor listener"}, timeout=10
        )
        try:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _connection: lost.set())
            for channel in (_MOVES, _QUEUE, _LOG, _OUTBOX):
                await connection.add_listener(channel, heard)
            await lost.wait()
        finally:
            await connection.close(timeout=1)
