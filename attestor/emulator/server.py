"""The process: folder, TLS, URLs, the hourly flush of the counters, and a prompt end."""

import asyncio
import contextlib
import itertools
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import msgspec
from aiohttp import web

from attestor.emulator import certificate
from attestor.emulator.access import FailedLogins
from attestor.emulator.calls import Emulator, SignSlots
from attestor.emulator.device import Device
from attestor.emulator.faults import Faults
from attestor.emulator.folder import write_whole
from attestor.emulator.gate import Gate, not_emulated, unknown
from attestor.emulator.table import LARGE, NOT_EMULATED, ROWS

_API = "/api/v1"
_FLUSH_SECONDS = 3600
_LAST_ANSWERS_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says; ``ready_file`` and ``certificate_file`` are written once the port is open."""

    state: Path
    host: str
    port: int
    ready_file: Path | None
    certificate_file: Path | None
    faults: bool
    sign_delay: float
    sign_slots: int
    exit_with_parent: bool
    lose_operations: bool
    """The counters of keys are written with other changes only: the next start lacks some, as after a power cut."""


async def serve(options: Options) -> None:
    """Serve until SIGTERM, SIGINT, or the end of standard input if asked."""
    if options.ready_file:
        options.ready_file.unlink(missing_ok=True)  # a former start's would send a waiting parent to the wrong port
    stop = _stop_event(watch_parent=options.exit_with_parent)
    device = Device(options.state)
    emulator = Emulator(device, FailedLogins(), SignSlots(options.sign_slots, options.sign_delay), {})
    faults = Faults() if options.faults else None

    def save_operations() -> None:
        if not options.lose_operations:
            device.save_operations()

    try:
        async with _listening(application(emulator, faults), options) as port:
            _announce(options, port)
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _FLUSH_SECONDS)
                save_operations()
            if faults:
                faults.release()
    finally:
        save_operations()


def application(emulator: Emulator, faults: Faults | None) -> web.Application:
    """The URLs of the table, and of the fault queue if there is one."""
    middlewares = [faults.middleware()] if faults else []
    app = web.Application(client_max_size=LARGE, middlewares=middlewares)
    # Adjacent rows share a path; fixed paths stand before patterns in the table and are found first.
    for path, rows in itertools.groupby(ROWS, attrgetter("path")):
        app.router.add_route("*", _API + path, Gate(emulator, list(rows)).serve)
    for path in NOT_EMULATED:
        app.router.add_route("*", _API + path, not_emulated)
    if faults:
        app.add_routes(faults.routes())
    app.router.add_route("*", "/{rest:.*}", unknown)
    return app


@contextlib.asynccontextmanager
async def _listening(app: web.Application, options: Options) -> AsyncIterator[int]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_LAST_ANSWERS_SECONDS)
    await runner.setup()
    try:
        tls = certificate.server_context(options.state, options.host)
        await web.TCPSite(runner, options.host, options.port, ssl_context=tls).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _announce(options: Options, port: int) -> None:
    """Print one line, then write the files that a parent waits for."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    url, pin = f"https://{host}:{port}", certificate.fingerprint(options.state)
    source = options.state / certificate.CERTIFICATE
    if options.certificate_file:
        write_whole(options.certificate_file, source.read_bytes())
    print(f"emulated NetHSM (no protection of keys) ready at {url} sha256 {pin}", flush=True)  # noqa: T201 - its one line
    if options.ready_file:
        ready = {"url": url, "fingerprint": pin, "certificate": str((options.certificate_file or source).resolve())}
        write_whole(options.ready_file, msgspec.json.encode(ready))


def _stop_event(*, watch_parent: bool) -> asyncio.Event:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if watch_parent:
        threading.Thread(target=_await_end_of_input, args=(loop, stop), daemon=True).start()
    return stop


def _await_end_of_input(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # os.read holds no lock of sys.stdin's, which would make the interpreter's end abort.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop has ended by itself
        loop.call_soon_threadsafe(stop.set)
