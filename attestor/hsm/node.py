"""One node as the device sees it: does it serve, and may this user be tried on it now?"""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from attestor.core.errors import AttestorError, Forbidden, Rejected, Unavailable
from attestor.hsm.connection import Connection
from attestor.hsm.errors import BUSY, DEADLINE, LOGIN

FIRST_PAUSE, PAUSE_FACTOR, LONGEST_PAUSE = 2.0, 1.5, 30.0
"""Seconds that a node which failed is left alone: the first time, how that grows, and its end."""
BLOCKED: Final = 1.0
"""Seconds that a failed login blocks its user for, without a Retry-After."""

T = TypeVar("T")


class _Gate:
    """The calls of one user to one node: one by one until a login has worked, and again after each 429."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.proven = False
        self.blocked_until = 0.0


class Node:
    """A node's health and logins. For one event loop, whose clock it reads."""

    def __init__(self, connection: Connection, refused_users: dict[str, AttestorError]) -> None:
        """``refused_users`` is shared by all nodes: a passphrase that is wrong on one is tried on none."""
        self.connection = connection
        self.identified = False
        self._refused_users = refused_users
        self._gates: dict[str, _Gate] = defaultdict(_Gate)
        self._failures = 0
        self._down_since = self._down_until = 0.0
        self._why: Unavailable | None = None

    def ready_in(self, user: str) -> float:
        """Seconds until this user may be tried here; 0 is now."""
        return max(self._down_until, self._gates[user].blocked_until, _now()) - _now()

    async def call(self, user: str, work: Callable[[], Awaitable[T]], ends: float) -> T:
        """``await work()``, in the user's turn, noting what its failure says about node and user; ``ends`` by the loop's clock.

        Raises what ``work`` does; Unavailable at once while the node is left alone, and ``hsm-deadline`` at the end;
        Forbidden ``hsm-login`` once a login of this user failed.
        """
        gate = self._gates[user]
        if not gate.proven:
            async with _turn(gate.turn, ends):
                if not gate.proven:
                    return await self._try(user, gate, work, ends)
        return await self._try(user, gate, work, ends)

    async def _try(self, user: str, gate: _Gate, work: Callable[[], Awaitable[T]], ends: float) -> T:
        self._require_open(user, gate)
        started = _now()
        try:
            result = await _by(ends, work())
        except (Unavailable, Forbidden) as error:
            self._note(user, gate, error, started)
            raise
        gate.proven = True
        self._failures = 0
        return result

    def _require_open(self, user: str, gate: _Gate) -> None:
        if user in self._refused_users:
            # Anew, because an exception that is raised twice collects both tracebacks.
            raise Forbidden(LOGIN, self._refused_users[user].sentence)
        if gate.blocked_until > _now():
            raise Unavailable(BUSY, f"{user} waits until {self.connection.settings.host} takes logins again.")
        if self._why is not None and self._down_until > _now():
            raise Unavailable(self._why.code, f"Left alone for now, because: {self._why.sentence}")

    def _note(self, user: str, gate: _Gate, error: Unavailable | Rejected, started: float) -> None:
        if error.code == LOGIN:
            gate.proven = False
            self._refused_users[user] = error
        elif error.code == BUSY:
            gate.proven = False
            # Jitter, so that several programs behind one address do not come back together.
            gate.blocked_until = _now() + BLOCKED + random.uniform(0.05, 0.5)  # noqa: S311 - no secret
        elif isinstance(error, Unavailable):
            self._failed(error, started)

    def _failed(self, error: Unavailable, started: float) -> None:
        """Leave the node alone for a while. Calls that had started before the last failure count with it."""
        self.identified = False
        if started < self._down_since:
            return
        self._why, self._down_since = error, _now()
        self._down_until = _now() + min(FIRST_PAUSE * PAUSE_FACTOR**self._failures, LONGEST_PAUSE)
        self._failures += 1


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _by(ends: float, awaited: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout_at(ends):
            return await awaited
    except TimeoutError:
        raise Unavailable(DEADLINE, "The NetHSM did not answer within the call's deadline.") from None


@asynccontextmanager
async def _turn(lock: asyncio.Lock, ends: float) -> AsyncIterator[None]:
    await _by(ends, lock.acquire())
    try:
        yield
    finally:
        lock.release()
