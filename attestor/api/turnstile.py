"""How many may be inside at once; who comes when it is full is told at once, before any work is done for them."""

import asyncio
from types import TracebackType

from attestor.core.errors import Unavailable


class Turnstile:
    """Verifying one hostile envelope can cost 17 ms of the only core: what waits must be bounded by number."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inside = 0

    async def __aenter__(self) -> None:
        """Raises ``Unavailable`` ``busy`` when *limit* others are inside."""
        if self._inside >= self._limit:
            raise Unavailable("busy", "The service has all the work it takes at once; send it again in a moment.")
        self._inside += 1
        # Verification never yields: without one turn of the loop here, nobody would ever be seen waiting.
        try:
            await asyncio.sleep(0)
        except BaseException:
            self._inside -= 1
            raise

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._inside -= 1
