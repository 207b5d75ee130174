"""Many at once: nobody appends beside another, no entry is forgotten, and whoever dies leaves nothing half done."""

import asyncio
import sys
from pathlib import Path

import asyncpg
import pytest

from attestor.core.errors import Unavailable
from attestor.service.sequence import Sequencer
from attestor.store.listen import Listener
from attestor.store.log import PostgresLogBook, PostgresSequencing, _state_of
from attestor.store.pool import Settings, connect
from tests.edges.store.logmakers import KEY, dissent, enqueue, logged
from tests.edges.store.test_log import append

_HERE = Path(__file__).parents[3]


async def _start(stand, first, count):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.edges.store.appending",
        stand.dsn("attestor_api"),
        stand.dsn("attestor_sequencer"),
        str(first),
        str(count),
        cwd=_HERE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def test_two_processes_telling_and_three_sequencing_make_one_log(stand, sequencer):
    programs = [await _start(stand, first, 120) for first in (0, 120)]
    ours = sequencer(await stand.book())

    async def all_logged():
        await ours.sequence()
        return await stand.owner.fetchval("SELECT count(*) FROM log_entries") == 240

    try:
        await stand.until(all_logged)
    finally:
        answers = await asyncio.gather(*(program.communicate(b"") for program in programs))
    assert [answer for answer, _ in answers] == [b"told\n", b"told\n"]
    assert [program.returncode for program in programs] == [0, 0]
    assert sorted(await logged(stand.owner)) == sorted(dissent(number).entry for number in range(240))
    assert await stand.owner.fetchval("SELECT count(*) FROM log_checkpoints") > 3


async def test_an_entry_that_came_behind_the_winners_look_is_logged_though_its_hint_found_the_lock_taken(stand):
    winner, loser = await stand.book(), PostgresLogBook(await stand.pool("sequencer"), Listener())
    await enqueue(stand.owner, dissent(1))
    async with winner.sequencing() as sequencing:
        assert [told.entry for told in await sequencing.drain(9)] == [dissent(1).entry]
        await enqueue(stand.owner, dissent(2))
        async with loser.sequencing() as nothing:
            assert nothing is None
        await append(sequencing, [dissent(1)], sequencing.state.frontier)
    # Nobody hints again: the listener is connected to nothing.
    async with asyncio.timeout(20):
        await loser.due(60)
    assert await Sequencer(loser, KEY, publish=True).sequence() == 1
    assert await logged(stand.owner) == [dissent(1).entry, dissent(2).entry]


async def test_who_is_due_is_woken_by_a_hint_and_by_a_look_and_goes_when_the_time_is_over(stand):
    book = await stand.book()
    await book.due(0.05)
    for hint in ("SELECT 1", "SELECT pg_notify('attestor_outbox', '')", "SELECT pg_notify('attestor_queue', '')"):
        due = asyncio.create_task(book.due(60))
        await asyncio.sleep(0)
        await enqueue(stand.owner, dissent(1))
        await stand.owner.execute(hint)
        async with asyncio.timeout(20):
            await due
        await stand.owner.execute("DELETE FROM log_outbox")


async def test_due_is_no_error_without_a_database(stand):
    async with connect(Settings(stand.dsn("attestor_sequencer"))) as pool:
        book = PostgresLogBook(pool, Listener())
        await pool.close()
        await book.due(0.05)


async def test_what_was_committed_while_the_lock_was_waited_for_is_seen_whatever_the_pools_isolation(stand):
    """Under REPEATABLE READ the wait for the lock would end in a view that is older than the lock."""
    dsn, older = stand.dsn("attestor_sequencer"), {"default_transaction_isolation": "repeatable read"}
    holder = await stand.connection("sequencer")
    async with asyncpg.create_pool(dsn, min_size=1, max_size=1, server_settings=older) as pool:
        assert await pool.fetchval("SHOW default_transaction_isolation") == "repeatable read"
        book = PostgresLogBook(pool, Listener())
        holding = holder.transaction()
        await holding.start()
        state = _state_of(await holder.fetchrow("SELECT * FROM log_state FOR UPDATE"))
        ours = asyncio.create_task(_drained(book))
        await stand.until_blocked()
        await append(PostgresSequencing(holder, state), [dissent(1)], state.frontier)
        await enqueue(stand.owner, dissent(2))
        await holding.commit()
        assert await ours == (1, [dissent(2).entry])


async def _drained(book):
    async with book.sequencing() as sequencing:
        return sequencing.state.frontier.size, [told.entry for told in await sequencing.drain(9)]


async def test_a_lock_that_is_not_had_in_time_is_an_error_and_nothing_is_taken(stand, monkeypatch):
    holder = await stand.connection("sequencer")
    book = await stand.book()
    from attestor.store import log

    monkeypatch.setitem(log._SQL, "take_lock", log._SQL["take_lock"].replace("'2s'", "'20ms'"))
    await enqueue(stand.owner, dissent(1))
    async with holder.transaction():
        await holder.fetchrow("SELECT * FROM log_state FOR UPDATE")
        with pytest.raises(Unavailable) as caught:
            await _drained(book)
    assert caught.value.code == "database-busy"
    assert (await _drained(book))[1] == [dissent(1).entry]


@pytest.mark.parametrize("after_append", [False, True], ids=["after the drain", "after everything was written"])
async def test_a_sequencer_that_dies_leaves_outbox_and_log_as_they_were(stand, sequencer, after_append):
    book = await stand.book()
    await enqueue(stand.owner, dissent(1), dissent(2))
    with pytest.raises(Unavailable):
        await _die(stand, book, after_append=after_append)
    assert await logged(stand.owner) == []
    assert await stand.owner.fetchval("SELECT count(*) FROM log_outbox") == 2
    assert await sequencer(book).sequence() == 2
    assert await logged(stand.owner) == [dissent(1).entry, dissent(2).entry]


async def _die(stand, book, *, after_append):
    async with book.sequencing() as sequencing:
        taken = await sequencing.drain(9)
        if after_append:
            await append(sequencing, taken, sequencing.state.frontier)
        killed = await stand.owner.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE usename = 'attestor_sequencer' AND state = 'idle in transaction'"
        )
        assert killed == 1
        # Whoever comes next must not find the dying session's lock.
        await stand.until(lambda: _gone(stand.owner))


async def _gone(owner):
    return not await owner.fetchval(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'attestor_sequencer' AND state LIKE 'idle in%')"
    )


async def test_what_an_exception_ends_is_not_there(stand):
    book = await stand.book()
    await enqueue(stand.owner, dissent(1))
    with pytest.raises(KeyError):
        await _fail(book)
    assert await logged(stand.owner) == []
    assert (await _drained(book))[1] == [dissent(1).entry]


async def _fail(book):
    async with book.sequencing() as sequencing:
        await append(sequencing, await sequencing.drain(9), sequencing.state.frontier)
        raise KeyError
