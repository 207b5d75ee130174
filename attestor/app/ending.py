"""How a process ends: on SIGTERM or SIGINT, and when its parent is gone."""

import asyncio
import signal
from collections.abc import Awaitable


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
