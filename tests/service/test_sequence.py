"""The sequencer by itself, over the real outbox: batches, places, checkpoints, and whoever else is at it."""

import pytest
import pytest_asyncio

from attestor.core.errors import Conflict
from attestor.core.tlog.checkpoint import open_checkpoint
from attestor.core.tlog.merkle import EMPTY, leaf_hash
from attestor.service import sequence as module
from attestor.service.sequence import Sequencer
from attestor.store.listen import Listener
from attestor.store.log import PostgresLogBook
from tests.loghistory import late_dissent
from tests.logkeys import log_signer
from tests.service.makers import ORIGIN

KEY = log_signer(ORIGIN)
TELL = """INSERT INTO log_outbox (subject, kind, number, entry)
    VALUES (encode(substr(sha256($1), 1, 16), 'hex')::uuid, 'late-dissent', 0, $1)"""


@pytest_asyncio.fixture
async def book(ground):
    """The sequencer's side of the log, with nobody at work on it."""
    await ground.stop_log()
    return PostgresLogBook(await ground.pool("attestor_sequencer"), Listener())


async def tell(ground, numbers):
    await ground.owner.executemany(TELL, [(late_dissent(number),) for number in numbers])


async def checkpoints(ground):
    rows = await ground.sql("SELECT note FROM log_checkpoints ORDER BY size")
    return [open_checkpoint(row["note"], KEY.verifier) for row in rows]


async def test_each_batch_has_a_checkpoint_over_all_that_came_before(ground, book, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 3)
    sequencer = Sequencer(book, KEY, publish=True)
    await tell(ground, range(8))
    assert [await sequencer.sequence() for _ in range(4)] == [3, 3, 2, 0]
    rows = await ground.sql("SELECT idx, entry FROM log_entries ORDER BY idx")
    assert [(row["idx"], row["entry"]) for row in rows] == [(number, late_dissent(number)) for number in range(8)]
    leaves = [leaf_hash(late_dissent(number)) for number in range(8)]
    assert [(each.size, each.root) for each in await checkpoints(ground)] == [
        (size, EMPTY.extended(leaves[:size]).root) for size in (0, 3, 6, 8)
    ]


async def test_nothing_that_waits_leaves_the_log_as_it_is(ground, book):
    assert await Sequencer(book, KEY, publish=True).sequence() == 0
    assert len(await checkpoints(ground)) == 1


async def test_begin_signs_nothing_where_there_is_a_checkpoint(ground, book):
    await tell(ground, range(2))
    await Sequencer(book, KEY, publish=True).begin()
    assert [each.size for each in await checkpoints(ground)] == [0]


async def test_what_is_not_to_be_published_yet_is_signed_and_not_shown(ground, book):
    await tell(ground, range(2))
    assert await Sequencer(book, KEY, publish=False).sequence() == 2
    state, _ = await book.newest()
    assert (state.frontier.size, state.published) == (2, 0)


async def test_a_sequencer_that_finds_another_at_work_takes_nothing(ground, book):
    await tell(ground, range(2))
    async with book.sequencing() as sequencing:
        assert sequencing is not None
        other = PostgresLogBook(await ground.pool("attestor_sequencer"), Listener())
        assert await Sequencer(other, KEY, publish=True).sequence() == 0
    assert await Sequencer(book, KEY, publish=True).sequence() == 2


@pytest.mark.parametrize("failure", [Conflict("log-moved", "The log grew."), RuntimeError("the key is gone")])
async def test_a_step_that_fails_leaves_all_that_waited(ground, book, monkeypatch, failure):
    await tell(ground, range(2))

    def fails(*_):
        raise failure

    monkeypatch.setattr(module, "sign_checkpoint", fails)
    sequencer = Sequencer(book, KEY, publish=True)
    if isinstance(failure, Conflict):
        assert await sequencer.sequence() == 0
    else:
        with pytest.raises(RuntimeError):
            await sequencer.sequence()
    [row] = await ground.sql(
        "SELECT (SELECT count(*) FROM log_outbox) AS told, (SELECT count(*) FROM log_entries) AS logged"
    )
    assert tuple(row) == (2, 0)
    monkeypatch.undo()
    assert await sequencer.sequence() == 2
