"""The load generator: ``wrk`` where present, else a lean client in a process of its own; both send each line once."""

import asyncio
import shutil
import signal
import ssl
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import uvloop

_SECONDS = 600
_SCRIPT = Path(__file__).with_name("requests.lua")


class Load(msgspec.Struct, frozen=True):
    """What came of it; ``good`` are the answers 200 and 201."""

    sent: int
    good: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        return self.good / self.seconds


@dataclass(frozen=True, slots=True)
class Requests:
    """``lines`` is a file: bodies of a POST to *path*, or paths of a GET."""

    method: str
    lines: Path
    count: int
    path: str = "/"
    connections: int = 64


async def load(base_url: str, requests: Requests, *, lean: bool = False) -> Load:
    """Send all and count; *lean* takes our own client even where wrk is present."""
    wrk = None if lean else shutil.which("wrk")
    words = (requests.method, requests.path, str(requests.lines), str(requests.count))
    if wrk:
        command = [wrk, "-t1", f"-c{requests.connections}", f"-d{_SECONDS}s", "--timeout", "30s", "-s", str(_SCRIPT)]
        return await _answer([*command, base_url, "--", *words], wait_for=b"answered")
    return await _answer([sys.executable, "-m", "tests.bench.load", base_url, str(requests.connections), *words])


async def _answer(command: list[str], *, wait_for: bytes = b"") -> Load:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe if wait_for else None)
    if process.stderr is not None:
        async with asyncio.timeout(_SECONDS):
            while not (line := await process.stderr.readline()).startswith(wait_for):
                if not line:
                    break
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)  # wrk would sleep until its time is over
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the load generator ended with {process.returncode}: {output.decode()[-500:]}")
    return msgspec.json.decode(output.rstrip().rpartition(b"\n")[2], type=Load)


class _Lean:
    """Keep-alive connections on raw streams; reads a status line, one Content-Length, and that many bytes."""

    def __init__(self, base_url: str, requests: Requests) -> None:
        place = urlsplit(base_url)
        self._place = (place.hostname, place.port)
        self._tls = _anyone() if place.scheme == "https" else None
        self._requests = requests
        self._queue = iter(requests.lines.read_bytes().split(b"\n")[: requests.count])
        self._latencies: list[float] = []
        self._good = 0

    async def run(self) -> Load:
        started = time.perf_counter()
        await asyncio.gather(*(self._connection() for _ in range(self._requests.connections)))
        seconds = time.perf_counter() - started
        latencies = sorted(self._latencies)
        p50, p99 = (latencies[int(len(latencies) * part)] * 1000 for part in (0.5, 0.99))
        return Load(sent=len(latencies), good=self._good, seconds=seconds, p50_ms=p50, p99_ms=p99)

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_connection(*self._place, ssl=self._tls)
        for line in self._queue:
            started = time.perf_counter()
            writer.write(self._rendered(line))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            self._latencies.append(time.perf_counter() - started)
            self._good += head[9:12] in {b"200", b"201"}
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    def _rendered(self, line: bytes) -> bytes:
        if self._requests.method == "GET":
            return b"GET %b HTTP/1.1\r\nHost: bench\r\n\r\n" % line
        return b"POST %b HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
            self._requests.path.encode(),
            len(line),
            line,
        )


def _anyone() -> ssl.SSLContext:
    """As wrk does: what is measured is the service, whose certificate other tests verify."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def main(base_url: str, connections: str, *words: str) -> None:
    method, path, lines, count = words
    requests = Requests(method, Path(lines), int(count), path, int(connections))
    print(msgspec.json.encode(uvloop.run(_Lean(base_url, requests).run())).decode())  # noqa: T201 - read by load()


if __name__ == "__main__":
    main(*sys.argv[1:])
