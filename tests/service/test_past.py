"""A signer's own past: what it folds, what it meets again, and where it halts; over a log in memory."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from attestor.anchor.anchorfile import make_anchor
from attestor.anchor.memory import FileMemory
from attestor.core.errors import Halted, Unavailable
from attestor.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestor.core.tlog.cosignature import cosign
from attestor.core.tlog.merkle import EMPTY_ROOT, leaf_hash
from attestor.core.tlog.note import NoteSigner
from attestor.service import past as module
from attestor.service.past import Past, within
from attestor.store.log import PostgresLog
from tests.edges.store.emptying import tamper
from tests.loghistory import hexed, late_dissent, received, release_of
from tests.logkeys import log_signer, witness_signer
from tests.memorylog import MemoryLog
from tests.plainmemory import PlainMemory
from tests.service.loghouse import past_over
from tests.service.makers import ORIGIN, make_policy

KEY = log_signer(ORIGIN)
RELEASE = release_of(0).id
FIRST = ("alice", bytes.fromhex(hexed("payload", 0, "alice")))
SECOND = ("bob", bytes.fromhex(hexed("payload", 0, "bob")))


def log_of(count, prefix=0):
    """A log of so many late dissents, from number *prefix* on."""
    return MemoryLog([late_dissent(prefix + number) for number in range(count)], KEY)


def plain():
    return PlainMemory(KEY.verifier.name, "ef" * 16, 0, EMPTY_ROOT)


def past_of(log, memory=None, policy=None):
    return Past(log, memory or plain(), policy or make_policy(), alone=True)


@asynccontextmanager
async def filed(folder):
    """A memory in files, whose anchor is made where there is none."""
    if not folder.exists():
        make_anchor(folder, 0, EMPTY_ROOT)
    async with FileMemory.opened(folder, KEY.verifier.name) as memory:
        yield memory


async def halted(past):
    with pytest.raises(Halted) as raised:
        await past.follow()
    assert raised.value.sentence
    return raised.value.code


async def test_it_follows_as_far_as_the_log_is_published_and_says_whether_it_moved():
    log = log_of(3)
    past = past_of(log)
    assert [await past.follow(), await past.size()] == [True, 3]
    assert await past.follow() is False
    log.grow([late_dissent(9)])
    assert [await past.follow(), await past.size()] == [True, 4]


@pytest.mark.parametrize("at_once", [1, 2, 3, 5, 8])
async def test_a_memory_made_anew_meets_the_anchors_root_on_its_way_to_a_longer_log(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    log, folder = MemoryLog([received(0, "alice"), *log_of(4).stored], KEY), tmp_path / "anchor"
    async with filed(folder) as memory:
        await past_of(log, memory).follow()
    for file in folder.glob("memory*"):
        file.unlink()
    log.grow([received(0, "bob"), late_dissent(9)])
    async with filed(folder) as memory:
        assert await past_of(log, memory).follow()
        frontier = await memory.frontier()
        assert (frontier.size, frontier.root) == (7, log.checkpoint_at(7).root)
        assert await memory.anchor() == log.checkpoint_at(7)
        assert await memory.leaves(0, 7) == [leaf_hash(entry) for entry in log.stored]
        assert (await memory.release(RELEASE)).received.keys() == {FIRST, SECOND}


async def test_a_memory_made_anew_halts_where_the_anchors_root_is_not_met(tmp_path):
    """Who rewrote the log's beginning and signed all of it anew is found out by the anchor alone."""
    folder = tmp_path / "anchor"
    async with filed(folder) as memory:
        await past_of(log_of(4), memory).follow()
    for file in folder.glob("memory*"):
        file.unlink()
    async with filed(folder) as memory:
        assert (
            await halted(past_of(MemoryLog([late_dissent(9), *log_of(6).stored[1:]], KEY), memory)) == "log-rewritten"
        )
        assert await memory.anchor() == log_of(4).checkpoint_at(4)


async def test_a_memory_that_is_lost_while_the_log_stands_still_is_made_anew(tmp_path):
    log, folder = log_of(4), tmp_path / "anchor"
    async with filed(folder) as memory:
        past = past_of(log, memory)
        await past.follow()
        for file in folder.glob("memory*"):
            file.unlink()
        with suppress(Unavailable):
            await past.release(RELEASE, (), 0)
        await past.follow()
        assert (await memory.frontier()).size == 4
        assert (await past.release(RELEASE, (), 0)).signed == ()


OTHER_LOGS = {
    "shorter": (log_of(2), "log-rolled-back"),
    "empty": (log_of(0), "log-rolled-back"),
    "as long with other entries": (log_of(4, 50), "log-forked"),
    "longer with other entries": (log_of(6, 50), "log-rewritten"),
    "longer by one, without the last one that was seen": (
        MemoryLog([*log_of(3).stored, late_dissent(50), late_dissent(51)], KEY),
        "log-rewritten",
    ),
}


@pytest.mark.parametrize(("other", "code"), OTHER_LOGS.values(), ids=OTHER_LOGS)
async def test_it_halts_before_another_log_that_is(other, code):
    memory = plain()
    await past_of(log_of(4), memory).follow()
    assert await halted(past_of(other, memory)) == code
    assert await memory.anchor() == log_of(4).checkpoint_at(4)
    assert len(await memory.leaves(0, 9)) == 4


NOTES = {
    "signed by another key": sign_checkpoint(
        log_of(2).checkpoint_at(2), NoteSigner.create(KEY.verifier.name, bytes(32))
    ),
    "of another origin": sign_checkpoint(Checkpoint("other.example/log", 2, bytes(32)), log_signer("other.example")),
    "no note": b"hello\n",
    "nothing": b"",
}


@pytest.mark.parametrize("note", NOTES.values(), ids=NOTES)
async def test_it_halts_before_a_checkpoint_that_is(note):
    log = log_of(2)
    log.note = note
    log.checkpoint = lambda: _is(note)
    assert await halted(past_of(log)) == "log-signature"


async def _is(value):
    return value


async def test_it_waits_for_a_log_that_has_no_checkpoint():
    log = log_of(0)
    log.checkpoint = lambda: _is(None)
    with pytest.raises(Unavailable, match="log-empty"):
        await past_of(log).follow()


async def test_it_waits_for_as_many_witnesses_as_the_policy_asks_for():
    names = {name: f"https://{name}.example" for name in ("one", "two")}
    log, memory = log_of(2), plain()
    policy = make_policy(witnesses=names, log_quorum=2)
    past = Past(log, memory, policy, alone=False)
    text, note = log.checkpoint_at(2).text, sign_checkpoint(log.checkpoint_at(2), KEY)
    for line in (None, cosign(text, witness_signer("one"), 1), cosign(text, witness_signer("two"), 2)):
        with pytest.raises(Unavailable, match="witness-quorum"):
            await past.follow()
        log.note = note = note + (f"{line}\n".encode() if line else b"")
    assert await past.follow()


async def test_it_halts_before_an_entry_that_it_cannot_read_and_keeps_nothing_of_it():
    memory = plain()
    log = log_of(2)
    await past_of(log, memory).follow()
    log.grow([late_dissent(7), b'{"type":"canary","version":2}'])
    assert await halted(past_of(log, memory)) == "entry-unreadable"
    assert (await memory.anchor()).size == 2


async def test_it_halts_where_the_log_serves_less_than_its_checkpoint_promises():
    log = log_of(3)
    log.spoilt["tile/entries/000.p/3"] = None
    assert await halted(past_of(log)) == "log-gap"


async def test_it_looks_at_all_older_entries_again_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(module, "SCRUB_AT_ONCE", 2)
    log = log_of(5)
    past = past_of(log)
    await past.follow()
    await look(past, 4)
    log.stored[3] = late_dissent(70)
    with pytest.raises(Halted, match="log-rewritten"):
        await look(past, 3)


async def look(past, times):
    for _ in range(times):
        await past.look_again()


async def test_it_returns_what_the_log_names_as_soon_as_it_names_all_and_at_the_latest_when_the_time_is_over():
    log = MemoryLog([received(0, "alice")], KEY)
    past = past_of(log)
    await past.follow()
    clock = asyncio.get_running_loop().time
    assert (await past.release(RELEASE, {FIRST}, 60)).received.keys() == {FIRST}
    begun = clock()
    assert (await past.release(RELEASE, {FIRST, SECOND}, 0.05)).received.keys() == {FIRST}
    assert clock() - begun >= 0.05
    waiting = asyncio.create_task(past.release(RELEASE, {FIRST, SECOND}, 60))
    log.grow([late_dissent(1)])
    await past.follow()
    await asyncio.sleep(0)
    assert not waiting.done()
    log.grow([received(0, "bob")])
    await past.follow()
    assert (await waiting).received.keys() == {FIRST, SECOND}


async def test_everybody_who_expects_an_entry_is_told_its_index_once_it_is_folded():
    log = log_of(2)
    past = past_of(log)
    await past.follow()
    with (
        past.expecting(late_dissent(2)) as first,
        past.expecting(late_dissent(2)) as also,
        past.expecting(b"x") as never,
    ):
        log.grow([late_dissent(9), late_dissent(2)])
        await past.follow()
        assert [await within(first, 1), await within(also, 1)] == [3, 3]
        with pytest.raises(Unavailable, match="log-behind"):
            await within(never, 0.01)
    assert not past._expected


async def test_it_is_told_too_of_what_another_process_of_the_same_anchor_has_folded():
    log, memory = log_of(2), plain()
    past, other = past_of(log, memory), past_of(log, memory)
    await past.follow()
    with past.expecting(late_dissent(2)) as expected:
        log.grow([late_dissent(2)])
        assert await other.follow()
        assert await past.follow() is False
        assert await within(expected, 1) == 2


@pytest.mark.parametrize("size", [1, 5, 256, 258])
async def test_every_entry_is_proven_under_the_anchor_and_none_that_was_changed(size):
    log = log_of(size)
    past = past_of(log)
    await past.follow()
    for index in {0, size // 2, size - 1}:
        assert await past.prove(index, log.stored[index]) == log.checkpoint_at(size)
        with pytest.raises(Halted, match="log-rewritten"):
            await past.prove(index, late_dissent(999))
    with pytest.raises(Unavailable, match="anchor-behind"):
        await past.prove(size, late_dissent(size))


SPOILT = {
    "a leaf": ("tile/0/001.p/2", bytes(64)),
    "a tile that is gone": ("tile/0/001.p/2", None),
    "a tile that is cut short": ("tile/0/001.p/2", bytes(63)),
    "a node above the leaves": ("tile/1/000.p/1", bytes(32)),
}


@pytest.mark.parametrize(("tile", "raw"), SPOILT.values(), ids=SPOILT)
async def test_nothing_is_proven_by_a_log_that_spoils(tile, raw):
    log = log_of(258)
    past = past_of(log)
    await past.follow()
    await past.prove(257, log.stored[257])
    log.spoilt[tile] = raw
    with pytest.raises(Halted, match="log-rewritten"):
        await past.prove(257, log.stored[257])


async def fill(ground, count):
    rows = [(late_dissent(number),) for number in range(count)]
    await ground.owner.executemany(
        """INSERT INTO log_outbox (subject, kind, number, entry)
           VALUES (encode(substr(sha256($1), 1, 16), 'hex')::uuid, 'late-dissent', 0, $1)""",
        rows,
    )
    await ground.settled()


DAMAGE = {
    "an entry's bytes": ("UPDATE log_entries SET entry = (SELECT entry FROM log_entries WHERE idx = 2) WHERE idx = 3", "log-rewritten"),
    "an entry taken out": ("DELETE FROM log_entries WHERE idx = 3", "log-gap"),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "code"), DAMAGE.values(), ids=DAMAGE)
async def test_an_old_row_of_the_log_is_missed_in_a_quiet_moment(ground, statement, code):
    await fill(ground, 6)
    past = past_over(await ground.pool("attestor_signer"), ground.folder, make_policy())
    await past.follow()
    await past.look_again()
    await tamper(ground.owner, statement)
    with pytest.raises(Halted, match=code):
        await past.look_again()


async def test_a_node_above_the_leaves_that_was_changed_in_the_database_proves_nothing(ground):
    await fill(ground, 258)
    past = past_over(await ground.pool("attestor_signer"), ground.folder, make_policy())
    await past.follow()
    [raw] = await PostgresLog(await ground.pool()).entries(257, 258)
    await past.prove(257, raw)
    await tamper(ground.owner, "UPDATE log_nodes SET hash = sha256('x')")
    with pytest.raises(Halted, match="log-rewritten"):
        await past.prove(257, raw)
