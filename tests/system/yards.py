"""A deployment whose database is stopped, copied and put back: the roles run in this process, each as its own does."""

import asyncio
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, redirect_stdout
from io import StringIO
from unittest.mock import patch

import asyncpg
import msgspec
import pytest

from attestor.app.api import api
from attestor.app.clock import now
from attestor.app.embedded import _at, _endpoints
from attestor.app.house import make_house
from attestor.app.provisioning import provision_hsm
from attestor.app.sequencer import sequence_until, sequencer
from attestor.app.signer import sign_until, signer
from attestor.client.signing import sign_file
from attestor.config import load_config
from attestor.core.errors import Halted
from attestor.core.lanes import Lane
from attestor.embedded.postgres import postgres
from attestor.store.migrate import create_database, migrate
from tests.edges.cli.conftest import PROGRAMS, _exit_code
from tests.system.houses import House

_SEALED = "SELECT count(*) FROM log_entries WHERE kind IN ('decision', 'signature', 'policy')"
_QUEUED = "SELECT count(*) FROM signing_requests WHERE state = 'queued' AND tries = 0"


def _silent(*_said):
    pass


class Yard:
    """The folder of the deployment, and copies of its database and of the signer's anchor by name."""

    def __init__(self, folder, device):
        self.house = House(folder / "house")
        with patch("attestor.app.house.run_program", _run_here):
            deployment = make_house(self.house.folder, _silent)
        # An RSA key takes its time to be made, and no test here signs with it.
        text = deployment.read_text().replace('"rsa"\nrsa_bits = 4096', '"ed25519"')
        # Tests count entries, which nothing is to make by itself.
        deployment.write_text(re.sub(r"^\[canary\]\n(?:\w.*\n)+", "", text, flags=re.MULTILINE))
        self.config = load_config(deployment)
        self.house._addresses = [
            listener.address.replace("127.0.0.1", "localhost") for listener in self.config.listeners
        ]
        self._device = device
        self._copies = folder / "copies"
        self._copies.mkdir()
        self._parts = self.config.embedded.folder
        self._parts.mkdir(mode=0o700)

    def copy(self, name):
        """The folder of the stopped database, and the anchor as it is now."""
        _copy(self._parts / "postgres" / "cluster", self._copies / f"{name}.cluster")
        _copy(self.config.signer.anchor, self._copies / f"{name}.anchor")

    def put_back(self, *, database, anchor):
        """The database of one copy, and the anchor of another."""
        _copy(self._copies / f"{database}.cluster", self._parts / "postgres" / "cluster")
        _copy(self._copies / f"{anchor}.anchor", self.config.signer.anchor)

    @asynccontextmanager
    async def up(self):
        """PostgreSQL, API and sequencer at work; yields what acts there."""
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(postgres(self._parts / "postgres", say=_silent))
            await create_database(database.dsn(), "attestor")
            endpoints = _endpoints(database, self._device)
            (self._parts / "endpoints.json").write_bytes(msgspec.json.encode(endpoints))
            config = _at(self.config, endpoints)
            await migrate(endpoints.dsn_owner)
            await stack.enter_async_context(api(config))
            await stack.enter_async_context(_sequencing(config))
            owner = await stack.enter_async_context(asyncpg.create_pool(endpoints.dsn_owner, min_size=1, max_size=2))
            client = await stack.enter_async_context(self.house.client())
            yield Day(self.house, config, owner, client)


class Day:
    """What is done with a deployment while it is up."""

    def __init__(self, house, config, owner, client):
        self.house = house
        self.config = config
        self.owner = owner
        self._client = client

    async def attest(self, name, *operators):
        await self.house.attest(name, b"the package", *operators)

    async def ask(self, name, seconds=0):
        """Ask for the signature of an agreed release, and wait for it so long."""
        file = self.house.folder / name.file_name
        file.write_bytes(b"the package")
        return (await sign_file(self._client, file, name, wait_seconds=seconds)).request.state

    async def size(self):
        """Of the log, once nothing waits for it."""
        while await self.owner.fetchval("SELECT EXISTS (SELECT FROM log_outbox)"):  # noqa: ASYNC110 - another task
            await asyncio.sleep(0.01)
        return await self.owner.fetchval("SELECT published FROM log_state")

    async def grow(self, size, names):
        """Take in attestations, one entry each, until the log has this size."""
        while await self.size() < size:
            await self.attest(next(names), "carol")

    @asynccontextmanager
    async def signing(self):
        """A signer at work, which nothing halts."""
        async with signer(self.config) as process:
            stop = asyncio.Event()
            task = asyncio.create_task(sign_until(process, stop, workers=(Lane.BULK,) * 2))
            try:
                yield process
            finally:
                stop.set()
                await asyncio.wait_for(task, 20)

    async def halted(self):
        """Why a signer that is started here halts; nothing comes of it but its report."""
        assert await self.owner.fetchval(_QUEUED) > 0, "something is there to be signed"
        before = await self._touched()
        with pytest.raises(Halted) as halted:
            async with signer(self.config) as process, asyncio.timeout(20):
                await sign_until(process, asyncio.Event(), workers=(Lane.BULK,) * 2)
        assert await self._touched() == before
        [status] = await self.owner.fetch("SELECT halted, code, sentence FROM signer_status")
        assert tuple(status) == (True, halted.value.code, halted.value.sentence)
        return halted.value

    async def _touched(self):
        """What a signer would have changed that claims, decides or signs."""
        signatures = await self.owner.fetchval("SELECT count(*) FROM signatures")
        return signatures, await self.owner.fetchval(_SEALED), await self.owner.fetchval(_QUEUED)

    async def recover(self, copy):
        """What `attestor log recover` prints."""
        arguments = ("log", "recover", "--from", str(copy), "--config", str(self.config.path))
        return await asyncio.to_thread(_run_here, "-m", "attestor", *arguments)

    async def serve(self, role):
        """Exit code and what was printed of a role as a process of its own."""
        command = (sys.executable, "-m", "attestor", "serve", "--role", role, "--config", str(self.config.path))
        pipe = asyncio.subprocess.PIPE
        running = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
        said, _ = await asyncio.wait_for(running.communicate(), 60)
        return running.returncode, said.decode()


async def prepared(yard):
    """The device's keys, made once."""
    async with yard.up() as day:
        await provision_hsm(day.config, now())


@asynccontextmanager
async def _sequencing(config):
    async with sequencer(config) as process:
        stop = asyncio.Event()
        task = asyncio.create_task(sequence_until(process, stop))
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait_for(task, 20)


def _run_here(_module, name, *arguments):
    """Run a program of ours to its good end, and return what it printed: an interpreter of its own costs more than the run."""
    program = PROGRAMS["attestor-rebuilder" if name == "rebuilders" else name]
    with (
        patch.object(sys, "argv", [name, *arguments]),
        redirect_stdout(StringIO()) as out,
        ThreadPoolExecutor(1) as thread,
    ):
        assert thread.submit(_exit_code, program).result(60) == 0
    return out.getvalue()


def _copy(source, target):
    shutil.rmtree(target, ignore_errors=True)
    # PostgreSQL's folder may belong to another account.
    subprocess.run(["cp", "-a", source, target], check=True)
