"""The API's process: it takes attestations and requests, and holds no HSM credential (P9)."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from functools import partial
from ipaddress import ip_network
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from attestor.api import listeners as door
from attestor.api.alarms import DissentMetrics
from attestor.app.clock import now
from attestor.app.dissent import DissentLookout, dissent_probe
from attestor.app.ending import until
from attestor.app.keyhealth import KeyHealth
from attestor.app.parts import database_probe, log_probe, policy_probe, signer_probe, standing
from attestor.app.policyfile import PolicyFile
from attestor.config import Config, ServedListener
from attestor.content.spool import Spool
from attestor.core.errors import AttestorError
from attestor.core.policy import ApproverKey
from attestor.service.dissent import DissentRate
from attestor.service.gate import Gate
from attestor.store.approvals import PostgresApprovals
from attestor.store.archive import PostgresArchive
from attestor.store.ledger import PostgresLedger
from attestor.store.listen import listening
from attestor.store.log import PostgresLog
from attestor.store.pool import Settings, connect

_REEVALUATE_SECONDS: Final = 2.0
_TIDY_SECONDS: Final = 300.0
_ENDS_SECONDS: Final = 86400.0
_REEVALUATE_AT_ONCE: Final = 200

log = structlog.get_logger("attestor.api")


@asynccontextmanager
async def api(config: Config, file: PolicyFile | None = None) -> AsyncIterator[door.Running]:
    """Serve every listener of the deployment for as long as the context lasts; leaving answers what is under way."""
    file = file or PolicyFile(config)
    view = config.for_role("api")
    settings = Settings(dsn=view.dsn.reveal())
    spool = Spool(
        config.content.spool, max_bytes=config.content.max_bytes, max_total_bytes=config.content.max_total_bytes
    )
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(spool.prepare)
        pool = await stack.enter_async_context(connect(settings))
        watch = await stack.enter_async_context(listening(settings))
        ledger, source = PostgresLedger(pool), PostgresLog(pool)
        registry, rate = CollectorRegistry(), DissentRate(config.alarms.dissents_per_hour, time.monotonic_ns)
        gate = Gate(
            ledger=ledger,
            policy=config.policy,
            spool=spool,
            watch=watch,
            log=source,
            archive=PostgresArchive(pool),
            approvals=PostgresApprovals(pool),
            verify_approval=_verify,
            now=now,
            rates=config.limits,
            ticks=time.monotonic_ns,
            lookout=DissentLookout(rate, DissentMetrics(registry, rate)),
        )
        health = KeyHealth(ledger, config, file, now)
        await stack.enter_async_context(_kept_up(gate, health, file))
        running = await door.serve(
            [_listener(served) for served in view.listeners],
            gate,
            registry=registry,
            probes=(
                database_probe(pool, now),
                signer_probe(ledger, now),
                log_probe(source, pool, file),
                policy_probe(ledger, file, now),
                dissent_probe(rate),
                health.canary,
            ),
            standing=health.with_keys(standing(ledger, pool, file, now)),
        )
        log.info("serving", addresses=running.named)
        try:
            yield running
        finally:
            await running.stop()
            await gate.drain()


@asynccontextmanager
async def _kept_up(gate: Gate, health: KeyHealth, file: PolicyFile) -> AsyncIterator[None]:
    """What nobody asks for: releases are evaluated again, uploads tidied away, keys' ends warned of, the policy reloaded."""
    changed = asyncio.Event()
    async with (
        _again("reevaluation", partial(_reevaluated, gate), _REEVALUATE_SECONDS, changed),
        _again("tidying", partial(_tidied, gate), _TIDY_SECONDS, asyncio.Event()),
        _again("keys' ends", health.warn_of_ends, _ENDS_SECONDS, asyncio.Event()),
        file.watched(gate.load, changed.set),
    ):
        yield


def _verify(key: ApproverKey, signature: bytes, signed: bytes, at: datetime) -> None:
    # Most deployments have no approvers, and PGPy is a third of what an API process would import.
    from attestor.openpgp.approvers import Approvers

    Approvers().verify(key, signature, signed, at)


def _listener(served: ServedListener) -> door.Listener:
    listener = served.listener
    tls = None
    if listener.certificate is not None and served.key is not None:
        tls = door.TlsFiles(listener.certificate, served.key, listener.client_ca)
    return door.Listener(
        address=listener.address,
        audiences=frozenset(listener.audiences),
        tls=tls,
        proxies=tuple(map(ip_network, listener.proxies)),
    )


@asynccontextmanager
async def _again(
    name: str, work: Callable[[], Awaitable[bool]], seconds: float, due: asyncio.Event
) -> AsyncIterator[None]:
    """Do *work* every so many seconds, when it is *due*, and at once again while it says that there is more; a failure is logged."""

    async def repeat() -> None:
        while True:
            try:
                more = await work()
            except AttestorError as error:
                more = False
                log.warning(name, code=error.code, detail=error.sentence)
            if not more:
                await until(due, asyncio.sleep(seconds))
            due.clear()
            await asyncio.sleep(0)

    task = asyncio.create_task(repeat(), name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _reevaluated(gate: Gate) -> bool:
    """Evaluate again what another policy or a key's time has changed, so that nobody has to ask for it first."""
    return await gate.reevaluate(_REEVALUATE_AT_ONCE) == _REEVALUATE_AT_ONCE


async def _tidied(gate: Gate) -> bool:
    if gone := await gate.tidy():
        log.info("spool", removed=gone)
    return False
