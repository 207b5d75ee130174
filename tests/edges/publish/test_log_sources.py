"""One contract for whatever a log is read from: the database, this service over HTTP, an export of it."""

import pytest

from attestor.client.log import HttpLog
from attestor.core.errors import Halted, Missing
from attestor.core.tlog.checkpoint import open_checkpoint
from attestor.core.tlog.tiles import Tile, tiles_of
from attestor.publish.tree import StaticTree
from attestor.service.export import export
from attestor.store.log import PostgresLog
from tests.edges.store.logmakers import KEY, dissent, enqueue
from tests.memorylog import MemoryLog

SIZE = 600
TOLD = [dissent(number) for number in range(SIZE + 10)]
ENTRIES = [told.entry for told in TOLD[:SIZE]]


@pytest.fixture
async def postgres_log(stand, sequencer):
    await enqueue(stand.owner, *TOLD[:SIZE])
    await sequencer(await stand.book()).sequence()
    # What is signed and not published yet is nobody's to read.
    await enqueue(stand.owner, *TOLD[SIZE:])
    await sequencer(await stand.book(), publish=False).sequence()
    return PostgresLog(await stand.pool("api"))


@pytest.fixture
async def http_log(gate, public):
    gate.log = MemoryLog(ENTRIES, KEY)
    async with HttpLog(f"{public}/log", patience_seconds=0.2) as log:
        yield log


@pytest.fixture
async def static_tree(tmp_path):
    tree = StaticTree(tmp_path / "tree")
    await export(MemoryLog(ENTRIES, KEY), tree, KEY.verifier, lambda _done, _of: None)
    return tree


@pytest.fixture(params=["postgres_log", "http_log", "static_tree"])
def log(request):
    return request.getfixturevalue(request.param)


async def test_the_checkpoint_is_the_published_one(log):
    assert open_checkpoint(await log.checkpoint(), KEY.verifier) == MemoryLog(ENTRIES, KEY).checkpoint_at(SIZE)


async def test_every_tile_of_the_tree_is_there_and_exactly_as_wide(log):
    expected = MemoryLog(ENTRIES, KEY)
    tiles = list(tiles_of(SIZE))
    assert {(tile.level, tile.index, tile.width) for tile in tiles} >= {
        (-1, 0, 256),
        (-1, 2, 88),
        (0, 2, 88),
        (1, 0, 2),
    }
    for tile in tiles:
        assert await log.tile(tile) == expected.bytes_of(tile)


@pytest.mark.parametrize("tile", [Tile(0, 0, 1), Tile(0, 2, 87), Tile(1, 0, 1), Tile(-1, 0, 255), Tile(-1, 2, 1)])
async def test_every_smaller_width_is_there_too(log, tile):
    assert await log.tile(tile) == MemoryLog(ENTRIES, KEY).bytes_of(tile)


@pytest.mark.parametrize(
    "tile", [Tile(0, 2, 89), Tile(0, 2), Tile(0, 3, 1), Tile(1, 0, 3), Tile(2, 0, 1), Tile(-1, 2, 89), Tile(-1, 9)]
)
async def test_nothing_beyond_the_published_size_is_there(log, tile):
    with pytest.raises(Missing) as refused:
        await log.tile(tile)
    assert refused.value.code == "tile-unknown"


@pytest.mark.parametrize(
    ("first", "end"), [(0, SIZE), (0, 1), (255, 257), (256, 512), (300, 301), (599, 600), (0, 0), (5, 5), (512, 512)]
)
async def test_entries_come_in_their_order(log, first, end):
    assert await log.entries(first, end) == ENTRIES[first:end]


@pytest.mark.parametrize(("first", "end"), [(599, 601), (600, 601), (1000, 1001)])
async def test_entries_that_no_checkpoint_includes_are_a_gap(log, first, end):
    with pytest.raises(Halted) as refused:
        await log.entries(first, end)
    assert refused.value.code == "log-gap"
