"""Entries on their way into the log from many processes, each entry in a transaction of its own.

    python -m tests.bench.telling DSN WAY FIRST COUNT TASKS

makes COUNT entries from number FIRST on, says that it is ready, waits for a line, and tells them by TASKS tasks.
"""

import asyncio
import hashlib
import sys
import time
from collections.abc import Awaitable, Callable

import msgspec
import uvloop

from attestor.core.entrybytes import Outgoing, outgoing_of, received_entries
from attestor.service.ports import Changes
from attestor.store.ledger import PostgresTransaction
from attestor.store.pool import Pool, Settings, connect

BARE = "CREATE TABLE bench_bare (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id uuid UNIQUE, entry bytea)"


class Told(msgspec.Struct, frozen=True):
    """When processes began and ended, on the clock that all processes of the machine share."""

    began: float
    ended: float


def received(number: int) -> Outgoing:
    """What intake tells of one envelope."""
    payload, envelope, release = (hashlib.sha256(b"%d %b" % (number, part)) for part in (b"p", b"e", b"r"))
    [entry] = received_entries([("alice", payload.digest(), envelope.digest(), release.hexdigest())])
    return outgoing_of(entry)


async def tell(pool: Pool, told: Outgoing) -> None:
    """By the store's own statement, committed; like intake, it gives the sequencer no hint."""
    async with pool.acquire() as connection:
        await PostgresTransaction(connection).write(Changes(entries=[told]))


async def _bare(pool: Pool, told: Outgoing) -> None:
    await pool.execute("INSERT INTO bench_bare (id, entry) VALUES ($1, $2)", told.subject, told.entry)


_WAYS: dict[str, Callable[[Pool, Outgoing], Awaitable[None]]] = {"tell": tell, "bare": _bare}


async def tell_from(processes: int, dsn: str, first: int, each: int, *, tasks: int, way: str = "tell") -> Told:
    """Start *processes*, let them begin together, and wait for the last."""
    pipe = asyncio.subprocess.PIPE
    started = []
    try:
        for number in range(processes):
            words = ("-m", "tests.bench.telling", dsn, way, str(first + number * each), str(each), str(tasks))
            started.append(await asyncio.create_subprocess_exec(sys.executable, *words, stdin=pipe, stdout=pipe))
        for process in started:
            await process.stdout.readline()
        for process in started:
            process.stdin.write(b"\n")
        all_told = [msgspec.json.decode(await process.stdout.readline(), type=Told) for process in started]
        return Told(min(told.began for told in all_told), max(told.ended for told in all_told))
    finally:
        for process in started:
            process.stdin.close()
            await process.wait()


async def _main(dsn: str, way: str, first: int, count: int, tasks: int) -> None:
    entries = iter([received(number) for number in range(first, first + count)])

    async def work() -> None:
        for told in entries:
            await _WAYS[way](pool, told)

    async with connect(Settings(dsn, tasks)) as pool:
        await asyncio.gather(*(pool.fetchval("SELECT pg_sleep(0.1)") for _ in range(tasks)))  # each opens a connection
        print("ready", flush=True)  # noqa: T201 - read by tell_from()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(tasks)))
        print(msgspec.json.encode(Told(began, time.perf_counter())).decode())  # noqa: T201 - read by tell_from()


if __name__ == "__main__":
    uvloop.run(_main(*sys.argv[1:3], *map(int, sys.argv[3:])))
