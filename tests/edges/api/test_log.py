"""The log over HTTP, as C2SP tlog-tiles wants it: paths, media types, caching, compression."""

import zlib

import aiohttp
import pytest
from yarl import URL

from attestor.api.listeners import Listener
from attestor.core.tlog.checkpoint import open_checkpoint
from attestor.core.tlog.tiles import Tile, decode_bundle

IMMUTABLE = "public, max-age=604800, immutable"


@pytest.fixture
async def raw():
    """A session that neither asks for compression by itself nor undoes it."""
    async with aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as session:
        yield session


async def test_the_checkpoint_is_text_that_is_asked_for_again_each_time(public, raw, gate):
    async with raw.get(f"{public}/log/checkpoint") as answer:
        note = await answer.read()
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
        assert answer.headers["Cache-Control"] == "no-cache"
        tag = answer.headers["ETag"]
    assert open_checkpoint(note, gate.log.key).size == 300
    async with raw.get(f"{public}/log/checkpoint", headers={"If-None-Match": tag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")


async def test_before_the_first_checkpoint_there_is_none(public, raw, gate, monkeypatch):
    async def nothing():
        return None

    monkeypatch.setattr(gate, "checkpoint", nothing)
    async with raw.get(f"{public}/log/checkpoint") as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (404, "log-empty")


@pytest.mark.parametrize(
    "tile",
    [Tile(0, 0), Tile(0, 1, 44), Tile(0, 1, 7), Tile(1, 0, 1), Tile(-1, 0), Tile(-1, 1, 44), Tile(-1, 1, 7)],
    ids=lambda tile: tile.path,
)
async def test_a_tile_is_bytes_that_never_change(public, raw, gate, tile):
    async with raw.get(f"{public}/log/{tile.path}") as answer:
        body = await answer.read()
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/octet-stream")
        assert answer.headers["Cache-Control"] == IMMUTABLE
        assert "Content-Encoding" not in answer.headers
    assert body == gate.log.bytes_of(tile)
    async with raw.head(f"{public}/log/{tile.path}") as answer:
        assert (answer.status, int(answer.headers["Content-Length"])) == (200, len(body))


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("tile/0/001.p/45", "tile-unknown"),
        ("tile/0/001", "tile-unknown"),
        ("tile/entries/002", "tile-unknown"),
        ("tile/1/000.p/2", "tile-unknown"),
        ("tile/2/000.p/1", "tile-unknown"),
        ("tile/00/000", "tile-unknown"),
        ("tile/0/0", "tile-unknown"),
        ("tile/0/x000/000", "tile-unknown"),
        ("tile/0/000.p/256", "tile-unknown"),
        ("tile/0/000.p/0", "tile-unknown"),
        ("tile/0/000.p/01", "tile-unknown"),
        ("tile/64/000", "tile-unknown"),
        ("tile/data/000", "tile-unknown"),
        ("tile/0/000/", "tile-unknown"),
        ("tile/0/../0/000", "tile-unknown"),
        ("tile/0/%3000", "not-found"),
        ("tile/0%2f000", "not-found"),
        ("tile/-1/000", "not-found"),
        ("tile/0/" + "x000/" * 30 + "000", "not-found"),
        ("tile/", "not-found"),
        ("checkpoint/", "not-found"),
    ],
)
async def test_what_is_no_tile_of_the_published_tree_is_not_found_and_not_cached(public, raw, path, code):
    async with raw.get(URL(f"{public}/log/{path}", encoded=True)) as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (404, code)
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("x-gzip", True),
        ("gzip;q=1.0, identity;q=0", True),
        ("deflate, br", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("", False),
    ],
)
async def test_bundles_are_compressed_for_whom_takes_it(public, raw, gate, accepted, compressed):
    for tile in (Tile(-1, 0), Tile(-1, 1, 3)):
        async with raw.get(f"{public}/log/{tile.path}", headers={"Accept-Encoding": accepted}) as answer:
            body = await answer.read()
            assert answer.headers.get("Content-Encoding") == ("gzip" if compressed else None)
            assert answer.headers["Vary"] == "Accept-Encoding"
            assert int(answer.headers["Content-Length"]) == len(body)
        plain = zlib.decompress(body, 31) if compressed else body
        assert decode_bundle(plain, tile.width) == gate.log.stored[tile.index * 256 :][: tile.width]


async def test_hash_tiles_are_never_compressed(public, raw):
    async with raw.get(f"{public}/log/tile/0/000", headers={"Accept-Encoding": "gzip"}) as answer:
        assert "Content-Encoding" not in answer.headers
        assert len(await answer.read()) == 8192


async def test_only_a_listener_for_readers_serves_the_log(start, raw):
    running = await start(Listener("127.0.0.1:0", frozenset({"submit"})))
    for path in ("checkpoint", "tile/0/000"):
        async with raw.get(f"http://127.0.0.1:{running.addresses[0][1]}/log/{path}") as answer:
            assert answer.status == 404


async def test_nothing_but_reading_is_possible(public, raw):
    async with raw.put(f"{public}/log/tile/0/000", data=b"x") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
