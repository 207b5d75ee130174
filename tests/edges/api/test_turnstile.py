"""The bound holds also where the work inside never waits, as a verification does."""

import asyncio

from attestor.api.turnstile import Turnstile
from attestor.core.errors import Unavailable


async def test_work_that_never_yields_is_bounded_too():
    turnstile = Turnstile(2)

    async def verify():
        async with turnstile:
            return "done"

    said = await asyncio.gather(*(verify() for _ in range(5)), return_exceptions=True)
    assert [isinstance(each, Unavailable) for each in said] == [False, False, True, True, True]
    assert await verify() == "done"


async def test_a_place_is_free_again_after_a_failure_and_after_a_caller_that_went_away():
    turnstile = Turnstile(1)

    async def fail():
        async with turnstile:
            raise ValueError

    for _ in range(2):
        assert isinstance((await asyncio.gather(fail(), return_exceptions=True))[0], ValueError)
        gone = asyncio.create_task(fail())
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
    async with turnstile:
        pass
