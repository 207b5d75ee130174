"""The sequencer's process: the only one that holds the log's key, which signs checkpoints and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import structlog

from attestor.app.ending import halted_among, until
from attestor.app.logkeys import log_signer
from attestor.app.policyfile import PolicyFile
from attestor.app.witnessing import meet_witnesses, witness_until
from attestor.config import Config
from attestor.core.errors import Unavailable
from attestor.core.policy import LogPolicy, Policy
from attestor.service.logports import LogBook
from attestor.service.sequence import Sequencer
from attestor.store.listen import listening
from attestor.store.log import PostgresLogBook
from attestor.store.pool import Settings, connect

_CONNECTIONS = 3

log = structlog.get_logger("attestor.sequencer")


@dataclass(slots=True)
class SequencerProcess:
    """What one sequencer process runs."""

    book: LogBook
    sequencer: Sequencer
    policy: LogPolicy
    poll_seconds: float
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when another policy is in force."""

    def load(self, policy: Policy) -> None:
        """Have the log witnessed as another policy says from now on."""
        self.policy = policy.log
        self.sequencer.load(publish=policy.log.quorum == 0)
        self.changed.set()


@asynccontextmanager
async def sequencer(config: Config, file: PolicyFile | None = None) -> AsyncIterator[SequencerProcess]:
    """Open the log for as long as the context lasts. Raises as :func:`attestor.app.logkeys.log_signer`."""
    view = config.for_role("sequencer")
    signer = log_signer(config, view)
    settings = Settings(dsn=view.dsn.reveal(), connections=_CONNECTIONS)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(connect(settings))
        listener = await stack.enter_async_context(listening(settings))
        book = PostgresLogBook(pool, listener)
        # With witnesses to wait for, a checkpoint is shown once they cosigned it (attestor.app.witnessing).
        appending = Sequencer(book, signer, publish=config.policy.log.quorum == 0)
        process = SequencerProcess(book, appending, config.policy.log, config.log.poll_seconds)
        await stack.enter_async_context((file or PolicyFile(config)).watched(process.load, process.changed.set))
        yield process


async def sequence_until(process: SequencerProcess, stop: asyncio.Event) -> None:
    """Append what is enqueued, and have it witnessed, until *stop*; an append that is under way is finished.

    Raises ``Halted``: the log contradicts itself, its key, or what a witness has seen.
    """
    await _begin(process, stop)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_witness_until(process, stop), name="witnesses")
            group.create_task(_append_until(process, stop), name="append")
    except ExceptionGroup as failures:
        halted = halted_among(failures)
        if halted is None:
            raise
        raise halted from None


async def _begin(process: SequencerProcess, stop: asyncio.Event) -> None:
    """Nothing is appended before there is a first checkpoint, and every witness was asked whether it knows more."""
    while not stop.is_set():
        try:
            await process.sequencer.begin()
            await meet_witnesses(process.book, process.policy)
        except Unavailable as error:
            log.warning("sequencing", code=error.code, detail=error.sentence)
            await until(stop, asyncio.sleep(process.poll_seconds))
        else:
            return


async def _witness_until(process: SequencerProcess, stop: asyncio.Event) -> None:
    """One round of witnessing for each policy."""
    while not stop.is_set():
        process.changed.clear()
        ending = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(_end(ending, stop, process.changed))
            await witness_until(process.book, process.policy, ending)


async def _end(ending: asyncio.Event, stop: asyncio.Event, changed: asyncio.Event) -> None:
    await until(stop, changed.wait())
    ending.set()


async def _append_until(process: SequencerProcess, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            appended = await process.sequencer.sequence()
        except Unavailable as error:
            log.warning("sequencing", code=error.code, detail=error.sentence)
            await until(stop, asyncio.sleep(process.poll_seconds))
            continue
        if appended:
            log.debug("appended", entries=appended)
        else:
            await until(stop, process.book.due(process.poll_seconds))
