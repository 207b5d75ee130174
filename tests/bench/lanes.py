"""What a repository database waits for while a mass rebuild is queued (design §6, lanes)."""

import asyncio
import io
import tarfile
import time
from collections.abc import AsyncIterator, Sequence
from statistics import median

from attestor.core.naming import parse_release
from tests.bench.figure import Figure
from tests.bench.stand import Stand, role
from tests.bench.submitting import MAX_LINES, send_batch
from tests.bench.votes import HOST, package
from tests.bench.waiting import People, Thing, people

_ASKING = 16
_QUEUED = "SELECT count(*) FROM signing_requests WHERE state = 'queued'"


async def figures(place: Stand, backlog: int, count: int) -> AsyncIterator[Figure]:
    """From the question to the signature of a database: with nothing else queued, and with *backlog* packages."""
    packages = [Thing(package(f"mass{number}"), b"mass %d" % number) for number in range(backlog)]
    async with people(place) as who:
        async with role(place, "signer"):
            alone = await _signed_in_turn(who, range(1, count + 2))
        await _queue(who, packages)
        async with role(place, "signer"):
            behind = await _signed_in_turn(who, range(count + 2, 2 * count + 3))
            left = await place.count(_QUEUED)
    if left == 0:
        raise RuntimeError(f"{backlog} packages were signed before {count} databases: nothing waited")
    own = median(alone) * 1000
    yield Figure("database signed, nothing else queued, p50", own, "ms", note=f"{count} databases, one after the other")
    note = f"{left:,} of {backlog:,} packages were still queued at the end; at most its own signing is added"
    yield Figure(
        "database signed behind a mass rebuild, p50",
        median(behind) * 1000,
        "ms",
        target=2 * own,
        at_most=True,
        limit=own,
        note=note,
    )
    yield Figure("database signed behind a mass rebuild, worst", max(behind) * 1000, "ms")


async def _signed_in_turn(who: People, sequences: range) -> Sequence[float]:
    """Seconds of each but the first, with which the signer opens its keys at the device."""
    return [await _signed(who, _database(sequence)) for sequence in sequences][1:]


async def _signed(who: People, database: Thing) -> float:
    await who.attest(HOST, database)
    asked = time.perf_counter()
    await who.settled(await who.ask(database))
    return time.perf_counter() - asked


async def _queue(who: People, packages: Sequence[Thing]) -> None:
    free = asyncio.Semaphore(_ASKING)

    async def ask(thing: Thing) -> None:
        async with free:
            await who.ask(thing)

    await asyncio.gather(*map(ask, packages))
    for operator in ("alice", "bob"):
        for start in range(0, len(packages), MAX_LINES):
            lines = packages[start : start + MAX_LINES]
            body = b"\n".join(who.place.voters.envelope(operator, thing.release, thing.content) for thing in lines)
            await send_batch(who.place.plain_url, body + b"\n")
    if (queued := await who.place.count(_QUEUED)) != len(packages):
        raise RuntimeError(f"{queued} of {len(packages)} are queued")


def _database(sequence: int) -> Thing:
    """One that lists a package of this version."""
    release = parse_release("database", f"pkg:generic/arch/bench.db@{sequence}?arch=x86_64", "bench.db.tar.gz")
    text = f"%NAME%\nbench\n\n%VERSION%\n{sequence}-1\n".encode()
    described = tarfile.TarInfo(f"bench-{sequence}-1/desc")
    described.size = len(text)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(described, io.BytesIO(text))
    return Thing(release, packed.getvalue())
