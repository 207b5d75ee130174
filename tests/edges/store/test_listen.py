"""Who waits is woken by the hints of its own channel, over one connection."""

import asyncio
import os
import signal

import pytest

from attestor.store import listen
from attestor.store.pool import Settings

RELEASE, OTHER = "01" * 32, "02" * 32


@pytest.fixture
async def listener(stand, monkeypatch):
    """A listener that hears all channels already; none of its waits ends by itself within the test."""
    monkeypatch.setattr(listen, "_POLL_SECONDS", 60.0)
    made = await stand.listener("signer")
    heard = asyncio.create_task(made.enqueued(60))

    async def hears_the_last_channel():
        await stand.owner.execute("SELECT pg_notify('attestor_outbox', '')")
        return heard.done()

    await stand.until(hears_the_last_channel)
    # Hints come in their order: behind this one, none of those above is still on its way.
    last = asyncio.create_task(made.logged(60))
    await asyncio.sleep(0)
    await stand.owner.execute("SELECT pg_notify('attestor_log', '')")
    await last
    return made


WAITS = {
    "a release": lambda listener: listener.moved(RELEASE, 60),
    "another release": lambda listener: listener.moved(OTHER, 60),
    "the queue": lambda listener: listener.queued(60),
    "the log": lambda listener: listener.logged(60),
    "the outbox": lambda listener: listener.enqueued(60),
}
HINTS = [
    ("attestor", RELEASE, {"a release"}),
    ("attestor", OTHER, {"another release"}),
    ("attestor_queue", "", {"the queue", "the outbox"}),
    ("attestor_log", "7", {"the log"}),
    ("attestor_outbox", "", {"the outbox"}),
]


@pytest.mark.parametrize(("channel", "payload", "woken"), HINTS)
async def test_a_hint_wakes_exactly_who_waits_for_it(stand, listener, channel, payload, woken):
    tasks = {name: asyncio.create_task(wait(listener)) for name, wait in WAITS.items()}
    await asyncio.sleep(0)
    await stand.owner.execute("SELECT pg_notify($1, $2)", channel, payload)
    async with asyncio.timeout(20):
        await asyncio.gather(*(tasks[name] for name in woken))
    # Hints are given out in one step of the loop, so whoever is still waiting was not meant.
    await asyncio.sleep(0)
    assert {name for name, task in tasks.items() if task.done()} == woken
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    assert not listener._waiting


async def test_who_waits_is_told_nothing_and_goes_when_the_time_is_over(listener):
    for wait in (listener.moved(RELEASE, 0.01), listener.logged(0.01), listener.enqueued(0.01)):
        await wait
    assert not listener._waiting


async def test_it_ends_when_it_is_left_also_where_the_database_does_not_let_its_connection_go(stand):
    async def backend():
        return await stand.owner.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE query = 'LISTEN \"attestor_outbox\"' AND application_name = 'attestor listener'"
        )

    listening = listen.listening(Settings(stand.dsn("attestor_api")))
    await listening.__aenter__()
    await stand.until(backend)
    stopped = await backend()
    os.kill(stopped, signal.SIGSTOP)
    leaving = asyncio.create_task(listening.__aexit__(None, None, None))
    ended, _ = await asyncio.wait({leaving}, timeout=20)
    os.kill(stopped, signal.SIGCONT)
    assert ended == {leaving}
