"""The service on trial: embedded PostgreSQL and emulator, its roles as processes of their own, and a database to count in."""

import asyncio
import re
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aiohttp
import asyncpg

from attestor.app import embedded
from attestor.app.clock import now
from attestor.app.embedded import embedded_parts
from attestor.app.house import make_house
from attestor.app.provisioning import provision_hsm
from attestor.client.calls import AttestorClient
from attestor.client.tls import client_tls
from attestor.config import Config, load_config
from attestor.embedded.device import emulator
from attestor.store.migrate import migrate
from tests.bench.votes import Voters

_START_SECONDS = 60
_UNLIMITED = re.compile(r"^(requests|replays|payloads) = .*$", re.MULTILINE)
"""What is measured is the work, not the limits on it."""
_PLAIN_LISTENER = """
[[listeners]]
address = "127.0.0.1:{port}"
audiences = ["read", "submit"]
"""


@dataclass(frozen=True, slots=True)
class Stand:
    """Parts that run for as long as the context of :func:`stand` lasts."""

    folder: Path
    config: Config
    voters: Voters
    say: Callable[[str], None]

    @property
    def tls_url(self) -> str:
        return f"https://{self.config.listeners[0].address}"

    @property
    def request_url(self) -> str:
        return f"https://{self.config.listeners[1].address}"

    @property
    def operate_url(self) -> str:
        return f"http://{self.config.listeners[2].address}"

    @property
    def plain_url(self) -> str:
        return f"http://{self.config.listeners[3].address}"

    async def count(self, statement: str = "SELECT count(*) FROM claims") -> int:
        return next(iter((await self.row(statement)).values()))

    async def row(self, statement: str, *values: object) -> dict[str, Any]:
        connection = await asyncpg.connect(self.config.database.dsn_owner)
        try:
            return dict(await connection.fetchrow(statement, *values))
        finally:
            await connection.close()

    async def ready(self) -> None:
        """Return when ``/readyz`` holds what the API stands on for ready; the other roles have their own time."""
        async with asyncio.timeout(_START_SECONDS), aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(f"{self.operate_url}/readyz") as answer:
                        if any(part["ready"] for part in (await answer.json())["parts"] if part["part"] == "database"):
                            return
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.005)

    def client(self) -> AttestorClient:
        """The build service, by mutual TLS."""
        house = self.config.path.parent
        certificate, key = house / "build-service.pem", house / "build-service.key"
        return AttestorClient(
            self.request_url, tls=client_tls(ca=house / "ca" / "ca.pem", certificate=certificate, key=key)
        )


@asynccontextmanager
async def stand(folder: Path, say: Callable[[str], None], *, device_flags: Sequence[str] = ()) -> AsyncIterator[Stand]:
    """Start database and device in *folder*, migrated and provisioned; no role runs yet."""
    path = make_house(folder / "house", say)
    text = _UNLIMITED.sub(r"\1 = { per_minute = 60000000, burst = 100000000 }", path.read_text("utf-8"))
    path.write_text(text, "utf-8")
    if text.count("[[listeners]]") == 3:
        path.write_text(text + _PLAIN_LISTENER.format(port=_free_port()), "utf-8")
    config = load_config(path)
    flagged = partial(emulator, flags=tuple(device_flags))
    async with AsyncExitStack() as stack:
        with patch.object(embedded, "emulator", flagged):
            placed = await stack.enter_async_context(embedded_parts(config, say))
        await migrate(placed.database.dsn_owner)
        await provision_hsm(placed, now())
        yield Stand(folder, placed, Voters(path.parent), say)


@asynccontextmanager
async def role(place: Stand, name: str, *, program: Sequence[str] = ("attestor",)) -> AsyncIterator[int]:
    """One role as ``attestor serve --role`` runs it, or another *program* around it; yields its process id."""
    words = [sys.executable, "-m", *program, "serve", "--config", str(place.config.path), "--role", name]
    with (place.folder / f"{name}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*words, stderr=log, stdin=asyncio.subprocess.DEVNULL)
    try:
        if name == "api":
            await place.ready()
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


@dataclass(slots=True)
class Peak:
    """Resident memory of a process in MiB: before, and the most meanwhile."""

    before: float
    most: float = 0.0


@contextmanager
def peak_of(pid: int) -> Iterator[Peak]:
    """Linux' own high-water mark of one process, reset at the start (proc(5), clear_refs)."""
    peak = Peak(_mebibytes(pid, "VmRSS"))
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    yield peak
    peak.most = _mebibytes(pid, "VmHWM")


def _mebibytes(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(name)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def timed() -> Iterator[list[float]]:
    """The seconds of the block, in the list when it is over."""
    took: list[float] = []
    started = time.perf_counter()
    yield took
    took.append(time.perf_counter() - started)
