"""The log: appends from many processes, how soon an entry stands in a published tree, WAL, and tiles over HTTP.

What was told is read back each time: the tree is recomputed, and every entry stands in it once.
"""

import asyncio
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle, islice

import asyncpg

from attestor.core.entrybytes import Outgoing
from attestor.core.tlog.checkpoint import open_checkpoint
from attestor.core.tlog.merkle import EMPTY, leaf_hash
from attestor.core.tlog.tiles import BUNDLE, TILE, tiles_of
from attestor.store.log import PostgresLog
from attestor.store.pool import Settings, connect
from tests.bench.figure import Figure
from tests.bench.load import Requests, load
from tests.bench.stand import Stand
from tests.bench.telling import BARE, received, tell, tell_from
from tests.bench.votes import write_lines

_TASKS = 4
_A_SECOND = 200
_PATIENCE_SECONDS = 60


class Growth:
    """The published tree from a moment on: which size was seen when, by the hint that goes to everybody, and the WAL."""

    def __init__(self, owner: "asyncpg.Connection[asyncpg.Record]", size: int, wal: int) -> None:
        self.before = size
        self._owner = owner
        self._wal = wal
        self._sizes = [size]
        self._moments = [time.perf_counter()]
        self._grown = asyncio.Event()

    def heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        if int(str(payload)) > self._sizes[-1]:
            self._sizes.append(int(str(payload)))
            self._moments.append(time.perf_counter())
            self._grown.set()

    async def included(self, index: int) -> float:
        """The moment in which a published tree with this entry was seen."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while self._sizes[-1] <= index:
                self._grown.clear()
                await self._grown.wait()
        return self._moments[bisect_right(self._sizes, index)]

    @property
    def checkpoints(self) -> int:
        return len(self._sizes) - 1

    async def wal_bytes(self) -> int:
        return await _wal(self._owner) - self._wal


@asynccontextmanager
async def _growing(place: Stand) -> AsyncIterator[Growth]:
    owner = await asyncpg.connect(place.config.database.dsn_owner)
    try:
        while not await owner.fetchval("SELECT EXISTS (SELECT FROM log_checkpoints)"):  # noqa: ASYNC110 - another process' doing
            await asyncio.sleep(0.05)  # the sequencer is still starting
        growth = Growth(owner, await owner.fetchval("SELECT published FROM log_state"), await _wal(owner))
        await owner.add_listener("attestor_log", growth.heard)
        yield growth
    finally:
        await owner.close()


async def _wal(owner: "asyncpg.Connection[asyncpg.Record]") -> int:
    return int(await owner.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"))


async def append_figures(place: Stand, count: int, processes: int) -> AsyncIterator[Figure]:
    """Entries a second from the first process' beginning until a published tree has the last entry."""
    each = -(-count // processes)
    told = each * processes
    limit = await _bare_rate(place, processes, each)
    yield Figure(f"limit: one-row INSERTs from {processes} processes", limit, "/s", note="each committed, by asyncpg")
    async with _growing(place) as growth:
        times = await tell_from(processes, place.config.database.dsn_api, 0, each, tasks=_TASKS)
        rate = told / (await growth.included(growth.before + told - 1) - times.began)
        wal = await growth.wal_bytes()
    await _prove(place, growth.before, [received(number) for number in range(told)])
    note = f"{told:,} entries, each committed by itself, under {growth.checkpoints} checkpoints; tree recomputed"
    yield Figure(f"log appends from {processes} processes", rate, "/s", target=5000, limit=limit, note=note)
    yield Figure(
        "WAL of an entry, appended with many", wal / told, "bytes", note="outbox and log; first touches of pages too"
    )


async def _bare_rate(place: Stand, processes: int, each: int) -> float:
    dsn = place.config.database.dsn_owner
    async with connect(Settings(dsn, 1)) as owner:
        await owner.execute(BARE)
        times = await tell_from(processes, dsn, 0, each, tasks=_TASKS, way="bare")
        await owner.execute("DROP TABLE bench_bare")
    return each * processes / (times.ended - times.began)


async def paced_figures(place: Stand, count: int) -> list[Figure]:
    """From an entry's commit until a published tree with it was seen, at a rate that waits for nobody."""
    entries = [received(-number) for number in range(1, count + 1)]
    async with _growing(place) as growth:
        committed = await _paced(place.config.database.dsn_api, entries)
        await growth.included(growth.before + count - 1)
        wal = await growth.wal_bytes()
        logged = await _prove(place, growth.before, entries)
        waits = [await growth.included(index) - committed[entry] for index, entry in enumerate(logged, growth.before)]
    p50, p99 = (sorted(waits)[int(count * part)] * 1000 for part in (0.5, 0.99))
    what, checkpoints = f"{_A_SECOND} log entries a second", growth.checkpoints
    return [
        Figure(
            f"{what}: committed to included, p50", p50, "ms", note=f"{count:,} entries, {checkpoints:,} checkpoints"
        ),
        Figure(f"{what}: committed to included, p99", p99, "ms", target=50, at_most=True),
        Figure(f"{what}: WAL of an entry", wal / count, "bytes", note=f"{wal / checkpoints:,.0f} for a checkpoint"),
    ]


async def _paced(dsn: str, entries: Sequence[Outgoing]) -> dict[bytes, float]:
    """When each entry's commit was answered; each is told when its time has come, whatever became of those before."""
    committed: dict[bytes, float] = {}

    async def at(moment: float, told: Outgoing) -> None:
        await asyncio.sleep(moment - time.perf_counter())
        await tell(pool, told)
        committed[told.entry] = time.perf_counter()

    async with connect(Settings(dsn)) as pool:
        start = time.perf_counter() + 0.1
        await asyncio.gather(*(at(start + number / _A_SECOND, told) for number, told in enumerate(entries)))
    return committed


async def _prove(place: Stand, before: int, told: Sequence[Outgoing]) -> list[bytes]:
    """Recompute the published tree; the entries from index *before* on, which are those *told*, each of them once."""
    logged: list[bytes] = []
    async with connect(Settings(place.config.database.dsn_api, 1)) as pool:
        log = PostgresLog(pool)
        checkpoint = open_checkpoint(await log.checkpoint() or b"", place.config.policy.log.key)
        while len(logged) < checkpoint.size:
            logged += await log.entries(len(logged), checkpoint.size)
    if EMPTY.extended([leaf_hash(entry) for entry in logged]).root != checkpoint.root:
        raise RuntimeError(f"the log's {checkpoint.size} entries do not come to the root of its checkpoint")
    if sorted(logged[before:]) != sorted(one.entry for one in told):
        raise RuntimeError(f"{len(told)} entries were told, and {len(logged) - before} others stand in the log")
    return logged[before:]


async def tile_figures(place: Stand, reads: int, *, limit: float) -> list[Figure]:
    """Full tiles and bundles a second, each of them in turn."""
    size = await place.count("SELECT published FROM log_state")
    full = [tile for tile in tiles_of(size) if tile.width == TILE]
    figures = []
    for name, tiles in (
        ("tiles", [tile for tile in full if tile.level != BUNDLE]),
        ("bundles", [tile for tile in full if tile.level == BUNDLE]),
    ):
        paths = [f"/log/{tile.path}".encode() for tile in islice(cycle(tiles), reads)]
        done = await load(place.plain_url, Requests("GET", write_lines(place.folder / name, paths), reads))
        if done.good != reads:
            raise RuntimeError(f"{reads} {name}, {done.good} good answers")
        note = f"of a log of {size:,} entries; p99 {done.p99_ms:.1f} ms"
        figures.append(Figure(f"log {name} over HTTP", done.rate, "/s", limit=limit, note=note))
    return figures
