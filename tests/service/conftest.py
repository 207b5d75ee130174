"""The real database with its schema, and the use cases over it, each in its own database role."""

import secrets
import time
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from attestor.app.clock import now
from attestor.content.spool import Spool
from attestor.core.limits import Rate, Rates
from attestor.openpgp.approvers import Approvers
from attestor.service.gate import Gate
from attestor.store.approvals import PostgresApprovals
from attestor.store.archive import PostgresArchive
from attestor.store.ledger import PostgresLedger
from attestor.store.listen import listening
from attestor.store.log import PostgresLog
from attestor.store.migrate import migrate
from attestor.store.pool import Settings, connect
from tests.edges.store.emptying import empty
from tests.service.loghouse import close_memories, sequencing
from tests.service.makers import ORIGIN, make_policy

TABLES = ("releases", "envelopes", "claims", "withdrawals", "decisions", "events", "signing_requests")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def schema(postgres):
    """One migrated database, which each test finds empty."""
    # tests/attacks stands on a ground of its own in the same server.
    name = f"service_{secrets.token_hex(4)}"
    owner = await asyncpg.connect(postgres.dsn())
    await owner.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    await owner.close()
    await migrate(postgres.dsn(database=name))
    return postgres.dsn(database=name)


FREE = Rate(per_minute=60_000_000, burst=100_000_000)
PEER = "192.0.2.7"


class Noting:
    """A lookout that remembers what it was told, in order."""

    def __init__(self):
        self.dissents = []
        self.late = []

    def dissented(self, dissents):
        self.dissents += [(each.operator, each.release_id) for each in dissents]

    def dissented_late(self, dissents):
        self.late += [(each.operator, each.release_id) for each in dissents]


class Anybody(Gate):
    """A gate that tests bring attestations to as one peer where it does not matter which."""

    async def admit(self, raw, address=PEER):
        return await super().admit(raw, address)

    def admit_batch(self, lines, address=PEER):
        return super().admit_batch(lines, address)


class Ground:
    """The migrated database, empty, and what connects to it."""

    def __init__(self, dsn, postgres, stack, folder):
        self.dsn = dsn
        self.postgres = postgres
        self.stack = stack
        self.folder = folder
        self.owner = None
        self.sequence = None
        self.lookout = Noting()
        self._log = AsyncExitStack()

    async def log(self, *, publish=True):
        """Let a sequencer work, in place of the one before."""
        await self.stop_log()
        sequencer = sequencing(self.dsn_of("attestor_sequencer"), ORIGIN, publish=publish)
        self.sequence = await self._log.enter_async_context(sequencer)

    async def stop_log(self):
        """No sequencer works: what is told waits."""
        await self._log.aclose()

    async def settled(self):
        """Once all that waits is in the log, so that every signature made can be read."""
        while await self.owner.fetchval("SELECT EXISTS (SELECT FROM log_outbox)"):
            await self.sequence()

    def dsn_of(self, role):
        return self.postgres.dsn(role, urlsplit(self.dsn).path.removeprefix("/"))

    async def pool(self, role="attestor_api"):
        return await self.stack.enter_async_context(connect(Settings(self.dsn_of(role))))

    async def gate(self, policy=None, *, clock=now, ticks=time.monotonic_ns, **rates):
        """What one API process offers, connected as the API's role."""
        spool = Spool(self.folder / "spool", max_bytes=1 << 20, max_total_bytes=1 << 24)
        spool.prepare()
        watch = await self.stack.enter_async_context(listening(Settings(self.dsn_of("attestor_api"))))
        pool = await self.pool()
        return Anybody(
            ledger=PostgresLedger(pool),
            policy=policy or make_policy(),
            spool=spool,
            watch=watch,
            log=PostgresLog(pool),
            archive=PostgresArchive(pool),
            approvals=PostgresApprovals(pool),
            verify_approval=Approvers().verify,
            now=clock,
            rates=Rates(**{"requests": FREE, "replays": FREE, "payloads": FREE, **rates}),
            ticks=ticks,
            lookout=self.lookout,
        )

    async def sql(self, statement, *values):
        """As the owner: what only an attacker with the database in hand could do."""
        return await self.owner.fetch(statement, *values)

    async def rows(self):
        """How many rows each table has."""
        return {table: await self.owner.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}  # noqa: S608 - constant names


@pytest_asyncio.fixture
async def ground(schema, postgres, tmp_path):
    async with AsyncExitStack() as stack:
        ground = Ground(schema, postgres, stack, tmp_path)
        ground.owner = await asyncpg.connect(schema)
        stack.push_async_callback(ground.owner.close)
        stack.push_async_callback(close_memories)
        await empty(ground.owner)
        stack.push_async_callback(ground.stop_log)
        await ground.log()
        yield ground


@pytest_asyncio.fixture
async def gate(ground):
    return await ground.gate()


@pytest.fixture
def folder(ground):
    """The pull root `files`."""
    path = ground.folder / "files"
    path.mkdir(exist_ok=True)
    return path
