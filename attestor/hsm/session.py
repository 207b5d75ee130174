"""One administrator's conversation with one node: each call once, in a thread, within its time."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from nethsm import NetHSM

from attestor.core.errors import Missing
from attestor.hsm.connection import Connection, NodeSettings
from attestor.hsm.keys import Login
from attestor.hsm.slots import Slots

T = TypeVar("T")
ADMIN: Final = "admin"
"""The Administrator whom provisioning a device makes."""


class Session:
    """Made by :func:`open_session`."""

    def __init__(self, connection: Connection, slots: Slots) -> None:
        """Of one connection, with one slot."""
        self._connection = connection
        self._slots = slots

    async def ask(self, login: Login | None, work: Callable[[NetHSM], T]) -> T:
        """``work`` as this user. Raises only errors of :mod:`attestor.core.errors`; nothing is tried again."""
        async with self._slots.take() as slot:
            return await slot.run(lambda: self._connection.call(login, work))

    async def find(self, login: Login, work: Callable[[NetHSM], T]) -> T | None:
        """The same; None where the device answers that there is no such thing."""
        try:
            return await self.ask(login, work)
        except Missing:
            return None


@asynccontextmanager
async def open_session(node: NodeSettings) -> AsyncIterator[Session]:
    """Talk to a node; ``node.answer_seconds`` bounds each call, making RSA keys included (a minute is not too much)."""
    connection, slots = Connection(node), Slots(1, "hsm-admin")
    try:
        yield Session(connection, slots)
    finally:
        slots.close()
        connection.close()
