"""A process that tells the log and sequences at the same time, as replicas of API and sequencer on one machine do.

    python -m tests.edges.store.appending API_DSN SEQUENCER_DSN FIRST COUNT

It tells COUNT entries from number FIRST on, by four tasks, and sequences until its standard input ends.
"""

import asyncio
import sys

from attestor.service.sequence import Sequencer
from attestor.store.listen import Listener
from attestor.store.log import PostgresLogBook
from attestor.store.pool import Settings, connect
from tests.edges.store.logmakers import KEY, dissent, enqueue


async def tell(pool, numbers):
    for number in numbers:
        async with pool.acquire() as connection:
            await enqueue(connection, dissent(number))


async def sequence(sequencer, book):
    while True:
        if await sequencer.sequence() == 0:
            await book.due(1.0)


async def main(api, sequencer_dsn, first, count):
    async with connect(Settings(api, 4)) as telling, connect(Settings(sequencer_dsn, 2)) as appending:
        book = PostgresLogBook(appending, Listener())
        combining = asyncio.create_task(sequence(Sequencer(book, KEY, publish=True), book))
        await asyncio.gather(*(tell(telling, range(first + task, first + count, 4)) for task in range(4)))
        sys.stdout.write("told\n")
        ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await asyncio.wait({combining, ended}, return_when=asyncio.FIRST_COMPLETED)
        if combining.done():
            combining.result()
        combining.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
