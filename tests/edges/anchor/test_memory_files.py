"""Crashes, damage and company: what a memory in files comes to, and that it is never behind its anchor unnoticed."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from attestor.anchor import recall
from attestor.anchor.anchorfile import NAME, HeldFolder, make_anchor, read_anchor
from attestor.anchor.database import LINK, current_name
from attestor.anchor.memory import FileMemory
from attestor.core.errors import Halted, Unavailable
from attestor.core.past import NOTHING, Receipt
from attestor.core.tlog.merkle import EMPTY, EMPTY_ROOT
from tests.edges.anchor.logged import ORIGIN, checkpoint, digest, fold, leaf, note, received, tree
from tests.edges.anchor.settling import one_more

ROOT = Path(__file__).resolve().parents[3]
R = digest("r").hex()
SEEN = {("one", digest("p")): Receipt(0, digest("e"))}


@pytest.fixture
def made(folder):
    """A folder with an anchor at no entries."""
    make_anchor(folder, 0, EMPTY_ROOT)
    return folder


def opened(folder):
    return FileMemory.opened(folder, ORIGIN)


@contextmanager
def refuses(kind, code):
    with pytest.raises(kind) as caught:
        yield
    assert caught.value.code == code


async def asked(memory):
    return (await memory.frontier(), await memory.anchor(), (await memory.release(R)).received)


async def test_another_process_finds_what_was_settled(made):
    async with opened(made) as memory:
        await fold(memory, [[received("r")], *[[]] * 300])
    async with opened(made) as memory:
        assert await asked(memory) == (tree(301), checkpoint(301), SEEN)
        assert await memory.leaves(0, 301) == [leaf(index) for index in range(301)]


async def test_only_the_owner_reads_any_of_it(made):
    async with opened(made) as memory:
        await fold(memory, [[received("r")]])
        await memory.frontier()
        files = {path.name.split("-", 1)[-1]: path.stat().st_mode & 0o7777 for path in made.iterdir()}
    assert set(files.values()) == {0o600}
    assert any(name.endswith("-wal") for name in files), "the WAL was looked at, too"


async def test_a_commit_is_durable_when_it_returns(made):
    async with opened(made) as memory:
        await fold(memory, [[]])
        side = memory._writing
        settings = ("synchronous", "journal_mode", "foreign_keys")
        found = await side.run(lambda: [side.current().execute(f"PRAGMA {name}").fetchone()[0] for name in settings])
    assert found == [2, "wal", 1]


async def test_the_fold_is_committed_before_the_anchor_moves(made, monkeypatch):
    async with opened(made) as memory:
        await fold(memory, [[]])
        side, steps, move = memory._writing, [], HeldFolder.move
        await side.run(lambda: side.current().set_trace_callback(steps.append))
        monkeypatch.setattr(HeldFolder, "move", lambda *of: (steps.append("the anchor moves"), move(*of)))
        await fold(memory, [[received("r")]])
        await side.run(lambda: side.current().set_trace_callback(None))
    assert steps.index("COMMIT") < steps.index("the anchor moves")
    assert not [step for step in steps[steps.index("COMMIT") :] if step.startswith(("INSERT", "UPDATE"))]


async def test_a_crash_between_commit_and_anchor_is_healed(made, monkeypatch):
    async with opened(made) as memory:
        await fold(memory, [[]])
        with monkeypatch.context() as patch:
            patch.setattr(HeldFolder, "move", lambda *_: 1 // 0)
            with pytest.raises(ZeroDivisionError):
                await fold(memory, [[], []])
    async with opened(made) as memory:
        assert await asked(memory) == (tree(3), checkpoint(1), {})
        async with memory.catching_up(alone=True) as step:
            assert (step.frontier, step.anchor) == (tree(3), checkpoint(1))
            await step.settle(checkpoint(3), note(checkpoint(3)))
        assert await memory.anchor() == checkpoint(3)


async def test_a_full_disk_for_the_anchor_says_so_and_is_healed(made, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    async with opened(made) as memory:
        with monkeypatch.context() as patch:
            patch.setattr(HeldFolder, "_write", full)
            with refuses(Unavailable, "memory-unavailable"):
                await fold(memory, [[]])
        assert await asked(memory) == (tree(1), checkpoint(0), {})
        assert await fold(memory, [[]]) == 2


async def test_a_full_disk_for_the_fold_keeps_nothing_and_is_no_damage(made):
    async with opened(made) as memory:
        await fold(memory, [[]])
        side, name = memory._writing, current_name(made)
        pages = await side.run(lambda: side.current().execute("PRAGMA page_count").fetchone()[0])
        await side.run(lambda: side.current().execute(f"PRAGMA max_page_count={pages}"))
        async with memory.catching_up(alone=True) as step:
            with refuses(Unavailable, "memory-unavailable"):
                await step.take([leaf(index) for index in range(1, 3000)], ())
            with pytest.raises(ValueError, match="folded"):
                await step.settle(checkpoint(3000), note(checkpoint(3000)))
        assert await asked(memory) == (tree(1), checkpoint(1), {})
        assert current_name(made) == name
        await side.run(lambda: side.current().execute("PRAGMA max_page_count=100000"))
        assert await fold(memory, [[]] * 2999) == 3000


async def test_a_lost_transaction_keeps_nothing_of_what_comes_after(made):
    async with opened(made) as memory:
        async with memory.catching_up(alone=True) as step:
            await step.take([leaf(0)], ())
            side = memory._writing
            await side.run(side.rolled_back)
            with refuses(Unavailable, "memory-unavailable"):
                await step.take([leaf(1)], [(1, received("r"))])
            with refuses(Unavailable, "memory-unavailable"):
                await step.settle(checkpoint(1), note(checkpoint(1)))
        assert await asked(memory) == (EMPTY, checkpoint(0), {})


def target(folder):
    return folder / current_name(folder)


def overwrite(path, at, raw):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(raw)


def by_sql(statement):
    def change(folder):
        with closing(sqlite3.connect(target(folder), isolation_level=None)) as connection:
            connection.execute(statement)

    return change


def as_plain_file(folder):
    raw = target(folder).read_bytes()
    (folder / LINK).unlink()
    (folder / LINK).write_bytes(raw)


def page_of(folder, table):
    with closing(sqlite3.connect(target(folder))) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    return (page - 1) * size


DAMAGE = {
    "the file is gone": lambda folder: target(folder).unlink(),
    "the link is gone": lambda folder: (folder / LINK).unlink(),
    "a plain file in the link's place": as_plain_file,
    "cut to half": lambda folder: os.truncate(target(folder), target(folder).stat().st_size // 2),
    "empty": lambda folder: os.truncate(target(folder), 0),
    "another file": lambda folder: overwrite(target(folder), 0, b"no database " * 400),
    "a page of votes": lambda folder: overwrite(target(folder), page_of(folder, "received"), b"\xff" * 512),
    "a page of leaf hashes": lambda folder: overwrite(target(folder), page_of(folder, "tiles"), b"\0" * 64),
    "a table is gone": by_sql("DROP TABLE folded"),
    "its row is gone": by_sql("DELETE FROM folded"),
    "a frontier that is none": by_sql("UPDATE folded SET frontier = x'00'"),
    "of another anchor": by_sql("UPDATE folded SET anchor = 'ffffffffffffffffffffffffffffffff'"),
    "of another form": by_sql("PRAGMA user_version = 1"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
async def test_what_cannot_be_believed_is_made_anew_and_the_anchor_stays(made, damage):
    entries = [[received("r")], *[[]] * 9]
    async with opened(made) as memory:
        await fold(memory, entries)
    anchor, before = (made / NAME).read_bytes(), current_name(made)
    damage(made)
    async with opened(made) as memory:
        for _ in range(2):
            # Nothing is answered from it; the second look finds what the first one learned.
            with pytest.raises(Unavailable) as caught:
                await memory.release(R)
            assert caught.value.code in {"memory-behind", "memory-damaged"}
        async with memory.catching_up(alone=True) as step:
            assert (step.frontier, step.anchor) == (EMPTY, checkpoint(10))
        assert (made / NAME).read_bytes() == anchor
        assert await fold(memory, entries) == 10
        assert await asked(memory) == (tree(10), checkpoint(10), SEEN)
        assert current_name(made) != before


async def test_damage_met_in_use_is_made_good_by_the_next_step(made, monkeypatch):
    def broken(*_):
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    async with opened(made) as memory, opened(made) as other:
        await fold(memory, [[received("r")]])
        assert (await other.release(R)).received == SEEN
        with monkeypatch.context() as patch:
            patch.setattr(recall, "remembered", broken)
            with refuses(Unavailable, "memory-damaged"):
                await memory.release(R)
        with refuses(Unavailable, "memory-behind"):
            await memory.release(R)
        assert await memory.frontier() == EMPTY
        assert await fold(memory, [[received("r")]]) == 1
        # Who had the old file open goes on with the new one, and closing the old one harms nobody.
        assert await fold(other, [[]]) == 2
        assert await asked(other) == await asked(memory) == (tree(2), checkpoint(2), SEEN)
    async with opened(made) as memory:
        assert await asked(memory) == (tree(2), checkpoint(2), SEEN)


async def test_only_one_old_file_is_kept(made):
    for size in (1, 2, 3):
        async with opened(made) as memory:
            await fold(memory, [[]] * size)
        by_sql("PRAGMA user_version = 1")(made)
    async with opened(made) as memory:
        await fold(memory, [[]] * 4)
    assert len(list(made.glob("memory-*.sqlite3"))) == 2


async def test_a_memory_that_was_lost_says_nothing_of_a_release_until_it_has_come_to_the_anchor(made):
    async with opened(made) as memory:
        await fold(memory, [[received("r")], [], []])
        target(made).unlink()
        async with memory.catching_up(alone=True) as step:
            await step.take([leaf(0), leaf(1)], [(0, received("r"))])
            for question in (memory.release(R), memory.policy(), memory.forged(), memory.leaves(0, 1)):
                with refuses(Unavailable, "memory-behind"):
                    await question
            await step.take([leaf(2)], ())
            await step.settle(checkpoint(3), note(checkpoint(3)))
        assert (await memory.release(R)).received == SEEN


async def test_leaves_that_were_not_folded_are_not_left_out_quietly(made):
    async with opened(made) as memory:
        await fold(memory, [[]] * 3)
        for start, end in ((0, 4), (3, 4), (2, 600)):
            with refuses(Unavailable, "memory-behind"):
                await memory.leaves(start, end)


async def test_an_anchor_beyond_the_beginning_has_no_memory_yet(folder):
    make_anchor(folder, 4, tree(4).root)
    async with opened(folder) as memory:
        with refuses(Unavailable, "memory-behind"):
            await memory.release(R)
        assert await memory.frontier() == EMPTY
        assert await fold(memory, [[]] * 4) == 4
        assert await memory.release(R) == NOTHING


async def test_an_anchor_that_goes_missing_halts_a_running_signer(made):
    async with opened(made) as memory:
        await fold(memory, [[]])
        (made / NAME).rename(made / "aside")
        for question in (memory.anchor, lambda: memory.release(R), lambda: fold(memory, [[]])):
            with refuses(Halted, "anchor-missing"):
                await question()
        make_anchor(made, 0, EMPTY_ROOT)
        for question in (memory.anchor, lambda: memory.release(R), lambda: fold(memory, [[]])):
            with refuses(Halted, "anchor-replaced"):
                await question()
    async with opened(made) as memory:
        assert await memory.frontier() == EMPTY, "a memory is of one anchor"


async def test_an_anchor_of_another_log_opens_no_memory(made):
    async with opened(made) as memory:
        await fold(memory, [[]])
    with refuses(Halted, "anchor-unreadable"):
        FileMemory(made, "another.example/log")


async def test_who_stops_waiting_leaves_the_lock_to_others(made):
    async with opened(made) as memory, opened(made) as other:
        async with memory.catching_up(alone=True):
            waiting = asyncio.create_task(fold(other, [[]]))
            await asyncio.sleep(0.01)
            assert not waiting.done()
            waiting.cancel()
            await asyncio.wait({waiting})
            assert waiting.cancelled()
        assert await fold(other, [[]]) == 1


async def test_a_step_that_is_cancelled_keeps_nothing_and_holds_nobody(made):
    async def half():
        async with memory.catching_up(alone=True) as step:
            await step.take([leaf(index) for index in range(2000)], ())
            raise AssertionError("it was to be cancelled")

    async with opened(made) as memory, opened(made) as other:
        for turns in range(12):
            task = asyncio.create_task(half())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
        assert await fold(other, [[]]) == 1
        assert await memory.frontier() == tree(1)


@contextmanager
def child(folder, name, until):
    """A process that settles entry after entry."""
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.edges.anchor.settling", folder, name, str(until)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with started:
        try:
            yield started
        finally:
            started.kill()


def settled(process):
    return int(process.stdout.readline())


@pytest.mark.parametrize("lines", [1, 7, 16])
async def test_a_killed_process_leaves_a_whole_memory(made, lines):
    with child(made, "child", 1_000_000) as process:
        told = [settled(process) for _ in range(lines)][-1]
        process.kill()
        process.wait()
    assert told == lines
    async with opened(made) as memory:
        folded, anchor = await memory.frontier(), await memory.anchor()
        assert told <= anchor.size <= folded.size <= anchor.size + 1
        assert (folded, anchor) == (tree(folded.size), checkpoint(anchor.size))
        assert await memory.leaves(0, folded.size) == [leaf(index) for index in range(folded.size)]
        known = [await memory.release(digest(f"r{index}").hex()) for index in range(folded.size + 1)]
        assert [len(release.received) for release in known] == [1] * folded.size + [0]
        assert await one_more(memory, "after") == folded.size + 1
        assert read_anchor(made).size == folded.size + 1


async def test_two_processes_share_the_folder(made):
    until = 40
    with child(made, "child", until) as process:
        settled(process)
        async with opened(made) as memory:
            size = 0
            while size < until:
                size = await one_more(memory, "parent")
                await asyncio.sleep(0.003)
            assert await asyncio.to_thread(process.wait) == 0
            folded = await memory.frontier()
            assert folded == tree(folded.size)
            assert await memory.anchor() == checkpoint(folded.size)
            known = [await memory.release(digest(f"r{index}").hex()) for index in range(folded.size)]
            names = [operator for release in known for operator, _ in release.received]
            assert len(names) == folded.size
            assert set(names) == {"parent", "child"}
