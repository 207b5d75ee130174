"""The sequencer's process: the only one that holds the log's key, which signs checkpoints and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from attestor.app.ending import until
from attestor.app.logkeys import log_signer
from attestor.config import Config
from attestor.core.errors import Unavailable
from attestor.service.logports import LogBook
from attestor.service.sequence import Sequencer
from attestor.store.listen import listening
from attestor.store.log import PostgresLogBook
from attestor.store.pool import Settings, connect

_CONNECTIONS = 3

log = structlog.get_logger("attestor.sequencer")


@dataclass(frozen=True, slots=True)
class SequencerProcess:
    """What one sequencer process runs."""

    book: LogBook
    sequencer: Sequencer
    poll_seconds: float


@asynccontextmanager
async def sequencer(config: Config) -> AsyncIterator[SequencerProcess]:
    """Open the log for as long as the context lasts. Raises as :func:`attestor.app.logkeys.log_signer`."""
    view = config.for_role("sequencer")
    signer = log_signer(config, view)
    settings = Settings(dsn=view.dsn.reveal(), connections=_CONNECTIONS)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(connect(settings))
        listener = await stack.enter_async_context(listening(settings))
        book = PostgresLogBook(pool, listener)
        # With witnesses to wait for, whoever asks them shows the checkpoint.
        appending = Sequencer(book, signer, publish=config.policy.log.quorum == 0)
        yield SequencerProcess(book, appending, config.log.poll_seconds)


async def sequence_until(process: SequencerProcess, stop: asyncio.Event) -> None:
    """Append what is enqueued until *stop*; what is under way is finished. Raises ``Halted``: the log contradicts itself."""
    begun = False
    while not stop.is_set():
        try:
            if not begun:
                await process.sequencer.begin()
                begun = True
            appended = await process.sequencer.sequence()
        except Unavailable as error:
            log.warning("sequencing", code=error.code, detail=error.sentence)
            await until(stop, asyncio.sleep(process.poll_seconds))
            continue
        if appended:
            log.debug("appended", entries=appended)
        else:
            await until(stop, process.book.due(process.poll_seconds))
