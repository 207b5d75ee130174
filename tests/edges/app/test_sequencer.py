"""The sequencer's loop: what it does about a database that is away, and about a log that contradicts itself."""

import asyncio
from types import SimpleNamespace

import pytest
import structlog

from attestor.app import sequencer
from attestor.app.sequencer import SequencerProcess, sequence_until
from attestor.core.errors import Halted, Unavailable
from tests.logkeys import log_policy

AWAY = Unavailable("database-unavailable", "It is away.")
FORKED = Halted("log-root", "Two roots.")


class Scripted:
    """A sequencer that does what the script says, and stops the loop at its end; also the book that it waits on."""

    def __init__(self, stop, begins, steps):
        self.stop, self.begins, self.steps, self.waited = stop, list(begins), list(steps), 0

    async def begin(self):
        self._next(self.begins)

    async def sequence(self):
        return self._next(self.steps)

    async def due(self, _seconds):
        self.waited += 1

    def _next(self, script):
        step = script.pop(0)
        if not self.steps:
            self.stop.set()
        if isinstance(step, Exception):
            raise step
        return step


@pytest.fixture
def run(monkeypatch):
    async def met(_book, _policy):
        return None

    monkeypatch.setattr(sequencer, "meet_witnesses", met)

    async def go(*steps, begins=(None,)):
        stop = asyncio.Event()
        scripted = Scripted(stop, begins, steps)
        process = SequencerProcess(scripted, scripted, log_policy("attestor.example.org"), poll_seconds=0.001)
        with structlog.testing.capture_logs() as lines:
            try:
                await sequence_until(process, stop)
            finally:
                scripted.warned = [line["code"] for line in lines if line["log_level"] == "warning"]
        return scripted

    return go


async def test_it_appends_while_there_is_something_and_waits_when_there_is_nothing(run):
    done = await run(3, 2, 0, 1)
    assert (done.steps, done.waited, done.warned) == ([], 1, [])


async def test_a_database_that_is_away_is_tried_again(run):
    done = await run(AWAY, 1, begins=(AWAY, AWAY, None))
    assert (done.begins, done.steps, done.warned) == ([], [], ["database-unavailable"] * 3)


async def test_a_log_that_contradicts_itself_ends_the_process(run):
    with pytest.raises(Halted) as halted:
        await run(1, FORKED, 1)
    assert halted.value is FORKED


async def test_a_log_that_contradicts_itself_at_the_start_is_never_appended_to(run):
    with pytest.raises(Halted):
        await run(1, begins=(FORKED,))


async def test_a_witness_that_knows_more_ends_the_process_before_anything_is_appended(run, monkeypatch):
    async def met(_book, _policy):
        raise FORKED

    monkeypatch.setattr(sequencer, "meet_witnesses", met)
    with pytest.raises(Halted):
        await run()


async def test_what_halts_the_witnesses_ends_the_process(run, monkeypatch):
    async def halt(_book, _policy, _stop):
        raise FORKED

    monkeypatch.setattr(sequencer, "witness_until", halt)
    with pytest.raises(Halted) as halted:
        await run(*[0] * 1000)
    assert halted.value is FORKED


async def test_another_policy_begins_another_round_of_witnessing(monkeypatch):
    rounds, stop = [], asyncio.Event()
    before, after = (log_policy("attestor.example.org", quorum=quorum, witnesses=names) for quorum, names in ROUNDS)

    async def witness(_book, policy, ending):
        rounds.append(policy)
        if policy is before:
            process.load(SimpleNamespace(log=after))
        else:
            stop.set()
        await ending.wait()

    class Appending:
        published = None

        def load(self, *, publish):
            self.published = publish

    monkeypatch.setattr(sequencer, "witness_until", witness)
    process = SequencerProcess(None, Appending(), before, poll_seconds=0.001)
    await asyncio.wait_for(sequencer._witness_until(process, stop), 10)
    assert rounds == [before, after]
    # With witnesses to wait for, a checkpoint is no longer shown before they have seen it.
    assert process.sequencer.published is False


ROUNDS = ((0, {}), (1, {"one": "https://one.example"}))
