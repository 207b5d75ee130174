"""A checkpoint is published once the quorum has cosigned it; no witness holds another back, and none can be lied to.

Each is tried over a book in memory and over PostgreSQL, with real witnesses on the loopback.
"""

import asyncio
from contextlib import AsyncExitStack

import pytest

from attestor.core.errors import Halted
from attestor.core.policy import LogPolicy, WitnessPolicy
from attestor.core.tlog.checkpoint import open_checkpoint, sign_checkpoint
from attestor.core.tlog.cosignature import cosign, cosignatures
from attestor.core.tlog.note import NoteSigner, parse_note
from attestor.core.tlog.witnessing import parse_add_checkpoint
from attestor.publish.witness import HttpWitness
from attestor.service import witness as use_case
from attestor.service.logports import LogState
from attestor.service.witness import TRIES, Cosigning
from tests.edges.publish.witness_server import SIZE, TIME, WitnessServer, foreign_key, serving
from tests.edges.store.logmakers import KEY, dissent, enqueue
from tests.logkeys import witness_signer
from tests.memorybook import MemoryBook
from tests.memorylog import MemoryLog, words

NAMES = ("anna", "bert", "cora")


class InMemory:
    def __init__(self):
        self.book = MemoryBook(signer=KEY)

    async def grow(self, count):
        self.book.append(count)

    async def shown(self):
        return self.book.shown()


class OverPostgres:
    def __init__(self, book, log, stand, sequencer):
        self.book = book
        self._log = log
        self._stand = stand
        self._sequencer = sequencer
        self._size = 0

    async def grow(self, count):
        await enqueue(self._stand.owner, *map(dissent, range(self._size, self._size + count)))
        assert await self._sequencer.sequence() == count
        self._size += count

    async def shown(self):
        return await self._log.checkpoint()


@pytest.fixture
def in_memory():
    return InMemory()


@pytest.fixture
async def over_postgres(stand, sequencer):
    book = await stand.book()
    appending = sequencer(book, publish=False)
    await appending.begin()
    return OverPostgres(book, await stand.log(), stand, appending)


@pytest.fixture(params=["in_memory", "over_postgres"])
def ground(request):
    return request.getfixturevalue(request.param)


class House:
    """Three witnesses of one policy, and what asks them."""

    def __init__(self, ground, servers, stack, quorum):
        self.ground = ground
        self.book = ground.book
        self.servers = servers
        self.heard = []
        self._stack = stack
        self._quorum = quorum
        self.policy = LogPolicy(
            key=KEY.verifier,
            seal_keys=(),
            quorum=quorum,
            witnesses=tuple(WitnessPolicy(name, one.signer.verifier, one.url) for name, one in servers.items()),
        )

    def __getattr__(self, name):
        return self.servers[name]

    async def cosigning(self):
        """Another process of the sequencer."""
        witnesses = [
            await self._stack.enter_async_context(HttpWitness(one.name, one.key, one.url, deadline_seconds=30))
            for one in self.policy.witnesses
        ]
        cosigning = Cosigning(self.book, witnesses, self.policy, self.heard.append)
        self._stack.push_async_callback(cosigning.stop)
        return cosigning

    async def until(self, cosigning, done):
        """Go on until *done* says so; a test that waits for ever is ended by its own time limit."""
        async with asyncio.timeout(30):
            while not await done():
                await cosigning.gather(0.005)

    async def published(self):
        return (await self.book.newest())[0].published

    async def publishes(self, cosigning, size):
        async def done():
            return await self.published() == size

        await self.until(cosigning, done)
        await self.assert_shown(size)

    async def hears(self, cosigning, *names):
        async def done():
            return {one.witness for one in self.heard} >= set(names)

        await self.until(cosigning, done)

    async def assert_shown(self, size):
        """What readers see verifies under the policy."""
        raw = await self.ground.shown()
        assert open_checkpoint(raw, KEY.verifier).size == size
        cosigned = cosignatures(parse_note(raw), [witness.key for witness in self.policy.witnesses])
        assert len(cosigned) >= self._quorum

    def errors(self, name):
        return [one.error.code if one.error else None for one in self.heard if one.witness == name]


@pytest.fixture
async def house(ground):
    async with AsyncExitStack() as stack:
        servers = {}
        for name in NAMES:
            witness = WitnessServer(witness_signer(name), [KEY.verifier])
            servers[name] = await stack.enter_async_context(serving(witness))
        yield lambda quorum: House(ground, servers, stack, quorum)


@pytest.fixture
def unresting(monkeypatch):
    monkeypatch.setattr(use_case, "_FIRST_PAUSE", 0.0)


@pytest.fixture(autouse=True)
def resting(monkeypatch):
    """Who failed once is not asked again in this test."""
    monkeypatch.setattr(use_case, "_FIRST_PAUSE", 3600.0)
    monkeypatch.setattr(use_case, "_LONGEST_PAUSE", 3600.0)
    monkeypatch.setattr(use_case, "_LONGEST_REFUSED", 3600.0)


async def test_the_quorum_of_three_publishes_size_after_size(house, ground):
    all_three = house(3)
    cosigning = await all_three.cosigning()
    for count in (1, 1, 253, 2, 300):
        await ground.grow(count)
        size = (await ground.book.newest())[0].frontier.size
        await all_three.publishes(cosigning, size)
        assert {one.known(KEY.verifier.name).size for one in all_three.servers.values()} == {size}
        assert set(await ground.book.cosignatures(size)) == set(NAMES)
    assert all(all_three.errors(name) == [None] * 5 for name in NAMES)


async def test_the_empty_logs_checkpoint_is_cosigned_too(house, ground):
    """It is published from the beginning, and a signer that begins with it counts witnesses."""
    two = house(2)
    await two.hears(await two.cosigning(), *NAMES)
    await two.assert_shown(0)


async def test_one_dead_and_one_lying_leave_a_quorum_of_one(house, ground):
    one = house(1)
    one.servers["bert"].canned = (503, "text/plain", b"")
    one.servers["cora"].cosign = foreign_key
    await ground.grow(5)
    cosigning = await one.cosigning()
    await one.publishes(cosigning, 5)
    await one.hears(cosigning, *NAMES)
    assert {name: one.errors(name) for name in NAMES} == {
        "anna": [None],
        "bert": ["witness-unavailable"],
        "cora": ["witness-silent"],
    }
    assert set(await ground.book.cosignatures(5)) == {"anna"}


async def test_one_dead_and_one_lying_leave_no_quorum_of_two(house, ground):
    two = house(2)
    two.servers["bert"].canned = (503, "text/plain", b"")
    two.servers["cora"].cosign = foreign_key
    await ground.grow(5)
    cosigning = await two.cosigning()
    await two.hears(cosigning, *NAMES)
    for _ in range(5):
        await cosigning.gather(0)
    assert await two.published() == 0
    two.servers["bert"].canned = None
    await two.publishes(await two.cosigning(), 5)


async def test_a_silent_witness_holds_nobody_back_and_catches_up(house, ground):
    two = house(2)
    two.servers["cora"].held.clear()
    cosigning = await two.cosigning()
    for size in (1, 2, 3):
        await ground.grow(1)
        await two.publishes(cosigning, size)
    assert two.errors("cora") == []
    two.servers["cora"].held.set()

    async def caught_up():
        return set(await ground.book.cosignatures(3)) == set(NAMES)

    await two.until(cosigning, caught_up)
    assert two.servers["cora"].known(KEY.verifier.name).size == 3
    await two.assert_shown(3)


async def test_witnesses_of_different_speed_meet_at_one_checkpoint_while_the_log_grows(house, ground):
    all_three = house(3)
    all_three.servers["cora"].held.clear()
    await ground.grow(2)
    cosigning = await all_three.cosigning()
    await all_three.hears(cosigning, "anna", "bert")
    for _ in range(5):
        await ground.grow(1)
        await cosigning.gather(0)
    asked = [parse_add_checkpoint(raw)[2] for raw in all_three.servers["anna"].asked]
    assert [open_checkpoint(raw, KEY.verifier).size for raw in asked] == [2]
    all_three.servers["cora"].held.set()
    await all_three.publishes(cosigning, 2)
    await all_three.publishes(cosigning, 7)


async def test_without_a_quorum_witnesses_are_asked_and_nobody_waits(house, ground):
    none = house(0)
    cosigning = await none.cosigning()
    await ground.grow(3)
    await none.hears(cosigning, *NAMES)
    assert set(await ground.book.cosignatures(3)) == set(NAMES)
    # Publishing is the sequencer's then.
    assert await none.published() == 0


async def test_a_witness_that_somebody_else_brought_further_is_asked_from_there(house, ground):
    all_three = house(3)
    await ground.grow(300)
    await all_three.publishes(await all_three.cosigning(), 300)
    await ground.grow(7)
    await ground.book.keep_witness_size("anna", 0)
    await ground.book.keep_witness_size("bert", 255)
    await all_three.publishes(await all_three.cosigning(), 307)
    olds = {name: [parse_add_checkpoint(raw)[0] for raw in all_three.servers[name].asked] for name in NAMES}
    assert olds == {"anna": [0, 0, 300], "bert": [0, 255, 300], "cora": [0, 300]}


async def test_only_the_logs_own_signature_is_sent(house, ground):
    """Some witnesses take 10 KiB at most, and a log may carry many cosignatures."""
    two = house(2)
    await ground.grow(1)
    newest = ground.book.newest

    async def with_more():
        state, raw = await newest()
        return state, raw + f"{cosign(parse_note(raw).text, two.servers['bert'].signer, TIME)}\n".encode()

    ground.book.newest = with_more
    await two.publishes(await two.cosigning(), 1)
    for name in NAMES:
        for raw in two.servers[name].asked:
            assert [line.name for line in parse_note(parse_add_checkpoint(raw)[2]).lines] == [KEY.verifier.name]
    assert sum(len(two.servers[name].asked) for name in NAMES) >= 2


async def test_a_larger_tree_than_ours_is_a_rollback(house, ground):
    two = house(2)
    await ground.grow(4)
    two.servers["bert"].accept(MemoryLog(words(9), KEY).checkpoint_at(9))
    with pytest.raises(Halted) as halted:
        await two.hears(await two.cosigning(), *NAMES)
    assert halted.value.code == "log-rolled-back"
    assert all(word in halted.value.sentence for word in ("bert", "9 entries", "holds 4", "recover"))
    with pytest.raises(Halted) as halted:
        await (await two.cosigning()).meet()
    assert halted.value.code == "log-rolled-back"
    assert await ground.book.witness_size("bert") == 0


async def test_an_empty_database_under_an_old_key_is_a_rollback(house, ground):
    two = house(2)
    two.servers["cora"].accept(MemoryLog(words(9), KEY).checkpoint_at(9))
    with pytest.raises(Halted) as halted:
        await (await two.cosigning()).meet()
    assert halted.value.code == "log-rolled-back"


async def test_what_was_cosigned_already_is_asked_again_at_the_start(house, ground):
    """The restored database holds every cosignature of its newest checkpoint: only asking again shows the rollback."""
    two = house(2)
    await ground.grow(4)
    cosigning = await two.cosigning()
    await two.publishes(cosigning, 4)
    await two.hears(cosigning, *NAMES)
    await (await two.cosigning()).meet()
    two.servers["anna"].accept(MemoryLog(words(9), KEY).checkpoint_at(9))
    with pytest.raises(Halted) as halted:
        await (await two.cosigning()).meet()
    assert halted.value.code == "log-rolled-back"


async def test_the_start_waits_for_no_witness_that_is_away(house, ground):
    two = house(2)
    await ground.grow(4)
    for name in NAMES:
        two.servers[name].canned = (503, "text/plain", b"")
    await (await two.cosigning()).meet()
    assert [two.errors(name) for name in NAMES] == [["witness-unavailable"]] * 3


async def test_a_size_that_another_process_signed_meanwhile_is_no_rollback(house, ground, unresting):
    one = house(1)
    await ground.grow(4)
    behind = await one.cosigning()
    stale = await ground.book.newest()
    await ground.grow(3)
    await one.publishes(await one.cosigning(), 7)
    one.heard.clear()
    newest = ground.book.newest
    answers = iter([(LogState(stale[0].frontier, 0), stale[1])])

    async def first_the_old():
        return next(answers, None) or await newest()

    ground.book.newest = first_the_old
    await behind.gather(30)
    assert await ground.book.cosignatures(4) == {}
    await one.publishes(behind, 7)


async def test_a_checkpoint_that_a_needed_witness_is_beyond_is_left_for_the_newest(house, ground, unresting):
    """Another process brought the witness there, and died before the cosignature was kept."""
    two = house(2)
    for name in ("bert", "cora"):
        two.servers[name].canned = (503, "text/plain", b"")
    await ground.grow(4)
    cosigning = await two.cosigning()
    await two.hears(cosigning, *NAMES)
    await ground.grow(3)
    _, raw = await ground.book.newest()
    two.servers["bert"].accept(open_checkpoint(raw, KEY.verifier))
    two.servers["bert"].canned = None
    await two.publishes(cosigning, 7)


@pytest.mark.parametrize("other_root", [(409, "text/plain", b""), (422, "text/plain", b""), (409, SIZE, b"5\n")])
@pytest.mark.parametrize("size", [3, 5])
async def test_a_split_view_is_an_alarm_and_no_cosignature(house, ground, size, other_root):
    two = house(2)
    two.servers["cora"].other_root = other_root
    await ground.grow(5)
    forked = MemoryLog(words(size, "forked"), KEY).checkpoint_at(size)
    two.servers["cora"].accept(forked)
    await ground.book.keep_witness_size("cora", size)
    cosigning = await two.cosigning()
    await two.publishes(cosigning, 5)
    await two.hears(cosigning, "cora")
    (alarm,) = [one for one in two.heard if one.witness == "cora"]
    assert (type(alarm.error), alarm.error.code) == (Halted, "split-view")
    assert open_checkpoint(alarm.signed.note, KEY.verifier).size == 5
    assert set(await ground.book.cosignatures(5)) == {"anna", "bert"}
    assert two.servers["cora"].known(KEY.verifier.name) == forked


async def test_a_split_view_seen_by_too_many_keeps_the_log_unpublished(house, ground):
    two = house(2)
    await ground.grow(5)
    for name in ("bert", "cora"):
        two.servers[name].accept(MemoryLog(words(5, "forked"), KEY).checkpoint_at(5))
    cosigning = await two.cosigning()
    await two.hears(cosigning, *NAMES)
    await cosigning.gather(0)
    assert await two.published() == 0
    assert [two.errors(name) for name in NAMES] == [[None], ["split-view"], ["split-view"]]


async def test_a_witness_that_never_agrees_on_a_size_is_left_after_three_tries(house, ground):
    two = house(2)
    await ground.grow(9)
    sizes = iter(range(1, 9))
    anna = two.servers["anna"]
    answer = anna.answer
    anna.answer = lambda raw: answer(raw) and (409, "text/x.tlog.size", f"{next(sizes)}\n".encode())
    await two.hears(await two.cosigning(), "anna")
    assert (two.errors("anna"), len(anna.asked)) == (["witness-undecided"], TRIES)


async def test_who_failed_rests_and_is_asked_again(house, ground, monkeypatch):
    two = house(2)
    two.servers["cora"].canned = (503, "text/plain", b"")
    await ground.grow(1)
    cosigning = await two.cosigning()
    await two.publishes(cosigning, 1)
    await two.hears(cosigning, "cora")
    for _ in range(5):
        await cosigning.gather(0)
    assert len(two.servers["cora"].asked) == 1
    two.servers["cora"].canned = None
    monkeypatch.setattr(use_case, "_FIRST_PAUSE", 0.0)
    fresh = await two.cosigning()

    async def cosigned():
        return "cora" in await ground.book.cosignatures(1)

    await two.until(fresh, cosigned)


async def test_what_was_cosigned_before_a_crash_is_published_without_asking(house, ground):
    two = house(2)
    await ground.grow(6)
    _, raw = await ground.book.newest()
    for name in ("anna", "bert"):
        await ground.book.cosigned(6, name, cosign(parse_note(raw).text, two.servers[name].signer, TIME))
    await two.publishes(await two.cosigning(), 6)
    assert [two.servers[name].asked for name in NAMES] == [[], [], []]


async def test_one_witness_under_two_names_counts_once(house, ground):
    """The stored names are only names."""
    two = house(2)
    await ground.grow(6)
    _, raw = await ground.book.newest()
    line = cosign(parse_note(raw).text, two.servers["anna"].signer, TIME)
    for name in ("anna", "bert"):
        await ground.book.cosigned(6, name, line)
    two.servers["cora"].canned = (503, "text/plain", b"")
    cosigning = await two.cosigning()
    for _ in range(3):
        await cosigning.gather(0)
    assert await two.published() == 0


async def test_a_cosignature_that_somebody_wrote_into_the_database_halts(house, ground):
    two = house(2)
    await ground.grow(6)
    await ground.book.cosigned(
        6, "anna", cosign("log.example/x\n1\n" + "A" * 43 + "=\n", two.servers["anna"].signer, TIME)
    )
    with pytest.raises(Halted) as halted:
        await two.publishes(await two.cosigning(), 6)
    assert (halted.value.code, await two.published()) == ("log-signature", 0)


async def test_a_checkpoint_of_another_key_is_shown_to_no_witness():
    class Other(MemoryBook):
        async def newest(self):
            state, _ = await super().newest()
            other = NoteSigner.create(KEY.verifier.name, bytes(32))
            return state, sign_checkpoint(self.log.checkpoint_at(self.log.size), other)

    policy = LogPolicy(key=KEY.verifier, seal_keys=(), quorum=0, witnesses=())
    cosigning = Cosigning(Other(3, signer=KEY), [], policy, lambda _heard: None)
    for step in (cosigning.meet, lambda: cosigning.gather(0)):
        with pytest.raises(Halted) as halted:
            await step()
        assert halted.value.code == "log-signature"


async def test_a_log_without_a_checkpoint_has_nothing_to_ask_for():
    class Unborn(MemoryBook):
        async def newest(self):
            return (await super().newest())[0], None

    policy = LogPolicy(key=KEY.verifier, seal_keys=(), quorum=0, witnesses=())
    cosigning = Cosigning(Unborn(signer=KEY), [], policy, lambda _heard: None)
    await cosigning.meet()
    await cosigning.gather(0)
