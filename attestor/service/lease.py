"""Keep a claimed request's lease while something takes longer than it lasts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attestor.service.signports import Job, Queue


@asynccontextmanager
async def kept(queue: Queue, job: Job, lease_seconds: float) -> AsyncIterator[None]:
    """Renew it meanwhile: tens of gigabytes, or a queue at the HSM, take longer than a lease that may be lost soon."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(lease_seconds / 3)
            await queue.renew(job, lease_seconds)

    renewing = asyncio.create_task(renew(), name="lease")
    try:
        yield
    finally:
        renewing.cancel()
        # A lease that was lost meanwhile is seen at the next step, which needs it.
        await asyncio.gather(renewing, return_exceptions=True)
