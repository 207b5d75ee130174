"""Tiles: one path each, one list of bytes each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.errors import Malformed, Missing, Rejected, TooLarge
from attestor.core.tlog.tiles import (
    BUNDLE,
    MAX_ENTRY,
    Tile,
    decode_bundle,
    encode_bundle,
    parse_tile_path,
    tiles_of,
)

PATHS = {
    "tile/0/000": Tile(0, 0),
    "tile/0/999": Tile(0, 999),
    "tile/0/x001/000": Tile(0, 1000),
    "tile/0/x001/x234/067": Tile(0, 1234067),  # tlog-tiles' own example
    "tile/0/x001/x234/067.p/8": Tile(0, 1234067, 8),
    "tile/1/000.p/1": Tile(1, 0, 1),
    "tile/10/005": Tile(10, 5),
    "tile/63/000.p/255": Tile(63, 0, 255),
    "tile/entries/000": Tile(BUNDLE, 0),
    "tile/entries/x123/456.p/16": Tile(BUNDLE, 123456, 16),
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_its_tile_and_back(path):
    assert parse_tile_path(path) == PATHS[path]
    assert PATHS[path].path == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tile/0/000/",
        "tile//000",
        "tile/0/000\n",
        " tile/0/000",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/1234",
        "tile/0/x000/001",
        "tile/0/x000/x001/000",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/0/x001",
        "tile/0/X001/000",
        "tile/0/x001//000",
        "tile/00/000",
        "tile/01/000",
        "tile/64/000",
        "tile/100/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile/1_0/000",
        "tile/٣/000",
        "tile/0/٠٠٠",
        "tile/0/000.p/0",
        "tile/0/000.p/00",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/1000",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000.p/1/",
        "tile/0/000.p/1\n",
        "tile/0/000.P/1",
        "tile/0/000.p/٣",
        "tile/0/x001.p/1/000",
        "tile/data/000",
        "tile/Entries/000",
        "tile/8/0/000",
        "tile/0/../0/000",
        "tile/0/%30%30%30",
        "tile/0/" + "x999/" * 6 + "999",
        "tile/0/" + "x001/" * 7 + "000",
    ],
    ids=repr,
)
def test_any_other_spelling_is_no_tile(path):
    with pytest.raises(Missing) as refused:
        parse_tile_path(path)
    assert refused.value.code == "tile-unknown"


@given(st.integers(-1, 63), st.integers(0, 2**63 - 1), st.integers(1, 256))
def test_every_tile_has_one_path(level, index, width):
    tile = Tile(level, index, width)
    assert parse_tile_path(tile.path) == tile


@pytest.mark.parametrize(
    ("level", "index", "width"), [(-2, 0, 1), (64, 0, 1), (0, -1, 1), (0, 2**63, 1), (0, 0, 0), (0, 0, 257)]
)
def test_what_cannot_be_is_no_tile(level, index, width):
    with pytest.raises(Missing):
        Tile(level, index, width)


def level(size, number):
    return [(tile.index, tile.width) for tile in tiles_of(size) if tile.level == number]


def test_a_tree_of_70000_has_the_tiles_that_the_format_s_text_counts():
    for number in (BUNDLE, 0):
        assert level(70000, number) == [*((index, 256) for index in range(273)), (273, 112)]
    assert level(70000, 1) == [(0, 256), (1, 17)]
    assert level(70000, 2) == [(0, 1)]
    assert {tile.level for tile in tiles_of(70000)} == {BUNDLE, 0, 1, 2}


@pytest.mark.parametrize(
    ("size", "tiles"),
    [
        (0, []),
        (1, [Tile(BUNDLE, 0, 1), Tile(0, 0, 1)]),
        (255, [Tile(BUNDLE, 0, 255), Tile(0, 0, 255)]),
        (256, [Tile(BUNDLE, 0), Tile(0, 0), Tile(1, 0, 1)]),
        (257, [Tile(BUNDLE, 0), Tile(BUNDLE, 1, 1), Tile(0, 0), Tile(0, 1, 1), Tile(1, 0, 1)]),
    ],
    ids=lambda one: one if isinstance(one, int) else "",
)
def test_no_tile_of_width_0_and_no_level_too_many(size, tiles):
    assert list(tiles_of(size)) == tiles


@given(st.integers(0, 70000), st.integers(-1, 3), st.integers(0, 300), st.integers(1, 256))
def test_a_tile_exists_as_wide_as_the_tree_has_it_and_narrower(size, number, index, width):
    tile = Tile(number, index, width)
    widest = max((one.width for one in tiles_of(size) if (one.level, one.index) == (number, index)), default=0)
    assert tile.exists_in(size) is (width <= widest)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=256))
def test_a_bundle_is_its_entries_and_back(entries):
    assert decode_bundle(encode_bundle(entries), len(entries)) == entries


def test_a_bundle_is_lengths_and_bytes():
    assert encode_bundle([b"", b"ab", b"x" * 258]) == b"\x00\x00\x00\x02ab\x01\x02" + b"x" * 258


def test_an_entry_has_at_most_65535_bytes():
    assert decode_bundle(encode_bundle([b"x" * MAX_ENTRY]), 1) == [b"x" * 65535]
    with pytest.raises(TooLarge) as refused:
        encode_bundle([b"", b"x" * (MAX_ENTRY + 1)])
    assert refused.value.code == "entry-too-large"


@pytest.mark.parametrize("count", [0, 257])
def test_a_bundle_has_1_to_256_entries(count):
    with pytest.raises(Rejected) as refused:
        encode_bundle([b""] * count)
    assert refused.value.code == "bundle-width"


@pytest.mark.parametrize(
    ("raw", "width"),
    [
        (b"", 1),
        (b"\x00", 1),
        (b"\x00\x01", 1),
        (b"\x00\x02a", 1),
        (b"\x00\x01ab", 1),
        (b"\x00\x01a\x00", 1),
        (b"\x00\x01a\x00", 2),
        (b"\x00\x01a\x00\x00", 1),
        (b"\x00\x01a", 2),
        (b"\x00\x00", 0),
    ],
    ids=repr,
)
def test_a_bundle_cut_off_or_with_more_or_less_entries_is_refused(raw, width):
    with pytest.raises(Malformed) as refused:
        decode_bundle(raw, width)
    assert refused.value.code == "bundle-malformed"
