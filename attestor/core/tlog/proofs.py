"""Proofs made from tiles (RFC 6962 §2.1): a pure function of the tiles' bytes, wherever they come from.

They prove nothing before :mod:`attestor.core.tlog.merkle` has checked them against a root.
"""

from collections.abc import Mapping

from attestor.core.errors import Malformed, Missing
from attestor.core.tlog.grammar import HASH_BYTES
from attestor.core.tlog.merkle import EMPTY, Node, node_hash
from attestor.core.tlog.tiles import Tile, consistency_ranges, inclusion_ranges, place_of, subtrees


def inclusion_proof(index: int, size: int, tiles: Mapping[Tile, bytes]) -> tuple[bytes, ...]:
    """The hashes from the sibling of entry ``index`` upwards in the tree of ``size``.

    ``tiles`` holds at least :func:`attestor.core.tlog.tiles.tiles_for_inclusion`, each as its hashes one after the other.
    Raises ``Missing`` ``entry-unknown``, ``tile-missing``; ``Malformed`` ``tile-malformed``.
    """
    return tuple(_range_root(begin, end, size, tiles) for begin, end in inclusion_ranges(index, size))


def consistency_proof(old_size: int, size: int, tiles: Mapping[Tile, bytes]) -> tuple[bytes, ...]:
    """The hashes that show the tree of ``size`` to append to the one of ``old_size``; none from size 0 or to itself.

    ``tiles`` holds at least :func:`attestor.core.tlog.tiles.tiles_for_consistency`. Raises ``Missing`` ``tree-unknown``,
    ``tile-missing``; ``Malformed`` ``tile-malformed``.
    """
    return tuple(_range_root(begin, end, size, tiles) for begin, end in consistency_ranges(old_size, size))


def _range_root(begin: int, end: int, size: int, tiles: Mapping[Tile, bytes]) -> bytes:
    *left, root = [_subtree_root(node, size, tiles) for node in subtrees(begin, end)]
    for sibling in reversed(left):
        root = node_hash(sibling, root)
    return root


def _subtree_root(node: Node, size: int, tiles: Mapping[Tile, bytes]) -> bytes:
    tile, first, last = place_of(node, size)
    raw = tiles.get(tile)
    if raw is None:
        raise Missing("tile-missing", f"The proof needs {tile.path}, which was not given.")
    if len(raw) != tile.width * HASH_BYTES:
        raise Malformed("tile-malformed", f"{tile.path} has {len(raw)} bytes instead of {tile.width * HASH_BYTES}.")
    return EMPTY.extended([raw[at * HASH_BYTES : (at + 1) * HASH_BYTES] for at in range(first, last)]).root
