"""The whole gate as an attacker finds it: real database and roles, real keys, the emulated device, the signer's own code."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest
import pytest_asyncio

from attestor.core.algorithm import Algorithm
from attestor.core.errors import Halted
from attestor.embedded.device import emulator
from attestor.service import case, conclude
from attestor.store.listen import Listener
from tests.edges.hsm.nodes import Running
from tests.service.conftest import folder, gate, ground, schema  # noqa: F401 - the same ground, for these tests too
from tests.service.loghouse import caught_up, following
from tests.service.makers import BUILDER, asking, package, vote
from tests.service.signers import device_of, make_certificates, make_signing, sign_next, under

GOOD = b"the package"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def device(tmp_path_factory):
    """An emulated device with keys, and their certificates by tier."""
    async with emulator(tmp_path_factory.mktemp("hsm")) as started:
        running = Running(started).set_up()
        yield running, await make_certificates(running)


@pytest_asyncio.fixture
async def process(ground, device, folder):  # noqa: F811 - the fixture, not the import
    """What one signer process holds, and the task that follows the log for it; pull root `files` is *folder*."""
    running, certificates = device
    made = device_of(running.node())
    process = make_signing(await ground.pool("attestor_signer"), Listener(), made, certificates, ground.folder)
    async with following(process.past) as follower:
        yield process, follower
    made.close()


class Scene:
    """Short words for what attacks start from and end in."""

    def __init__(self, gate, ground, process, folder, running):  # noqa: F811 - the fixtures
        self.gate = gate
        self.ground = ground
        self.signing, self.follower = process
        self.folder = folder
        self.running = running

    def place(self, release, content=GOOD):
        (self.folder / release.file_name).write_bytes(content)

    async def queued(self, release=None, content=GOOD):
        """A release that two of three operators agree on, asked for; returns the request's id."""
        release = release or package()
        self.place(release, content)
        await self.gate.admit(vote(release, content, "alice", "bob"))
        opened, _ = await self.gate.ask(BUILDER, asking(release, content))
        assert opened.state == "queued"
        return opened.id

    async def sign(self):
        return await sign_next(self.signing)

    async def caught_up(self):
        """All that waits is in the log, and the signer remembers it."""
        await caught_up(self.ground, self.signing.past)

    async def aware(self):
        """The signer has logged its policy and remembers all: from here on it tells the log what an attack makes it tell."""
        await self.signing.conclusions.refuse_other_policy()
        await self.caught_up()

    @asynccontextmanager
    async def untouched(self):
        """Nothing is asked of the device, told to the log or stored as a signature."""
        before = await self._touched()
        yield
        assert await self._touched() == before

    async def _touched(self):
        told = await self.ground.owner.fetchval(
            "SELECT (SELECT count(*) FROM log_outbox) + (SELECT count(*) FROM log_entries)"
        )
        return self.running.operations(Algorithm.ED25519), told, await self.signatures()

    async def halts(self, code, request=None):
        """The signer halts with this code, and the request says so; nothing else comes of it."""
        async with self.untouched():
            with pytest.raises(Halted) as raised:
                await self.sign()
        assert raised.value.code == code
        assert await self.standing(request) == ("queued", code)

    async def follower_halts(self, code):
        """The log itself halts the process, whatever it signs."""
        with pytest.raises(Halted) as raised:
            await asyncio.wait_for(self.follower, 10)
        assert raised.value.code == code

    async def loads(self, policy):
        """The signer loads another policy file, and the API's role says that it decided under the same."""
        self.signing = under(self.signing, policy)
        await self.as_api("UPDATE decisions SET policy_digest = $1", policy.digest)

    async def as_api(self, statement, *values):
        """As a taken-over API process: its database role, and nothing else."""
        connection = await asyncpg.connect(self.ground.dsn_of("attestor_api"))
        try:
            return await connection.execute(statement, *values)
        finally:
            await connection.close()

    async def standing(self, request=None):
        rows = await self.ground.sql("SELECT id::text, state, reason FROM signing_requests")
        return next((row["state"], row["reason"]) for row in rows if request in {None, row["id"]})

    async def signatures(self):
        return (await self.ground.sql("SELECT count(*) AS n FROM signatures"))[0]["n"]


@pytest_asyncio.fixture
async def scene(gate, ground, process, folder, device):  # noqa: F811 - the fixtures
    return Scene(gate, ground, process, folder, device[0])


@pytest.fixture
def impatient(monkeypatch):
    """A signer that does not wait long for what the log will never say."""
    monkeypatch.setattr(case, "_LOGGED_SECONDS", 0.1)
    monkeypatch.setattr(conclude, "INCLUDED_SECONDS", 0.3)
