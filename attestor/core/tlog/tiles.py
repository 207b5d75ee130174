"""Tiles and entry bundles: their paths, their bytes, and which of them a tree or a proof needs (C2SP tlog-tiles)."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from attestor.core.errors import Malformed, Missing, Rejected, TooLarge
from attestor.core.tlog.grammar import MAX_NUMBER
from attestor.core.tlog.merkle import Node

TILE: Final = 256
"""Hashes in a full tile, entries in a full bundle."""
MAX_ENTRY: Final = 65535
"""Bytes of one entry: its length stands in two bytes."""
BUNDLE: Final = -1
"""The level under which entry bundles are named here; their path says ``entries``."""

_MAX_LEVEL: Final = 63
_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """A hash tile (level 0 to 63) or an entry bundle (``level`` is ``BUNDLE``) of ``width`` 1 to 256.

    Raises ``Missing`` ``tile-unknown`` for what is no tile.
    """

    level: int
    index: int
    width: int = TILE

    def __post_init__(self) -> None:
        if not (BUNDLE <= self.level <= _MAX_LEVEL and 0 <= self.index <= MAX_NUMBER and 1 <= self.width <= TILE):
            raise _unknown()

    @property
    def path(self) -> str:
        """The path below the log's prefix: ``tile/0/x001/x234/067.p/5``, ``tile/entries/000``."""
        name = "entries" if self.level == BUNDLE else str(self.level)
        digits = str(self.index)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        *upper, last = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        partial = "" if self.width == TILE else f".p/{self.width}"
        return "/".join(["tile", name, *(f"x{group}" for group in upper), last]) + partial

    def exists_in(self, size: int) -> bool:
        """Say whether a tree of ``size`` has all of it; a partial is a prefix, so every width up to the tree's own exists."""
        return self.index * TILE + self.width <= _hashes_at(self.level, size)


def parse_tile_path(path: str) -> Tile:
    """Read the one canonical path of a tile; raises ``Missing`` ``tile-unknown`` for every other spelling."""
    found = _PATH.fullmatch(path)
    if found is None:
        raise _unknown()
    level = BUNDLE if found["level"] == "entries" else int(found["level"])
    tile = Tile(level, int(found["index"].replace("x", "").replace("/", "")), int(found["width"] or TILE))
    if tile.path != path:
        raise _unknown()
    return tile


def tiles_of(size: int) -> Iterator[Tile]:
    """All bundles and hash tiles of a tree of ``size``: bundles first, then by level; full ones, then the partial one."""
    for level in itertools.chain([BUNDLE], itertools.takewhile(lambda at: _hashes_at(at, size), itertools.count())):
        full, width = divmod(_hashes_at(level, size), TILE)
        for index in range(full):
            yield Tile(level, index)
        if width:
            yield Tile(level, full, width)


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Join 1 to 256 entries, each after its length in two bytes, big-endian.

    Raises ``TooLarge`` ``entry-too-large``, ``Rejected`` ``bundle-width``.
    """
    if not 1 <= len(entries) <= TILE:
        raise Rejected("bundle-width", f"A bundle holds 1 to {TILE} entries, not {len(entries)}.")
    if any(len(entry) > MAX_ENTRY for entry in entries):
        raise TooLarge("entry-too-large", f"An entry of the log has at most {MAX_ENTRY} bytes; log digests instead.")
    return b"".join(len(entry).to_bytes(2) + entry for entry in entries)


def decode_bundle(raw: bytes, width: int) -> list[bytes]:
    """Split a bundle into exactly ``width`` entries; raises ``Malformed`` ``bundle-malformed``."""
    entries: list[bytes] = []
    at = 0
    while at < len(raw) and len(entries) < width:
        start = at + 2
        at = start + int.from_bytes(raw[at:start])
        entries.append(raw[start:at])
    # A length or an entry that is cut off leaves the end beyond the bytes that there are.
    if len(entries) != width or at != len(raw):
        raise Malformed("bundle-malformed", f"The bundle is not exactly {width} entries with their lengths.")
    return entries


def tiles_for_inclusion(index: int, size: int) -> frozenset[Tile]:
    """The hash tiles that :func:`attestor.core.tlog.proofs.inclusion_proof` reads, as wide as the tree of ``size`` has them."""
    return _tiles_for(inclusion_ranges(index, size), size)


def tiles_for_consistency(old_size: int, size: int) -> frozenset[Tile]:
    """The hash tiles that :func:`attestor.core.tlog.proofs.consistency_proof` reads, as wide as the tree of ``size`` has them."""
    return _tiles_for(consistency_ranges(old_size, size), size)


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """The leaves [begin, end) under each hash of an inclusion proof, the leaf's sibling first (RFC 6962 §2.1.1).

    Raises ``Missing`` ``entry-unknown``.
    """
    if not 0 <= index < size <= MAX_NUMBER:
        raise Missing(
            "entry-unknown", f"A tree of {size} entries has none at index {index}; ask for a later checkpoint."
        )
    begin, end, ranges = 0, size, []
    while end - begin > 1:
        split = _split(begin, end)
        if index < split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((begin, split))
            begin = split
    return ranges[::-1]


def consistency_ranges(old_size: int, size: int) -> list[tuple[int, int]]:
    """The leaves [begin, end) under each hash of a consistency proof, in its order (RFC 6962 §2.1.2).

    Nothing is to be proved from size 0. Raises ``Missing`` ``tree-unknown``.
    """
    if not 0 <= old_size <= size <= MAX_NUMBER:
        raise Missing("tree-unknown", f"A tree of {size} entries never had {old_size}; ask for sizes in their order.")
    begin, end, ranges = 0, size, []
    while old_size not in {0, end}:
        split = _split(begin, end)
        if old_size <= split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((begin, split))
            begin = split
    # The verifier knows the whole old root, but not the root of its last part.
    return [(begin, end), *ranges[::-1]] if begin else ranges[::-1]


def subtrees(begin: int, end: int) -> list[Node]:
    """The perfect subtrees that a range of a proof is made of, the largest first."""
    nodes = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        nodes.append((level, begin >> level))
        begin += 1 << level
    return nodes


def place_of(node: Node, size: int) -> tuple[Tile, int, int]:
    """Where a perfect subtree's hash comes from in a tree of ``size``: its tile, and the slice of hashes [first, last) below it."""
    level, index = node
    tile_level, height = divmod(level, 8)
    first = index << height
    number = first // TILE
    width = min(TILE, _hashes_at(tile_level, size) - number * TILE)
    return Tile(tile_level, number, width), first % TILE, first % TILE + (1 << height)


def _tiles_for(ranges: list[tuple[int, int]], size: int) -> frozenset[Tile]:
    return frozenset(place_of(node, size)[0] for begin, end in ranges for node in subtrees(begin, end))


def _split(begin: int, end: int) -> int:
    """Where RFC 6962 splits a range: after the largest power of two below its length."""
    return begin + (1 << (end - begin - 1).bit_length() - 1)


def _hashes_at(level: int, size: int) -> int:
    return size >> 8 * max(level, 0)


def _unknown() -> Missing:
    return Missing(
        "tile-unknown", "This is no tile's path; write it as C2SP tlog-tiles does, such as tile/0/x001/067.p/5."
    )
