"""Blocking work off the event loop, and streams cut into pieces that are worth a thread each."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

BATCH: Final = 1 << 20
"""Bytes: large enough that the change of threads costs nothing beside hashing, small enough to keep memory flat."""

T = TypeVar("T")


async def in_thread(work: Callable[[threading.Event], T]) -> T:
    """Run ``work(stop)`` in a thread. A cancelled caller sets ``stop`` and leaves only when the thread has ended.

    Leaving earlier would close descriptors under the thread, and a closed number is soon another file.
    """
    stop = threading.Event()
    task = asyncio.create_task(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await _ended(task)
        raise


async def _ended(task: asyncio.Task[T]) -> None:
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            continue
    if not task.cancelled():
        task.exception()


async def batches(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Join small chunks into pieces of at least :data:`BATCH` bytes; the last one may be smaller."""
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        if len(held) >= BATCH:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
