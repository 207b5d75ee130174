"""Submissions: one by one on 64 connections, plain and by TLS, and in batches; every one of them is counted afterwards."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from tests.bench.figure import Figure
from tests.bench.load import Load, Requests, load
from tests.bench.stand import Stand, peak_of, timed
from tests.bench.votes import write_lines

MAX_LINES = 10_000
"""Of a batch."""


async def singles(place: Stand, count: int, *, tls: bool, lean: bool = False) -> Load:
    """Send *count* distinct envelopes; raises when the database then holds another number of claims."""
    name = "tls" if tls else "plain"
    already = await place.count()
    lines = write_lines(place.folder / name, place.voters.envelopes(f"{name}{already}-", count))
    requests = Requests("POST", lines, count, "/v1/attestations")
    done = await load(place.tls_url if tls else place.plain_url, requests, lean=lean)
    kept = await place.count() - already
    if not done.good == done.sent == kept == count:
        raise RuntimeError(f"{count} envelopes: {done.sent} answered, {done.good} of them well, {kept} claims kept")
    return done


async def single_figures(place: Stand, count: int, *, limit: float, api: int) -> AsyncIterator[Figure]:
    await singles(place, min(count, 1000), tls=False)  # the first connections to the database, the first plans
    for tls in (False, True):
        with peak_of(api) as memory:
            done = await singles(place, count, tls=tls)
        way = "TLS 1.3" if tls else "plain HTTP"
        note = f"{count:,} sent, 0 errors, as many claims kept; p50 {done.p50_ms:.1f} ms"
        yield Figure(f"single submissions, {way}", done.rate, "/s", target=4000, limit=limit, note=note)
        yield Figure(f"single submissions, {way}, p99", done.p99_ms, "ms", target=50, at_most=True)
    yield Figure("API memory under submissions", memory.most, "MiB", target=150, at_most=True)


async def batch_figure(place: Stand, count: int, *, limit: float) -> Figure:
    """Claims a second of NDJSON batches one after the other, from the first byte sent to the last answer read."""
    rate = await batches(place, count)
    note = f"{_batches(count)} batches of {min(count, MAX_LINES):,} lines, as many claims kept"
    return Figure("batch submissions", rate, "claims/s", target=10_000, limit=limit, note=note)


async def batches(place: Stand, count: int) -> float:
    """Claims a second; raises when the database then holds another number of them."""
    lines = min(count, MAX_LINES)
    already = await place.count()
    bodies = [b"\n".join(place.voters.envelopes(f"batch{already}-{n}-", lines)) + b"\n" for n in range(_batches(count))]
    with timed() as took:
        answered = [await send_batch(place.plain_url, body) for body in bodies]
    kept = await place.count() - already
    if not sum(answered) == kept == lines * len(bodies):
        raise RuntimeError(f"{lines * len(bodies)} lines: {sum(answered)} receipts, {kept} claims kept")
    return kept / took[0]


def _batches(count: int) -> int:
    return -(-count // MAX_LINES)


async def send_batch(base_url: str, body: bytes) -> int:
    """Send one batch while its answers are read; the number of receipts."""
    place = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=1 << 22)
    head = f"POST /v1/attestations:batch HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/x-ndjson\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())

    async def send() -> None:
        for start in range(0, len(body), 1 << 18):
            writer.write(body[start : start + (1 << 18)])
            await writer.drain()

    sending = asyncio.create_task(send())
    answer = await reader.read(-1)
    await sending
    writer.close()
    return _dechunked(answer).count(b'"receipt":{')


def _dechunked(answer: bytes) -> bytes:
    """The body of a chunked answer (RFC 9112 §7.1): a chunk may end anywhere, in the middle of a word too."""
    _, _, rest = answer.partition(b"\r\n\r\n")
    body = bytearray()
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return bytes(body)
