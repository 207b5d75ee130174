"""A sequencer of its own role over the tests' database, and a signer's memory that follows it."""

import asyncio
from contextlib import asynccontextmanager

from attestor.anchor.anchorfile import make_anchor
from attestor.anchor.memory import FileMemory
from attestor.core.tlog.merkle import EMPTY_ROOT
from attestor.service.past import Past
from attestor.service.sequence import Sequencer
from attestor.store.listen import listening
from attestor.store.log import PostgresLog, PostgresLogBook
from attestor.store.pool import Settings, connect
from tests.logkeys import log_signer


@asynccontextmanager
async def sequencing(dsn, origin, *, publish=True):
    """A sequencer at work; yields what appends all that waits at this moment."""
    settings = Settings(dsn, connections=2)
    async with connect(settings) as pool, listening(settings) as listener:
        book = PostgresLogBook(pool, listener)
        sequencer = Sequencer(book, log_signer(origin), publish=publish)
        await sequencer.begin()

        async def at_work():
            while True:
                if not await sequencer.sequence():
                    await book.due(1)

        task = asyncio.create_task(at_work(), name="sequencer")
        try:
            yield sequencer.sequence
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def anchored(folder):
    """The folder of an anchor at the log's beginning, made where it is missing, as a person would."""
    place = folder / "anchor"
    if not place.exists():
        place.mkdir(mode=0o700)
        make_anchor(place, 0, EMPTY_ROOT)
    return place


_MEMORIES = []


def past_over(pool, folder, policy):
    """A memory of its own, until `close_memories`."""
    memory = FileMemory(anchored(folder), policy.log.key.name)
    _MEMORIES.append(memory)
    return Past(PostgresLog(pool), memory, policy, alone=policy.log.quorum == 0)


async def close_memories():
    while _MEMORIES:
        await _MEMORIES.pop().close()


async def caught_up(ground, past):
    """Once all that waits is in the log, and the signer has folded it."""
    await ground.settled()
    await past.follow()


@asynccontextmanager
async def following(past):
    """Follow the log for as long as the context lasts; leaving raises what halted it."""

    async def at_work():
        while True:
            if not await past.follow():
                await asyncio.sleep(0.01)

    await past.follow()
    task = asyncio.create_task(at_work(), name="follower")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
