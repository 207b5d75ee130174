"""The count of the keys' uses: durable before the call, shared by processes, and lost in no other way than that every key stops."""

import asyncio
import sqlite3
import sys
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime

import pytest

from attestor.anchor.anchorfile import make_anchor
from attestor.anchor.operations import NAME, FileOperations
from attestor.core.errors import Conflict, Halted, Unavailable
from attestor.core.operations import Acknowledgement
from attestor.core.tlog.merkle import EMPTY_ROOT
from tests.plainoperations import PlainOperations

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY, OTHER = "release/packages", "release/isos"


@asynccontextmanager
async def in_files(folder):
    if not folder.exists():
        make_anchor(folder, 0, EMPTY_ROOT)
    async with FileOperations.opened(folder) as operations:
        yield operations


@asynccontextmanager
async def in_plain(_folder):
    yield PlainOperations()


@pytest.fixture(params=[in_files, in_plain], ids=["files", "plain"])
async def operations(request, folder):
    async with request.param(folder) as made:
        yield made


def said(number):
    return Acknowledgement("dora", NOW, "a key ceremony", number)


async def test_each_use_is_counted_once_however_many_come_together(operations):
    await asyncio.gather(*(operations.count(place) for place in [KEY] * 40 + [OTHER] * 2))
    assert ((await operations.key(KEY)).counted, (await operations.key(OTHER)).counted) == (40, 2)
    assert (await operations.key("release/none")).counted == 0


async def test_a_key_above_its_count_stops_and_no_other(operations):
    await operations.count(KEY)
    await operations.count(OTHER)
    assert (await operations.met(KEY, 2, NOW)).stopped
    assert not (await operations.met(OTHER, 1, NOW)).stopped
    await operations.count(KEY)  # by another process, a moment ago
    assert (await operations.key(KEY)).stopped
    assert not (await operations.key(OTHER)).stopped


async def test_a_persons_word_frees_it_and_counts_on(operations):
    await operations.met(KEY, 5, NOW)
    with pytest.raises(Conflict, match="hsm-operations-moved"):
        await operations.acknowledge(KEY, said(4))
    assert (await operations.key(KEY)).stopped
    await operations.count(KEY)
    free = await operations.acknowledge(KEY, said(5))
    assert (free.stopped, free.counted) == (False, 6)
    assert await operations.key(KEY) == free
    assert not (await operations.met(KEY, 6, NOW)).stopped
    assert (await operations.met(KEY, 7, NOW)).stopped


async def test_what_was_counted_stays_counted_and_what_stopped_stays_stopped(folder):
    async with in_files(folder) as operations:
        await operations.count(KEY)
        await operations.met(OTHER, 1, NOW)
    async with in_files(folder) as operations:
        assert (await operations.key(KEY)).counted == 1
        assert (await operations.key(OTHER)).read_at == NOW
        assert (await operations.key(OTHER)).stopped


async def test_who_said_so_and_why_is_kept(folder):
    async with in_files(folder) as operations:
        await operations.met(KEY, 5, NOW)
        await operations.acknowledge(KEY, said(5))
    with closing(sqlite3.connect(folder / NAME)) as connection:
        rows = connection.execute("SELECT place, who, reason, counted, operations FROM acknowledged").fetchall()
    assert rows == [(KEY, "dora", "a key ceremony", 0, 5)]


COUNTING = """
import asyncio, os, sys
from pathlib import Path
from attestor.anchor.operations import FileOperations
async def count():
    async with FileOperations.opened(Path(sys.argv[1])) as operations:
        for _ in range(20):
            await operations.count("release/packages")
        os._exit(9)
asyncio.run(count())
"""


async def test_processes_share_the_count_and_one_that_dies_loses_none_that_was_answered(folder):
    async with in_files(folder) as operations:
        program = (sys.executable, "-c", COUNTING, str(folder))
        others = [await asyncio.create_subprocess_exec(*program) for _ in range(2)]
        for _ in range(20):
            await operations.count(KEY)
        assert [await other.wait() for other in others] == [9, 9]
        assert (await operations.key(KEY)).counted == 60


async def test_a_caller_that_leaves_is_counted_for_it_may_have_been_made(folder):
    async with in_files(folder) as operations:
        leaving = asyncio.ensure_future(operations.count(KEY))
        await asyncio.sleep(0)
        leaving.cancel()
        await operations.count(KEY)
        assert (await operations.key(KEY)).counted == 2


async def test_nobody_else_may_read_the_file(folder):
    async with in_files(folder) as operations:
        await operations.count(KEY)
        assert {path.stat().st_mode & 0o077 for path in folder.iterdir()} == {0}


async def test_without_the_file_every_key_counts_none_so_that_it_stops(folder):
    async with in_files(folder) as operations:
        await operations.count(KEY)
    for path in folder.glob(f"{NAME}*"):
        path.unlink()
    async with in_files(folder) as operations:
        assert (await operations.met(KEY, 1, NOW)).stopped


@pytest.mark.parametrize("spoilt", [b"no database at all" * 100, b""], ids=["damaged", "emptied"])
async def test_a_damaged_file_counts_nothing_and_an_emptied_one_is_a_lost_one(folder, spoilt):
    async with in_files(folder) as operations:
        await operations.count(KEY)
    (folder / NAME).write_bytes(spoilt)
    if spoilt:
        with pytest.raises(Unavailable, match="operations-unavailable"):
            async with in_files(folder):
                pass
    else:
        async with in_files(folder) as operations:
            assert (await operations.key(KEY)).counted == 0


async def test_a_count_that_cannot_be_written_is_said_to_everyone_who_waits(folder, monkeypatch):
    async with in_files(folder) as operations:

        def full(_together):
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(operations, "_add", full)
        results = await asyncio.gather(*(operations.count(KEY) for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in results] == [Unavailable] * 3
        monkeypatch.undo()
        await operations.count(KEY)
        assert (await operations.key(KEY)).counted == 1


async def test_it_lies_beside_an_anchor_or_nowhere(folder):
    with pytest.raises(Halted, match="anchor-missing"):
        async with FileOperations.opened(folder):
            pass
