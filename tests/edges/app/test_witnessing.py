"""The sequencer's loop over witnesses: it goes on through what passes, ends with what does not, and says what changed."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import structlog

from attestor.app import witnessing
from attestor.app.witnessing import meet_witnesses, witness_until
from attestor.core.errors import Halted, Unavailable
from attestor.core.policy import LogPolicy, WitnessPolicy
from attestor.core.tlog.checkpoint import open_checkpoint
from attestor.service import witness as use_case
from tests.edges.publish.witness_server import WitnessServer, serving
from tests.logkeys import witness_signer
from tests.memorybook import MemoryBook
from tests.memorylog import SIGNER, MemoryLog, words

NAMES = ("anna", "bert")
ORIGIN = SIGNER.verifier.name


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(witnessing, "_AWAITED_SECONDS", 0.002)
    monkeypatch.setattr(witnessing, "_UNAWAITED_SECONDS", 0.002)
    monkeypatch.setattr(use_case, "_FIRST_PAUSE", 0.002)
    monkeypatch.setattr(use_case, "_LONGEST_PAUSE", 0.002)
    monkeypatch.setattr(use_case, "_LONGEST_REFUSED", 0.002)


@pytest.fixture
async def servers():
    async with AsyncExitStack() as stack:
        made = {name: WitnessServer(witness_signer(name), [SIGNER.verifier]) for name in NAMES}
        yield {name: await stack.enter_async_context(serving(server)) for name, server in made.items()}


def policy(servers, quorum):
    witnesses = tuple(WitnessPolicy(name, one.signer.verifier, one.url) for name, one in servers.items())
    return LogPolicy(SIGNER.verifier, (), quorum, witnesses)


@pytest.fixture
def logged():
    with structlog.testing.capture_logs() as lines:
        yield lines


def said(logged, event, witness=None):
    return [line for line in logged if line["event"] == event and line.get("witness") == witness]


@asynccontextmanager
async def running(book, policy):
    """The loop beside a test; leaving stops it, and raises what it ended with."""
    stop = asyncio.Event()
    async with asyncio.timeout(30):
        task = asyncio.create_task(witness_until(book, policy, stop))
        yield task
        stop.set()
        await task


async def until(done):
    while not done():  # noqa: ASYNC110 - what is waited for is the witnesses' and the book's, which tell nobody
        await asyncio.sleep(0.001)


async def test_the_loop_publishes_what_is_signed_until_it_is_stopped(servers, logged):
    book = MemoryBook()
    async with running(book, policy(servers, 2)):
        for size in (1, 2, 300):
            book.append(size - book.log.size)
            await until(lambda size=size: book.published == size)
    assert [line["size"] for line in said(logged, "witness", "anna")] == [1]


async def test_without_a_quorum_the_cosignatures_are_kept(servers):
    book = MemoryBook(3, publish=True)
    async with running(book, policy(servers, 0)):
        await until(lambda: len(book.lines) == 2)
    assert book.history == []


async def test_without_witnesses_nothing_is_looked_for():
    async with running(None, policy({}, 0)) as task:
        await asyncio.sleep(0)
        assert not task.done()


async def test_a_rollback_ends_it(servers, logged):
    servers["bert"].accept(MemoryLog(words(9)).checkpoint_at(9))
    with pytest.raises(Halted) as halted:
        async with running(MemoryBook(4), policy(servers, 1)) as task:
            await asyncio.wait([task])
    assert halted.value.code == "log-rolled-back"
    with pytest.raises(Halted) as halted:
        await meet_witnesses(MemoryBook(4), policy(servers, 1))
    assert halted.value.code == "log-rolled-back"


async def test_the_start_asks_each_witness_once(servers):
    await meet_witnesses(MemoryBook(4), policy(servers, 0))
    assert [len(servers[name].asked) for name in NAMES] == [1, 1]
    assert [servers[name].known(ORIGIN).size for name in NAMES] == [4, 4]


async def test_a_split_view_is_told_each_time_with_its_evidence(servers, logged):
    servers["bert"].accept(MemoryLog(words(4, "forked")).checkpoint_at(4))
    book = MemoryBook(4)
    async with running(book, policy(servers, 1)):
        await until(lambda: book.published == 4 and len(said(logged, "witness alarm", "bert")) >= 2)
    alarm = said(logged, "witness alarm", "bert")[0]
    assert (alarm["log_level"], alarm["code"]) == ("critical", "split-view")
    assert open_checkpoint(alarm["checkpoint"].encode(), SIGNER.verifier) == book.log.checkpoint_at(4)


async def test_what_changes_with_a_witness_is_told_once(servers, logged):
    servers["bert"].canned = (503, "text/plain", b"")
    book = MemoryBook(4)
    async with running(book, policy(servers, 2)):
        await until(lambda: len(servers["bert"].asked) >= 4)
        servers["bert"].canned = (404, "text/plain", b"")
        before = len(servers["bert"].asked)
        await until(lambda: len(servers["bert"].asked) >= before + 3)
        servers["bert"].canned = None
        await until(lambda: book.published == 4)
    told = [line.get("code", "cosigned") for line in said(logged, "witness", "bert")]
    assert told == ["witness-unavailable", "witness-unknown-origin", "cosigned"]


async def test_a_database_that_is_away_for_a_while_is_waited_for(servers, logged):
    class Away(MemoryBook):
        left = 3

        async def cosigned(self, size, witness, line):
            if self.left:
                self.left -= 1
                raise Unavailable("database-unavailable", "It is away.")
            await super().cosigned(size, witness, line)

    book = Away(4)
    async with running(book, policy(servers, 2)):
        await until(lambda: book.published == 4)
    assert 1 <= len(said(logged, "witnessing")) <= 3


async def test_stopping_leaves_a_silent_witness(servers):
    servers["bert"].held.clear()
    book = MemoryBook(4)
    async with running(book, policy(servers, 1)):
        await until(lambda: book.published == 4)
    assert servers["bert"].known(ORIGIN).size == 0
    assert set(await book.cosignatures(4)) == {"anna"}
