"""The whole gate as an attacker finds it: real database and roles, real keys, the emulated device, the signer's own code."""

import asyncpg
import pytest_asyncio

from attestor.embedded.device import emulator
from attestor.service.sign import sign_next
from attestor.store.listen import Listener
from tests.edges.hsm.nodes import Running
from tests.service.conftest import folder, gate, ground, schema  # noqa: F401 - the same ground, for these tests too
from tests.service.loghouse import caught_up, following
from tests.service.makers import BUILDER, asking, package, vote
from tests.service.signers import device_of, make_certificates, make_signing, under

GOOD = b"the package"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def device(tmp_path_factory):
    """An emulated device with keys, and their certificates by tier."""
    async with emulator(tmp_path_factory.mktemp("hsm")) as started:
        running = Running(started).set_up()
        yield running, await make_certificates(running)


@pytest_asyncio.fixture
async def signing(ground, device, folder):  # noqa: F811 - the fixture, not the import
    """What one signer process holds; pull root `files` is *folder*."""
    running, certificates = device
    made = device_of(running.node())
    process = make_signing(await ground.pool("attestor_signer"), Listener(), made, certificates, ground.folder)
    async with following(process.past):
        yield process
    made.close()


class Scene:
    """Short words for what attacks start from and end in."""

    def __init__(self, gate, ground, signing, folder, running):  # noqa: F811 - the fixtures
        self.gate = gate
        self.ground = ground
        self.signing = signing
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
async def scene(gate, ground, signing, folder, device):  # noqa: F811 - the fixtures
    return Scene(gate, ground, signing, folder, device[0])
