"""The log as rows: what is appended stays in its place, and what is read is what the tree's definition says."""

import asyncio

import pytest

from attestor.core.entrybytes import Outgoing
from attestor.core.errors import Conflict, Halted, Missing
from attestor.core.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from attestor.core.tlog.merkle import EMPTY, completed_nodes, leaf_hash
from attestor.core.tlog.note import parse_note
from attestor.core.tlog.tiles import BUNDLE, Tile, decode_bundle, tiles_of
from attestor.service.logports import Sequenced
from attestor.store import log as store_log
from tests.edges.store.emptying import tamper
from tests.edges.store.logmakers import (
    KEY,
    RELEASE,
    decision,
    dissent,
    enqueue,
    logged,
    request_id,
    signature,
    tree_hash,
)


@pytest.fixture
async def book(stand):
    return await stand.book()


def expected(tile, entries):
    """A tile by its definition (C2SP tlog-tiles, Merkle Tree)."""
    span = 256 ** max(tile.level, 0)
    places = range(tile.index * 256, tile.index * 256 + tile.width)
    if tile.level == BUNDLE:
        return b"".join(len(entries[at]).to_bytes(2) + entries[at] for at in places)
    return b"".join(tree_hash([leaf_hash(raw) for raw in entries[at * span : (at + 1) * span]]) for at in places)


async def append(sequencing, raw, frontier, *, publish=True):
    """Write entries (with their keys) behind a frontier."""
    leaves = [leaf_hash(told.entry) for told in raw]
    entries = [
        Sequenced(frontier.size + at, leaf, told) for at, (leaf, told) in enumerate(zip(leaves, raw, strict=True))
    ]
    after = frontier.extended(leaves)
    note = sign_checkpoint(Checkpoint(KEY.verifier.name, after.size, after.root), KEY)
    await sequencing.append(entries, completed_nodes(frontier, leaves), after, note, publish=publish)
    return after


async def grown(stand, book, sequencer, numbers, **options):
    await enqueue(stand.owner, *map(dissent, numbers))
    assert await sequencer(book, **options).sequence() == len(numbers)


async def test_every_tile_of_every_size_is_what_its_definition_says(stand, book, sequencer):
    log, size = await stand.log(), 0
    for target in (1, 2, 255, 256, 257, 600):
        await grown(stand, book, sequencer, range(size, target))
        size, entries = target, await logged(stand.owner)
        assert open_checkpoint(await log.checkpoint(), KEY.verifier) == Checkpoint(
            KEY.verifier.name, size, tree_hash([leaf_hash(raw) for raw in entries])
        )
        tiles = list(tiles_of(size))
        assert len(tiles) >= 2
        for tile in tiles:
            assert await log.tile(tile) == await book.tile(tile) == expected(tile, entries)
    assert decode_bundle(await log.tile(Tile(BUNDLE, 2, 88)), 88) == entries[512:]


async def test_a_second_level_above_the_leaves_is_kept_too(stand, book):
    told = [Outgoing(request_id(number), "late-dissent", 0, number.to_bytes(3)) for number in range(65537)]
    async with book.sequencing() as sequencing:
        frontier = await append(sequencing, told[:65000], sequencing.state.frontier)
    async with book.sequencing() as sequencing:
        frontier = await append(sequencing, told[65000:], sequencing.state.frontier)
    entries = [one.entry for one in told]
    log = await stand.log()
    for tile in (Tile(2, 0, 1), Tile(1, 0), Tile(1, 0, 254), Tile(0, 256, 1), Tile(BUNDLE, 255)):
        assert await log.tile(tile) == expected(tile, entries)
    assert frontier.root == tree_hash([leaf_hash(raw) for raw in entries])


@pytest.mark.parametrize(
    "tile",
    [Tile(0, 0, 4), Tile(0, 0), Tile(BUNDLE, 0, 4), Tile(0, 1, 1), Tile(1, 0, 1), Tile(63, 0, 1)],
    ids=lambda tile: tile.path,
)
async def test_no_tile_shows_more_than_is_published(stand, book, sequencer, tile):
    log = await stand.log()
    await grown(stand, book, sequencer, range(3))
    await grown(stand, book, sequencer, range(3, 9), publish=False)
    with pytest.raises(Missing) as caught:
        await log.tile(tile)
    assert caught.value.code == "tile-unknown"
    assert len(await log.tile(Tile(0, 0, 2))) == 64


async def test_what_is_signed_and_not_published_is_shown_to_nobody_and_then_with_its_cosignatures(
    stand, book, sequencer
):
    log = await stand.log()
    assert await log.checkpoint() is None
    await sequencer(book).begin()
    await grown(stand, book, sequencer, range(5), publish=False)
    assert open_checkpoint(await log.checkpoint(), KEY.verifier).size == 0
    with pytest.raises(Halted):
        await log.entries(0, 1)
    await book.cosigned(5, "w2", "— w2 second")
    await book.cosigned(5, "w1", "— w1 first")
    await book.cosigned(5, "w1", "— w1 again")
    assert await book.cosignatures(5) == {"w1": "— w1 first", "w2": "— w2 second"}
    hints = await stand.heard("attestor_log")
    await book.publish(4)
    await book.publish(5)
    await book.publish(0)
    state, newest = await book.newest()
    assert (state.frontier.size, state.published) == (5, 5)
    assert await log.checkpoint() == newest + "— w1 first\n— w2 second\n".encode()
    assert await log.entries(1, 4) == (await logged(stand.owner))[1:4]
    assert await hints() == ["5"]


async def test_begin_signs_the_empty_tree_once_and_from_two_processes(stand, book, sequencer):
    other = await stand.book()
    await asyncio.gather(sequencer(book).begin(), sequencer(other).begin())
    await sequencer(book).begin()
    async with book.sequencing() as sequencing:
        await append(sequencing, [], EMPTY)
    _, note = await other.newest()
    assert (parse_note(note).text, await stand.owner.fetchval("SELECT count(*) FROM log_checkpoints")) == (
        Checkpoint(KEY.verifier.name, 0, EMPTY.root).text,
        1,
    )


async def test_entries_come_in_bounded_pieces_and_a_gap_halts(stand, book, sequencer, monkeypatch):
    log = await stand.log("signer")
    await grown(stand, book, sequencer, range(10))
    entries = await logged(stand.owner)
    assert await log.entries(2, 9) == entries[2:9]
    assert await log.entries(4, 4) == []
    monkeypatch.setattr(store_log, "MAX_ENTRIES", 3)
    assert await log.entries(2, 9) == entries[2:5]
    await tamper(stand.owner, "DELETE FROM log_entries WHERE idx = 3")
    for read in (log.entries(2, 5), log.entries(9, 11), log.tile(Tile(BUNDLE, 0, 10)), log.tile(Tile(0, 0, 9))):
        with pytest.raises(Halted) as caught:
            await read
        assert caught.value.code == "log-gap"
    assert len(await log.tile(Tile(0, 0, 3))) == 96


async def test_the_order_of_the_outbox_is_the_order_of_the_log(stand, book, sequencer):
    numbers = [5, 3, 9, 1, 7]
    await grown(stand, book, sequencer, numbers)
    assert await logged(stand.owner) == [dissent(number).entry for number in numbers]


async def test_what_is_no_entry_or_not_its_own_leaves_the_outbox_and_stops_nobody(stand, book, sequencer):
    first, other = decision(request_id(1)), decision(request_id(1), reason="other")
    await enqueue(stand.owner, first)
    assert await sequencer(book).sequence() == 1
    raw = dissent(1).entry
    bad = [
        (request_id(2), "received", 0, b'{"type":"received","version":1}'),
        (request_id(3), "late-dissent", 0, raw),
        (dissent(1).subject, "late-dissent", 1, raw),
        (dissent(2).subject, "late-dissent", 0, dissent(2).entry.replace(b'":', b'": ')),
        (request_id(4), "decision", 0, decision(request_id(4)).entry[:-1] + b',"verdict":"refuse"}'),
        (other.subject, "decision", 0, other.entry),
    ]
    insert = "INSERT INTO log_outbox (subject, kind, number, entry) VALUES ($1, $2, $3, $4)"
    await stand.owner.executemany(insert, bad)
    await enqueue(stand.owner, dissent(3))
    assert await sequencer(book).sequence() == 1
    assert await logged(stand.owner) == [first.entry, dissent(3).entry]
    assert await stand.owner.fetchval("SELECT count(*) FROM log_outbox") == 0
    refused = await stand.owner.fetch("SELECT entry FROM log_refused")
    assert sorted(row["entry"] for row in refused) == sorted(row[3] for row in bad)


async def test_the_very_entry_that_is_logged_already_is_dropped_in_silence(stand, book, sequencer):
    await enqueue(stand.owner, dissent(1))
    await sequencer(book).sequence()
    await enqueue(stand.owner, dissent(1))
    assert await sequencer(book).sequence() == 0
    assert await stand.owner.fetchval("SELECT count(*) FROM log_refused") == 0
    assert await logged(stand.owner) == [dissent(1).entry]
    assert await stand.owner.fetchval("SELECT count(*) FROM log_outbox") == 0


async def test_a_state_that_moved_meanwhile_is_not_overwritten(stand, book):
    async with book.sequencing() as sequencing:
        await append(sequencing, [dissent(1)], EMPTY)
        with pytest.raises(Conflict) as caught:
            await append(sequencing, [dissent(2)], EMPTY)
    assert caught.value.code == "log-moved"
    assert await logged(stand.owner) == [dissent(1).entry]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log_state SET root = sha256('x')",
        "UPDATE log_state SET frontier = substr(frontier, 2)",
        "UPDATE log_state SET size = size + 1",
        "DELETE FROM log_state",
    ],
)
async def test_a_state_that_contradicts_itself_halts(stand, book, sequencer, statement):
    await grown(stand, book, sequencer, range(3))
    row = await stand.owner.fetchrow("SELECT * FROM log_state")
    await tamper(stand.owner, statement)
    await enqueue(stand.owner, dissent(3))
    try:
        for step in (sequencer(book).sequence, book.newest):
            with pytest.raises(Halted) as caught:
                await step()
            assert caught.value.code == "log-root"
    finally:
        await tamper(stand.owner, "DELETE FROM log_state")
        await tamper(stand.owner, "INSERT INTO log_state VALUES ($1, $2, $3, $4, $5)", *row)
    assert await stand.owner.fetchval("SELECT count(*) FROM log_outbox") == 1


async def test_a_state_that_was_set_back_under_its_entries_halts(stand, book, sequencer):
    before = await stand.owner.fetchrow("SELECT size, root, frontier, published FROM log_state")
    await grown(stand, book, sequencer, range(3))
    await tamper(stand.owner, "UPDATE log_state SET size = $1, root = $2, frontier = $3, published = $4", *before)
    await enqueue(stand.owner, dissent(3))
    with pytest.raises(Halted) as caught:
        await sequencer(book).sequence()
    assert caught.value.code == "log-root"


async def test_a_signature_that_is_unsealed_wakes_who_waits_for_its_release(stand, book, sequencer):
    hints = await stand.heard("attestor")
    await enqueue(stand.owner, dissent(1), signature(request_id(1)), dissent(2))
    await sequencer(book, publish=False).sequence()
    assert await hints() == []
    await book.publish(3)
    await enqueue(stand.owner, dissent(3), signature(request_id(2), release="07" * 32))
    await sequencer(book).sequence()
    assert await hints() == [RELEASE, "07" * 32]


async def test_what_a_witness_accepted_is_remembered(book):
    assert await book.witness_size("w") == 0
    for size in (7, 5):
        await book.keep_witness_size("w", size)
        assert await book.witness_size("w") == size
