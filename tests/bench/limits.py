"""What this machine can do at all, measured in the same run: a figure without these says nothing."""

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
import uvloop
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.bench.figure import Figure
from tests.bench.load import Requests, load

_ROWS = 20_000
_ANSWER = b'{"ok":true}'


async def bare_handler(folder: Path, count: int, body: bytes) -> Figure:
    """Requests a second of an aiohttp handler that reads a body and answers, in a process of its own."""
    lines = folder / "bare"
    lines.write_bytes((body + b"\n") * count)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.limits", stdout=asyncio.subprocess.PIPE
    )
    try:
        port = int(await process.stdout.readline())
        done = await load(f"http://127.0.0.1:{port}", Requests("POST", lines, count))
    finally:
        process.terminate()
        await process.wait()
    return Figure("limit: bare aiohttp handler", done.rate, "/s", note=f"p99 {done.p99_ms:.1f} ms, {len(body)} bytes")


def ed25519(seconds: float) -> Figure:
    """Verifications of one core."""
    key = Ed25519PrivateKey.generate()
    message = b"x" * 1024
    signature, public = key.sign(message), key.public_key()
    count, started = 0, time.perf_counter()
    while (took := time.perf_counter() - started) < seconds:
        for _ in range(100):
            public.verify(signature, message)
        count += 100
    return Figure("limit: Ed25519 verifications, one core", count / took, "/s")


async def inserts(dsn: str) -> Figure:
    """Rows a second of a multi-row INSERT of claims-like rows, committed."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("CREATE TABLE bench_rows (id bytea PRIMARY KEY, operator text, at timestamptz)")
        rows = [os.urandom(32) for _ in range(_ROWS)]
        started = time.perf_counter()
        for place in range(0, _ROWS, 1000):
            await connection.execute(
                "INSERT INTO bench_rows SELECT id, 'alice', now() FROM unnest($1::bytea[]) AS t (id)",
                rows[place : place + 1000],
            )
        took = time.perf_counter() - started
        await connection.execute("DROP TABLE bench_rows")
    finally:
        await connection.close()
    return Figure("limit: multi-row INSERT", _ROWS / took, "rows/s", note="1,000 rows a statement, each committed")


def fsync(folder: Path, count: int) -> Figure:
    """Milliseconds of the median write of 8 KiB that reached the disk."""
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(count):
            started = time.perf_counter()
            file.write(b"x" * 8192)
            file.flush()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    times.sort()
    p99 = times[int(count * 0.99)] * 1000
    return Figure("limit: fdatasync of 8 KiB, p50", times[count // 2] * 1000, "ms", note=f"p99 {p99:.2f} ms")


async def _bare() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(body=_ANSWER, content_type="application/json")

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)  # noqa: T201 - read by bare_handler()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_bare())
