"""One migrated database, which each test finds empty, and connections to it in each role."""

import asyncio
import secrets
from contextlib import AsyncExitStack

import asyncpg
import pytest
import pytest_asyncio

from attestor.service.sequence import Sequencer
from attestor.store.listen import listening
from attestor.store.log import PostgresLog, PostgresLogBook
from attestor.store.migrate import migrate
from attestor.store.pool import Settings, connect
from tests.edges.store.emptying import empty
from tests.edges.store.logmakers import KEY


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def migrated(postgres):
    name = f"store_{secrets.token_hex(4)}"
    owner = await asyncpg.connect(postgres.dsn())
    await owner.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    await owner.close()
    await migrate(postgres.dsn(database=name))
    return lambda user="postgres": postgres.dsn(user, name)


class Stand:
    """The empty database, and what connects to it."""

    def __init__(self, dsn, stack, owner):
        self.dsn = dsn
        self.owner = owner
        self._stack = stack

    async def pool(self, role):
        return await self._stack.enter_async_context(connect(Settings(self.dsn(f"attestor_{role}"))))

    async def listener(self, role):
        return await self._stack.enter_async_context(listening(Settings(self.dsn(f"attestor_{role}"))))

    async def book(self):
        """What one sequencer process holds."""
        return PostgresLogBook(await self.pool("sequencer"), await self.listener("sequencer"))

    async def log(self, role="api"):
        return PostgresLog(await self.pool(role))

    async def connection(self, role):
        connection = await asyncpg.connect(self.dsn(f"attestor_{role}"))
        self._stack.push_async_callback(connection.close)
        return connection

    async def until(self, true):
        """Wait for what happens in other sessions and processes."""
        async with asyncio.timeout(20):
            while not await true():  # noqa: ASYNC110 - nothing there tells us
                await asyncio.sleep(0.005)

    async def until_blocked(self):
        """Wait until a session waits for a lock that another holds."""
        await self.until(lambda: self.owner.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))

    async def heard(self, channel):
        """`heard = await ...`: every call returns the payloads of the hints on a channel since the last one."""
        payloads = asyncio.Queue()
        connection = await self.connection("api")
        await connection.add_listener(channel, lambda *hint: payloads.put_nowait(hint[-1]))

        async def since():
            # Hints come in the order of their commits, so what is in front of the mark is all there is.
            await self.owner.execute("SELECT pg_notify($1, 'mark')", channel)
            return [payload async for payload in _until_mark(payloads)]

        return since


async def _until_mark(payloads):
    async with asyncio.timeout(20):
        while (payload := await payloads.get()) != "mark":
            yield payload


@pytest_asyncio.fixture
async def stand(migrated):
    async with AsyncExitStack() as stack:
        owner = await asyncpg.connect(migrated())
        stack.push_async_callback(owner.close)
        await empty(owner)
        yield Stand(migrated, stack, owner)


@pytest.fixture
def sequencer():
    """`sequencer(book)` appends what waits, as each sequencer process does."""
    return lambda book, publish=True: Sequencer(book, KEY, publish=publish)
