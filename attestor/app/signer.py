"""The signer's process: the only one that holds HSM credentials; it opens no port and believes nobody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from attestor.app.clock import now
from attestor.app.ending import until
from attestor.app.release_key import device_of, open_release_keys
from attestor.config import Config
from attestor.content.artifacts import SPOOL, Artifacts
from attestor.content.roots import DirectoryRoot, PullRoots
from attestor.core.errors import AttestorError
from attestor.service.sign import Signing, sign_next
from attestor.store.listen import listening
from attestor.store.pool import Settings, connect
from attestor.store.queue import PostgresQueue

log = structlog.get_logger("attestor.signer")


@asynccontextmanager
async def signer(config: Config) -> AsyncIterator[Signing]:
    """Open database, content and release keys for as long as the context lasts."""
    view = config.for_role("signer")
    settings = Settings(dsn=view.dsn.reveal(), connections=config.hsm.slots + 2)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(connect(settings))
        listener = await stack.enter_async_context(listening(settings))
        keys = await open_release_keys(config, device_of(config), view.passphrases)
        yield Signing(
            queue=PostgresQueue(pool, listener),
            content=_artifacts(config),
            signers=keys,
            policy=config.policy,
            now=now,
            lease_seconds=config.signer.lease_seconds,
            tries=config.signer.tries,
        )


async def sign_until(signing: Signing, stop: asyncio.Event, *, workers: int, poll_seconds: float) -> None:
    """Bring request after request to its next state until *stop*; what is under way is finished."""
    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(_work(signing, stop, poll_seconds))


async def _work(signing: Signing, stop: asyncio.Event, poll_seconds: float) -> None:
    while not stop.is_set():
        try:
            job = await sign_next(signing)
        except AttestorError as error:
            log.warning("signing", code=error.code, detail=error.sentence)
            await until(stop, asyncio.sleep(poll_seconds))
            continue
        if job is None:
            await until(stop, signing.queue.due(poll_seconds))
        else:
            log.info("worked", signing_request=str(job.request.id), release_id=job.request.release.id)


def _artifacts(config: Config) -> Artifacts:
    roots = {**config.pull_roots, SPOOL: DirectoryRoot(config.content.spool)}
    scratch = config.content.scratch
    return Artifacts(PullRoots(roots, scratch=scratch, max_bytes=config.content.max_bytes), scratch)
