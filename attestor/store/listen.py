"""Wakes who waits, by LISTEN on a connection of its own; a lost hint costs one poll interval, never more (port ``Watch``)."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from attestor.store.pool import Settings, translated

_CHANNEL = "attestor"
_RECONNECT_SECONDS = 1.0
_POLL_SECONDS = 5.0


class Listener:
    """Hints of what moved, by release id; ``None`` waits for anything."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str | None, set[asyncio.Future[None]]] = defaultdict(set)

    async def moved(self, release_id: str | None, seconds: float) -> None:
        """Return when something may have moved, and at the latest after *seconds*."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[release_id].add(future)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(future, min(seconds, _POLL_SECONDS))
        finally:
            self._waiting[release_id].discard(future)
            if not self._waiting[release_id]:
                del self._waiting[release_id]

    def wake(self, release_id: str) -> None:
        for place in (release_id, None):
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
    def heard(_connection: Any, _pid: int, _channel: str, payload: object) -> None:
        listener.wake(str(payload))

    with translated():
        connection = await asyncpg.connect(
            settings.dsn, server_settings={"application_name": "attestor listener"}, timeout=10
        )
    try:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _connection: lost.set())
        await connection.add_listener(_CHANNEL, heard)
        await lost.wait()
    finally:
        await connection.close(timeout=1)
