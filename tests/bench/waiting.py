"""What a build service waits for: its signature after the last attestation, a slow HSM, and a large upload."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from attestor.app.clock import now
from attestor.client.calls import AttestorClient
from attestor.core.naming import Release
from attestor.core.wire import Artifact, Pull, ReleaseName, SigningRequestAsk, SigningRequestView, Upload
from tests.bench.figure import Figure
from tests.bench.stand import Stand, peak_of, timed
from tests.bench.votes import package

_ROOT = "release"
_PIECE = 1 << 20
_PATIENCE_SECONDS = 60
_INCLUDED = "(SELECT min(signed_at) FROM log_checkpoints WHERE size > (SELECT max(idx) FROM log_entries WHERE {}))"
_WAY = f"""
    SELECT {_INCLUDED.format("kind = 'received' AND convert_from(entry, 'UTF8') LIKE '%' || encode($1, 'hex') || '%'")} AS "received included",
           q.decided_at AS decided, {_INCLUDED.format("(subject, kind) = (q.id, 'decision')")} AS "decision included",
           s.stored_at AS signed, {_INCLUDED.format("(subject, kind) = (q.id, 'signature')")} AS "signature included"
    FROM signing_requests q JOIN signatures s ON s.request_id = q.id WHERE q.release_id = $1
"""  # noqa: S608 - constants
_SIGNED = "SELECT extract(epoch FROM max(stored_at) - min(stored_at))::float8 FROM signatures"


@dataclass(frozen=True, slots=True)
class Thing:
    """A release and its bytes, laid where the signer pulls them."""

    release: Release
    content: bytes


@dataclass(frozen=True, slots=True)
class People:
    """A build service and rebuilders, each with a client of their own."""

    place: Stand
    service: AttestorClient
    rebuilders: AttestorClient

    async def ask(self, thing: Thing) -> SigningRequestView:
        name = thing.release.file_name
        (self.place.config.path.parent / _ROOT / name).write_bytes(thing.content)
        artifact = Artifact(
            size=len(thing.content),
            sha256=hashlib.sha256(thing.content).hexdigest(),
            sha512=hashlib.sha512(thing.content).hexdigest(),
        )
        pull = Pull(root=_ROOT, path=name)
        return await self.service.ask(SigningRequestAsk(_named(thing.release), artifact, pull))

    async def attest(self, operator: str, thing: Thing) -> None:
        await self.rebuilders.submit(self.place.voters.envelope(operator, thing.release, thing.content))

    async def settled(self, view: SigningRequestView) -> SigningRequestView:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while view.state in {"waiting", "queued", "claimed"}:
                view = await self.service.request(view.id, wait_seconds=30)
        if view.state != "signed":
            raise RuntimeError(f"{view.release.file_name} is {view.state}: {view.sentence}")
        return view


@asynccontextmanager
async def people(place: Stand) -> AsyncIterator[People]:
    async with place.client() as service, AttestorClient(place.plain_url) as rebuilders:
        yield People(place, service, rebuilders)


async def last_attestation(place: Stand, count: int) -> list[Figure]:
    """From the answer to the second attestation to the signature in the client's hands, release after release."""
    async with people(place) as who:
        await _last(who, Thing(package("first"), b"first"))  # the signer opens its keys at the device when it starts
        waited = [await _last(who, Thing(package(f"last{n}"), b"last %d" % n)) for n in range(count)]
    p50, p99 = (sorted(one.seconds for one in waited)[int(count * part)] * 1000 for part in (0.5, 0.99))
    way = await _way(place, waited)
    what = "last attestation answered to signature read"
    note = ", ".join(f"{step} {milliseconds:.1f}" for step, milliseconds in way.items())
    return [
        Figure(f"{what}, p50", p50, "ms", target=30, at_most=True, note=f"{count} releases, Ed25519, ?wait="),
        Figure(f"{what}, p99", p99, "ms", target=150, at_most=True, note=f"p50 after the answer: {note}", more=way),
    ]


async def _way(place: Stand, waited: list["_Waited"]) -> dict[str, float]:
    """Median milliseconds from the answer to each step on the way, as the database's clock noted it: this machine's."""
    ways = [await place.row(_WAY, bytes.fromhex(one.release.id)) for one in waited]
    return {
        step: median((way[step] - one.answered).total_seconds() for one, way in zip(waited, ways, strict=True)) * 1000
        for step in ways[0]
    }


@dataclass(frozen=True, slots=True)
class _Waited:
    release: Release
    answered: datetime
    seconds: float


async def _last(who: People, thing: Thing) -> _Waited:
    asked = await who.ask(thing)
    await who.attest("alice", thing)
    waiting = asyncio.create_task(who.settled(asked))
    await asyncio.sleep(0.02)  # so that the request is heard before the attestation that it waits for
    await who.attest("bob", thing)
    answered, at = time.perf_counter(), now()
    view = await waiting
    await who.service.signature(view.id)
    return _Waited(thing.release, at, time.perf_counter() - answered)


async def slow_device(place: Stand, count: int, *, delay_ms: int, slots: int) -> Figure:
    """Signatures a second of a device that takes *delay_ms* with *slots* at a time, while enough requests are queued."""
    possible = slots * 1000 / delay_ms
    things = [Thing(package(f"slow{number}"), b"slow %d" % number) for number in range(count)]
    async with people(place) as who:
        asked = [await who.ask(thing) for thing in things]
        for operator in ("alice", "bob"):
            await asyncio.gather(*(who.attest(operator, thing) for thing in things))
        for view in asked:
            await who.settled(view)
    rate = (count - 1) / await place.count(_SIGNED)
    note = f"{count} signatures; the device takes {delay_ms} ms, {slots} at a time"
    return Figure("signing with a slow HSM", rate, "/s", target=0.9 * possible, limit=possible, note=note)


async def upload(place: Stand, size: int, *, api: int) -> list[Figure]:
    """Memory of the API above idle while a sparse file of *size* bytes goes up; its digests are computed on the way."""
    file = place.folder / "large"
    with file.open("wb") as opened:
        opened.truncate(size)
    artifact = await asyncio.to_thread(_zeros, size)
    async with place.client() as client:
        asked = await client.ask(SigningRequestAsk(_named(package("large")), artifact, Upload()))
        with peak_of(api) as memory, timed() as took:
            view = await client.upload(asked.id, file, lambda _count: None)
    file.unlink()
    if not view.content_present:
        raise RuntimeError(f"the upload is not there: {view}")
    above, note = memory.most - memory.before, f"{size / 2**30:.2g} GiB; idle {memory.before:.0f} MiB"
    return [
        Figure("API memory above idle during an upload", above, "MiB", target=32, at_most=True, note=note),
        Figure("upload over TLS 1.3, hashed and stored", size / 2**20 / took[0], "MiB/s"),
    ]


def _zeros(size: int) -> Artifact:
    sha256, sha512, piece = hashlib.sha256(), hashlib.sha512(), bytes(_PIECE)
    for start in range(0, size, _PIECE):
        part = piece[: size - start]
        sha256.update(part)
        sha512.update(part)
    return Artifact(size=size, sha256=sha256.hexdigest(), sha512=sha512.hexdigest())


def _named(release: Release) -> ReleaseName:
    return ReleaseName(kind=release.kind, purl=release.purl, file_name=release.file_name)
