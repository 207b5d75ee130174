"""A bounded number of threads for calls that block, each bound to a slot until it has really ended."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Slot:
    """The right to run one call at a time; made by :meth:`Slots.take`."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        """Of these threads, one is ours."""
        self._threads = threads
        self.thread: asyncio.Future[Any] | None = None
        """The call that runs, or the last one."""

    async def run(self, work: Callable[[], T]) -> T:
        """``work()`` in a thread. A caller that is cancelled or past its deadline leaves at once; its thread goes on."""
        if self.thread is not None and not self.thread.done():
            raise RuntimeError("this slot's thread has not ended")
        thread = asyncio.get_running_loop().run_in_executor(self._threads, work)
        self.thread = thread
        return await asyncio.shield(thread)


class Slots:
    """``count`` slots with a thread each. For one event loop."""

    def __init__(self, count: int, name: str) -> None:
        """All free; threads start as they are needed."""
        self._threads = ThreadPoolExecutor(count, name)
        self._free = asyncio.Semaphore(count)
        self.late = 0
        """Calls whose callers left before the thread had ended; their results were dropped."""

    def free(self) -> bool:
        """Whether :meth:`take` would give a slot at once."""
        return not self._free.locked()

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Slot]:
        """Wait for a slot. It comes back at the end of the block, or when the thread that still runs in it ends."""
        await self._free.acquire()
        slot = Slot(self._threads)
        try:
            yield slot
        finally:
            if slot.thread is None or slot.thread.done():
                self._free.release()
            else:
                self.late += 1
                slot.thread.add_done_callback(self._ended)

    def _ended(self, thread: asyncio.Future[Any]) -> None:
        self._free.release()
        if not thread.cancelled():
            thread.exception()  # seen, so that asyncio does not report it: the result is dropped

    def close(self) -> None:
        """Take no more work. A thread that runs ends by its connection's time limits."""
        self._threads.shutdown(wait=False, cancel_futures=True)
