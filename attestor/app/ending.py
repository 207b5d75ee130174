"""How a process ends: on SIGTERM or SIGINT, and by what halted it."""

import asyncio
import signal
from collections.abc import Awaitable

from attestor.core.errors import Halted


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def until(stop: asyncio.Event, awaited: Awaitable[object]) -> None:
    """Wait for *awaited*, or for *stop*, whichever comes first; the other is cancelled."""
    both = {asyncio.ensure_future(awaited), asyncio.ensure_future(stop.wait())}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in both:
            each.cancel()
        await asyncio.gather(*both, return_exceptions=True)


def halted_among(failures: BaseExceptionGroup[BaseException]) -> Halted | None:
    """The first of what tasks failed with that halts the whole process."""
    for failure in failures.exceptions:
        found = halted_among(failure) if isinstance(failure, BaseExceptionGroup) else failure
        if isinstance(found, Halted):
            return found
    return None
