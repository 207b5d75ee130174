"""What signals ask of a process: to end, on SIGTERM or SIGINT, and to read its policy again, on SIGHUP; and what halted it."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable

from attestor.core.errors import Halted


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def wait_for_hangups() -> None:
    """From here on SIGHUP ends no process of ours; who listens to it, comes later."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def on_hangup(asked: Callable[[], None], stop: asyncio.Event) -> None:
    """Call *asked* on SIGHUP, and once now for one that came too early; a terminal that is gone ends the process as ever."""
    terminal = _has_terminal()

    def hung_up() -> None:
        (stop.set if terminal and not _has_terminal() else asked)()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)
    asked()


def _has_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


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
