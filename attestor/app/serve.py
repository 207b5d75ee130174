"""``attestor serve``: one child process per role, restarted when it dies, drained on SIGTERM; ``--role`` is one of them.

Each role imports what is its own when it begins: the API's process loads nothing of the HSM, and all start sooner.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import structlog
import uvloop

from attestor.app.clock import now
from attestor.app.embedded import embedded_parts, resolved
from attestor.app.ending import on_hangup, stop_on_signals, until, wait_for_hangups
from attestor.app.hardening import close_memory
from attestor.app.house import make_house
from attestor.app.policyfile import PolicyFile
from attestor.app.presence import present
from attestor.app.telemetry import configure_logs
from attestor.config import Config, load_config

ROLES: Final = ("api", "sequencer", "signer")
_RESTART_SECONDS: Final = (0.2, 1.0, 5.0, 15.0)
_DRAIN_SECONDS: Final = 40.0
_HALTED: Final = 4
"""The exit code of a role that halted, as the command line gives it."""

Alive = dict[str, asyncio.subprocess.Process]
"""Role to the child that runs it."""

log = structlog.get_logger("attestor.serve")


def main(*, config: Path | None, role: str | None, embedded: Path | None) -> None:
    """Run one role in this process, or every role in children, until SIGTERM or SIGINT; on SIGHUP the policy is read again."""
    wait_for_hangups()
    if embedded is not None:
        config = make_house(embedded, say)
    if config is None:
        raise AssertionError("the command line asked for one of the two")
    deployment = load_config(config)
    configure_logs(deployment.logging.level)
    for warning in deployment.warnings:
        log.warning("configuration", detail=warning)
    match role:
        case "api":
            uvloop.run(_run_api(resolved(deployment)))
        case "sequencer":
            uvloop.run(_run_sequencer(resolved(deployment)))
        case "signer":
            uvloop.run(_run_signer(resolved(deployment)))
        case _:
            uvloop.run(_run_all(deployment))


def say(sentence: str) -> None:
    """What a person at the terminal should know; logs go to standard error."""
    print(sentence, flush=True)  # noqa: T201 - this is the terminal


async def _run_api(config: Config) -> None:
    from attestor.app.api import api

    stop = stop_on_signals()
    with _role("api", config, stop) as file:
        async with api(config, file):
            await stop.wait()


async def _run_sequencer(config: Config) -> None:
    from attestor.app.sequencer import sequence_until, sequencer

    close_memory()
    stop = stop_on_signals()
    with _role("sequencer", config, stop) as file:
        async with sequencer(config, file) as sequencing:
            log.info("sequencing", origin=config.policy.log.key.name)
            await sequence_until(sequencing, stop)


async def _run_signer(config: Config) -> None:
    from attestor.app.release_key import workers_of
    from attestor.app.signer import sign_until, signer

    close_memory()
    stop = stop_on_signals()
    with _role("signer", config, stop) as file:
        async with signer(config, file) as process:
            log.info("signing", keys={name: key.fingerprint for name, key in process.signing.signers.items()})
            await sign_until(process, stop, workers=workers_of(config.hsm))


@contextmanager
def _role(role: str, config: Config, stop: asyncio.Event) -> Iterator[PolicyFile]:
    """The policy file of this process, which is read again on SIGHUP, while the run folder says that the process runs."""
    file = PolicyFile(config)
    with present(config, role, file):
        on_hangup(file.wanted.set, stop)
        yield file


async def _run_all(config: Config) -> None:
    stop = stop_on_signals()
    alive: Alive = {}
    on_hangup(partial(_hang_up, alive), stop)
    async with running(config, say, alive=alive):
        await stop.wait()


def _hang_up(alive: Alive) -> None:
    for child in alive.values():
        # One that ended just now reads the policy when it is started again.
        with suppress(ProcessLookupError):
            child.send_signal(signal.SIGHUP)


@asynccontextmanager
async def running(
    config: Config,
    say: Callable[[str], None],
    *,
    log_file: BinaryIO | None = None,
    alive: Alive | None = None,
) -> AsyncIterator[Config]:
    """Every role and embedded part of a deployment, for as long as the context lasts; yields it with the endpoints.

    The roles' logs go to *log_file*, or to this process's standard error; *alive* holds the children that run.
    """
    from attestor.app.provisioning import provision_hsm
    from attestor.store.migrate import migrate

    async with embedded_parts(config, say) as placed:
        if placed is not config:
            await migrate(placed.database.dsn_owner)
            await provision_hsm(placed, now())
        async with children(config.path, log_file=log_file, alive=alive):
            yield placed


@asynccontextmanager
async def children(
    config_path: Path, *, log_file: BinaryIO | None = None, alive: Alive | None = None
) -> AsyncIterator[None]:
    """Keep one child process per role running for as long as the context lasts; leaving drains them."""
    stop, alive = asyncio.Event(), {} if alive is None else alive
    kept = [asyncio.create_task(_keep(config_path, role, log_file, stop, alive), name=f"role {role}") for role in ROLES]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*kept)


async def _keep(
    config_path: Path,
    role: str,
    log_file: BinaryIO | None,
    stop: asyncio.Event,
    alive: Alive,
) -> None:
    failures = 0
    while not stop.is_set():
        child = await _start(config_path, role, log_file)
        alive[role] = child
        await until(stop, child.wait())
        del alive[role]
        if stop.is_set():
            await _drain(child)
            return
        halted = child.returncode == _HALTED
        # It looks again now and then: once a person has put right what it halted over, it goes on.
        delay = _RESTART_SECONDS[-1 if halted else min(failures, len(_RESTART_SECONDS) - 1)]
        failures += 1
        ended = "role halted" if halted else "role ended"
        log.error(ended, role=role, exit_code=child.returncode, restart_seconds=delay)
        await until(stop, asyncio.sleep(delay))


async def _start(config_path: Path, role: str, log_file: BinaryIO | None) -> asyncio.subprocess.Process:
    arguments = (sys.executable, "-m", "attestor", "serve", "--config", str(config_path), "--role", role)
    return await asyncio.create_subprocess_exec(*arguments, stdin=asyncio.subprocess.DEVNULL, stderr=log_file)


async def _drain(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.terminate()
    try:
        await asyncio.wait_for(child.wait(), _DRAIN_SECONDS)
    except TimeoutError:
        child.kill()
        await child.wait()
