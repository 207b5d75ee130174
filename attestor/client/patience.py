"""How often a call is made: what may pass is tried again until a deadline, everything else is said at once."""

import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_before_delay, wait_random_exponential

from attestor.core.errors import OverRate, Rejected, Unavailable

T = TypeVar("T")


_backoff = wait_random_exponential(multiplier=0.2, max=5)


class Unreachable(Unavailable):
    """No answer came, so nobody knows whether the call was done."""


async def patiently(call: Callable[[], Awaitable[T]], *, seconds: float, repeatable: bool = True) -> T:
    """The result of *call*, tried again until the deadline while it raises ``Unavailable``, or ``OverRate``, which says for how long.

    A call that is not *repeatable* is only made again where the service said that it did not do it.
    """

    def may_pass(error: BaseException) -> bool:
        if isinstance(error, OverRate):
            return True
        return isinstance(error, Unavailable) and (repeatable or not isinstance(error, Unreachable))

    tries = AsyncRetrying(
        retry=retry_if_exception(may_pass),
        stop=stop_before_delay(seconds),
        wait=_pause,
        reraise=True,
    )

    # tenacity awaits only what it recognises as a coroutine function, and a lambda is none.
    async def once() -> T:
        return await call()

    return await tries(once)


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    return error.retry_after if isinstance(error, OverRate) else _backoff(state)


async def reached(call: Callable[[], Awaitable[T]]) -> T:
    """The result of *call*, with what the transport raises said as ``Unreachable``, or ``Rejected`` ``tls-refused``."""
    try:
        return await call()
    except (aiohttp.ClientError, TimeoutError, ConnectionError, ssl.SSLError) as error:
        # In TLS 1.3 a refused client certificate is an alert after the connection stands, wrapped by aiohttp.
        if any(isinstance(each, ssl.SSLError) for each in (error, error.__cause__, error.__context__)):
            raise Rejected("tls-refused", f"The service cannot be trusted, or does not trust you: {error}.") from None
        why = str(error) or type(error).__name__
        raise Unreachable("unreachable", f"The service does not answer: {why}.") from None
