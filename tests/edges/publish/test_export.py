"""The static copy: byte for byte the tree of C2SP's own test log, right at every moment, and never changed."""

import asyncio
import os
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from attestor.core.errors import AttestorError, Conflict, Halted, Rejected, Unavailable
from attestor.core.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from attestor.core.tlog.note import NoteSigner, parse_skey
from attestor.core.tlog.tiles import decode_bundle, parse_tile_path
from attestor.publish.tree import StaticTree
from attestor.service.export import export
from tests.core.tlog.reference import GrownLog
from tests.memorylog import SIGNER, MemoryLog, words


def silent(_done, _of):
    pass


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "tree"


async def run(log, folder, key=SIGNER.verifier, progress=silent):
    return await export(log, StaticTree(folder), key, progress)


async def test_the_tree_is_the_test_log_of_tessera_byte_for_byte(real_input, folder):
    skey, vkey = real_input("tlog/keys.txt").read_text().split()
    log = MemoryLog(signer=parse_skey(skey))
    assert log.key.text == vkey
    bundle = real_input("tlog/log/tile/entries/000.p/15").read_bytes()
    for word in decode_bundle(bundle, 15):
        log.grow([word])
        await run(log, folder, log.key)
    theirs = {
        path: raw
        for path, raw in files(real_input("tlog/log")).items()
        if not path.startswith(("checkpoint.", ".state/"))
    }
    assert len(theirs) > 30
    assert files(folder) == theirs


async def test_a_tree_that_grew_is_the_one_that_x_mod_and_aics_tlog_accept(folder, tmp_path):
    sizes = [1, 2, 255, 256, 257, 511, 512, 700, 1400]
    log = MemoryLog()
    for before, size in pairwise([0, *sizes]):
        log.grow(words(1400)[before:size])
        await run(log, folder)
    # tests/core/tlog has those two programs read trees of this writer.
    (tmp_path / "theirs").mkdir()
    GrownLog(words(1400), sizes).export(tmp_path / "theirs", SIGNER)
    theirs = files(tmp_path / "theirs")
    ours = {path: raw for path, raw in files(folder).items() if path != "checkpoint"}
    assert ours == {path: raw for path, raw in theirs.items() if not path.startswith("checkpoint.")}
    assert files(folder)["checkpoint"] == theirs["checkpoint.1400"]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 600])
async def test_a_tree_holds_all_tiles_and_bundles_of_its_size(folder, size):
    log = MemoryLog(words(size))
    seen = []
    exported = await run(log, folder, progress=lambda done, of: seen.append((done, of)))
    assert (exported.before, exported.checkpoint) == (0, log.checkpoint_at(size))
    assert seen == ([(size, size)] if size else [])
    expected = {"checkpoint": await log.checkpoint()}
    for level, count in [("entries", size), ("0", size), ("1", size // 256)]:
        for index in range(-(-count // 256)):
            partial = min(256, count - index * 256)
            path = f"tile/{level}/{index:03}" + (f".p/{partial}" if partial < 256 else "")
            expected[path] = log.bytes_of(parse_tile_path(path))
    assert files(folder) == expected


async def test_a_second_run_reads_the_checkpoint_alone(folder):
    log = MemoryLog(words(600))
    await run(log, folder)
    log.asked.clear()
    assert (await run(log, folder)).before == 600
    assert log.asked == []


async def test_only_what_is_new_is_fetched_and_partials_stay(folder):
    log = MemoryLog(words(600))
    await run(log, folder)
    before = files(folder)
    log.asked.clear()
    log.grow(words(300, "more"))
    await run(log, folder)
    after = files(folder)
    assert {path for path in before if path != "checkpoint"} <= set(after)
    assert all(after[path] == raw for path, raw in before.items() if path != "checkpoint")
    assert not {"tile/0/000", "tile/entries/000"} & set(log.asked)
    assert open_checkpoint(after["checkpoint"], log.key).size == 900


class Died(BaseException):
    """As kill -9: nothing of ours runs after it."""


def dying(monkeypatch, when):
    """Make the `when`th effect on the disk the last one; returns how many came."""
    came = []
    sync, replace = os.fsync, Path.replace

    def next_effect():
        came.append(1)
        if len(came) >= when:
            raise Died

    def fsync(descriptor):
        next_effect()
        sync(descriptor)

    def renamed(path, target):
        next_effect()
        replace(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", renamed)
    monkeypatch.setattr(shutil, "rmtree", lambda *_args, **_more: None)
    return came


async def test_an_export_that_dies_anywhere_leaves_a_right_tree_and_goes_on(tmp_path, monkeypatch):
    old, log = MemoryLog(words(300)), MemoryLog(words(700))
    await run(old, tmp_path / "whole")
    with monkeypatch.context() as patched:
        effects = dying(patched, 10_000)
        await run(log, tmp_path / "whole")
    whole = files(tmp_path / "whole")
    assert len(effects) > 20
    for when in range(1, len(effects) + 1):
        folder = tmp_path / str(when)
        await run(old, folder)
        with monkeypatch.context() as patched:
            dying(patched, when)
            with pytest.raises(Died):
                await run(log, folder)
        left = {path: raw for path, raw in files(folder).items() if not path.startswith(".incoming/")}
        assert left["checkpoint"] in {await old.checkpoint(), await log.checkpoint()}
        assert all(whole[path] == raw for path, raw in left.items() if path != "checkpoint")
        if left["checkpoint"] == await log.checkpoint():
            assert left == whole
        await run(log, folder)
        assert files(folder) == whole


async def test_what_an_interrupted_run_left_is_not_fetched_again(folder):
    log = MemoryLog(words(600))
    await run(log, folder)
    (folder / "checkpoint").unlink()
    log.asked.clear()
    await run(log, folder)
    assert set(log.asked) == {"tile/0/002.p/88", "tile/1/000.p/2"}


async def refused(log, folder, key=SIGNER.verifier):
    before = files(folder)
    with pytest.raises(AttestorError) as error:
        await run(log, folder, key)
    assert files(folder) == before, "nothing was written"
    return type(error.value), error.value.code


@pytest.fixture
async def kept(folder):
    """A folder that holds 600 entries."""
    await run(MemoryLog(words(600)), folder)
    return folder


@pytest.mark.parametrize("size", [0, 1, 256, 599])
async def test_a_log_that_went_back_is_refused(kept, size):
    assert await refused(MemoryLog(words(size)), kept) == (Halted, "log-rolled-back")


@pytest.mark.parametrize("place", [0, 255, 256, 511, 512, 599])
@pytest.mark.parametrize("size", [600, 601, 700, 1200])
async def test_a_log_that_says_something_else_of_the_past_is_refused(kept, place, size):
    entries = words(size)
    entries[place] = b"rewritten"
    assert await refused(MemoryLog(entries), kept) == (Halted, "log-forked")


async def test_the_refusals_say_what_to_do(kept):
    for log, words_of_it in [(MemoryLog(words(5)), "attestor log recover"), (MemoryLog(words(600, "x")), "evidence")]:
        with pytest.raises(Halted) as error:
            await run(log, kept)
        assert words_of_it in error.value.sentence


GROWN = words(600) + words(800, "new")


def lying(path, raw):
    log = MemoryLog(GROWN)
    log.spoilt[path] = raw(log.bytes_of(parse_tile_path(path)))
    return log


@pytest.mark.parametrize(
    ("path", "spoil", "code"),
    [
        ("tile/0/003", lambda raw: bytes([raw[0] ^ 1]) + raw[1:], "tile-unproven"),
        ("tile/0/003", lambda raw: raw[:-32], "tile-unproven"),
        ("tile/0/003", lambda raw: raw + raw[:32], "tile-unproven"),
        ("tile/0/003", lambda _raw: b"", "tile-unproven"),
        ("tile/0/003", lambda _raw: None, "log-gap"),
        ("tile/0/005.p/120", lambda raw: raw[32:] + raw[:32], "tile-unproven"),
        ("tile/0/005.p/120", lambda raw: raw[:-1], "tile-unproven"),
        ("tile/0/005.p/120", lambda _raw: None, "log-gap"),
        ("tile/1/000.p/5", lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), "tile-unproven"),
        ("tile/entries/003", lambda raw: raw.replace(b"new 200", b"old 200"), "tile-unproven"),
        ("tile/entries/003", lambda raw: raw[:-1], "bundle-malformed"),
        ("tile/entries/003", lambda _raw: None, "log-gap"),
        ("tile/entries/005.p/120", lambda raw: raw[:-1] + b"x", "tile-unproven"),
    ],
)
async def test_nothing_that_is_not_proven_is_written(kept, path, spoil, code):
    log = lying(path, spoil)
    before = files(kept)
    with pytest.raises(AttestorError) as error:
        await run(log, kept)
    assert error.value.code == code
    honest = MemoryLog(GROWN)
    left = files(kept)
    assert left["checkpoint"] == before["checkpoint"]
    new = set(left) - set(before)
    assert all(left[name] == honest.bytes_of(parse_tile_path(name)) for name in new), "what was written is proven"
    await run(honest, kept)
    assert open_checkpoint(files(kept)["checkpoint"], SIGNER.verifier).size == 1400


async def test_a_checkpoint_that_nothing_stands_behind_is_refused(folder):
    log = MemoryLog(words(600))
    log.note = sign_checkpoint(Checkpoint(SIGNER.verifier.name, 600, bytes(32)), SIGNER)
    with pytest.raises(Halted) as error:
        await run(log, folder)
    assert (error.value.code, files(folder)) == ("tile-unproven", {})


async def test_another_logs_checkpoint_is_refused(kept):
    other = NoteSigner.create("log.example/other", bytes(32))
    assert await refused(MemoryLog(words(700), other), kept) == (Rejected, "note-signature")
    assert await refused(MemoryLog(words(700), other), kept, other.verifier) == (Rejected, "note-signature")


async def test_an_empty_log_is_not_there_yet(folder):
    class Unborn(MemoryLog):
        async def checkpoint(self):
            return None

    with pytest.raises(Unavailable) as error:
        await run(Unborn(), folder)
    assert error.value.code == "log-empty"


@pytest.mark.parametrize("path", ["tile/0/002", "tile/entries/002"])
async def test_a_damaged_file_is_neither_believed_nor_overwritten(kept, path):
    # An interrupted run has written it, and the disk has spoilt it.
    (kept / path).write_bytes(b"damaged")
    before = files(kept)
    with pytest.raises(AttestorError) as error:
        await run(MemoryLog(GROWN), kept)
    assert error.value.code in {"tile-unproven", "bundle-malformed"}
    assert files(kept)[path] == before[path]


async def test_other_bytes_in_a_partial_tiles_place_are_not_overwritten(kept):
    (kept / "tile/1/000.p/5").write_bytes(b"damaged")
    with pytest.raises(Halted) as error:
        await run(MemoryLog(GROWN), kept)
    assert (error.value.code, (kept / "tile/1/000.p/5").read_bytes()) == ("tile-differs", b"damaged")


async def test_two_exports_into_one_folder_do_not_meet(folder):
    async with StaticTree(folder).writing():
        assert await refused(MemoryLog(words(5)), folder) == (Conflict, "tree-busy")
    await run(MemoryLog(words(5)), folder)


async def test_new_cosignatures_of_the_same_tree_are_taken_over(kept):
    log = MemoryLog(words(600))
    log.note = await log.checkpoint() + b"\xe2\x80\x94 witness.example/w AAAAAAAA\n"
    await run(log, kept)
    assert files(kept)["checkpoint"] == log.note


async def test_a_tree_of_a_tree_is_the_same_tree(kept, tmp_path):
    await run(StaticTree(kept), tmp_path / "mirror")
    assert files(tmp_path / "mirror") == files(kept)


async def test_the_copy_can_be_read_while_it_is_written(folder):
    log = MemoryLog(words(300))
    await run(log, folder)
    reader = StaticTree(folder)

    async def read():
        for _ in range(20):
            checkpoint = open_checkpoint(await reader.checkpoint(), SIGNER.verifier)
            assert await reader.entries(0, checkpoint.size) == log.stored[: checkpoint.size]

    log.grow(words(400, "more"))
    await asyncio.gather(read(), run(log, folder))
