"""Laws of a quorum, over any history of a growing log and of witnesses that fail, lie and recover."""

import asyncio
from contextlib import AsyncExitStack
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from attestor.core.policy import LogPolicy, WitnessPolicy
from attestor.core.tlog.checkpoint import open_checkpoint
from attestor.core.tlog.cosignature import cosignatures
from attestor.core.tlog.note import parse_note
from attestor.publish.witness import HttpWitness
from attestor.service import witness as use_case
from attestor.service.witness import Cosigning
from tests.edges.publish.witness_server import (
    SIZE,
    WitnessServer,
    foreign_key,
    honest,
    little_endian,
    other_text,
)
from tests.logkeys import witness_signer
from tests.memorybook import MemoryBook
from tests.memorylog import SIGNER

NAMES = ("anna", "bert", "cora")
MANNERS = {
    "honest": (None, honest),
    "dead": ((503, "text/plain", b""), honest),
    "deaf": ((409, SIZE, b"0\n"), honest),
    "lost": ((404, "text/plain", b""), honest),
    "alarmed": ((422, "text/plain", b""), honest),
    "foreign": (None, foreign_key),
    "confused": (None, other_text),
    "backwards": (None, little_endian),
}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.integers(1, 5)),
        st.tuples(st.sampled_from(NAMES), st.sampled_from(sorted(MANNERS))),
        st.tuples(st.just("gather"), st.integers(1, 4)),
        st.tuples(st.just("crash"), st.none()),
    ),
    max_size=12,
)


class Near(HttpWitness):
    """The client with a witness in the place of the network; it answers in the next turn of the loop."""

    def __init__(self, server):
        name = server.signer.verifier.name.rpartition("/")[2]
        super().__init__(name, server.signer.verifier, "http://127.0.0.1", deadline_seconds=30)
        self._server = server

    async def _post(self, body):
        await asyncio.sleep(0)
        return self._server.answer(body)


class History:
    def __init__(self, quorum):
        self.book = MemoryBook()
        self.servers = {name: WitnessServer(witness_signer(name), [SIGNER.verifier]) for name in NAMES}
        keys = {name: server.signer.verifier for name, server in self.servers.items()}
        witnesses = tuple(WitnessPolicy(name, key, "http://127.0.0.1") for name, key in keys.items())
        self.policy = LogPolicy(SIGNER.verifier, (), quorum, witnesses)
        self.keys = keys
        self.seen = 0

    def begin(self, clients):
        self.cosigning = Cosigning(self.book, clients, self.policy, lambda _heard: None)

    async def step(self, what, value, clients):
        if what == "grow":
            self.book.append(value)
        elif what == "crash":
            await self.cosigning.stop()
            self.begin(clients)
        elif what == "gather":
            for _ in range(value):
                await self.cosigning.gather(0.0001)
                self.assert_lawful()
        else:
            self.servers[what].canned, self.servers[what].cosign = MANNERS[value]

    def assert_lawful(self):
        assert self.seen <= self.book.published <= self.book.log.size
        self.seen = self.book.published
        for (size, name), line in self.book.lines.items():
            note = parse_note(self.book.notes[size] + f"{line}\n".encode())
            assert [one.key for one in cosignatures(note, [self.keys[name]])] == [self.keys[name]]
        if self.book.published:
            assert open_checkpoint(self.book.shown(), SIGNER.verifier).size == self.book.published
            cosigned = cosignatures(parse_note(self.book.shown()), list(self.keys.values()))
            assert len(cosigned) >= self.policy.quorum


async def run(quorum, steps):
    history = History(quorum)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Near(server)) for server in history.servers.values()]
        history.begin(clients)
        for what, value in steps:
            await history.step(what, value, clients)
        # Whatever was: once all are well again, the newest is published.
        for name in NAMES:
            await history.step(name, "honest", clients)
        history.book.append(1)
        for _ in range(200):
            await history.step("gather", 1, clients)
            if history.book.published == history.book.log.size:
                break
        await history.cosigning.stop()
        assert history.book.published == history.book.log.size


@given(quorum=st.integers(1, 3), steps=STEPS)
@settings(max_examples=60)
def test_what_is_published_is_cosigned_by_the_quorum_and_a_healthy_one_publishes_all(quorum, steps):
    with (
        mock.patch.object(use_case, "_FIRST_PAUSE", 0.0),
        asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner,
    ):
        runner.run(run(quorum, steps))
