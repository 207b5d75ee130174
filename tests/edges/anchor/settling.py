"""A process that goes on settling, entry by entry, and prints each size that it settled: ``settling.py FOLDER NAME UNTIL``."""

import asyncio
import sys
from pathlib import Path

from attestor.anchor.memory import FileMemory
from tests.edges.anchor.logged import ORIGIN, checkpoint, leaf, note, received


async def one_more(memory, name):
    async with memory.catching_up(alone=True) as step:
        at = step.frontier.size
        await step.take([leaf(at)], [(at, received(f"r{at}", name))])
        await step.settle(checkpoint(at + 1), note(checkpoint(at + 1)))
    return at + 1


async def main(folder, name, until):
    async with FileMemory.opened(Path(folder), ORIGIN) as memory:
        size = 0
        while size < until:
            size = await one_more(memory, name)
            print(size, flush=True)  # noqa: T201 - the parent reads it
            await asyncio.sleep(0.003)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
