"""From nothing to ready, with PostgreSQL up."""

from tests.bench.figure import Figure
from tests.bench.stand import Stand, role, timed


async def start_figure(place: Stand, times: int) -> Figure:
    """Seconds from starting ``serve --role api`` until ``/readyz`` holds the database for ready: the slowest of some starts."""
    seconds = []
    for _ in range(times):
        with timed() as took:
            running = role(place, "api")
            await running.__aenter__()
        await running.__aexit__(None, None, None)
        seconds += took
    return Figure("start to ready", max(seconds), "s", target=2, at_most=True, note=f"slowest of {times}")
