"""The tree of RFC 6962: whatever its size, its proofs hold, and nothing that was changed in them does."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attestor.core.errors import Malformed, Missing, Rejected
from attestor.core.tlog.merkle import (
    EMPTY,
    EMPTY_ROOT,
    Frontier,
    TileNode,
    completed_nodes,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from attestor.core.tlog.proofs import consistency_proof, inclusion_proof
from attestor.core.tlog.tiles import Tile, tiles_for_consistency, tiles_for_inclusion
from tests.core.tlog.reference import GrownLog, mth, path, subproof

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "rfc6962-trees.json").read_text())
LEAVES = [bytes.fromhex(one) for one in VECTORS["leaves"]]
ROOTS = [bytes.fromhex(one) for one in VECTORS["roots"]]
ENTRIES = [f"entry {number}".encode() for number in range(700)]
HASHES = [leaf_hash(entry) for entry in ENTRIES]
LOG = GrownLog(ENTRIES, range(1, len(ENTRIES) + 1))
SIZES = st.one_of(st.integers(1, 20), st.integers(250, 260), st.integers(510, 516), st.integers(1, len(ENTRIES)))


def hashes(texts):
    return [bytes.fromhex(one) for one in texts]


@pytest.mark.parametrize("size", range(len(ROOTS)))
def test_a_published_tree_has_its_published_root(size):
    leaves = [leaf_hash(entry) for entry in LEAVES[:size]]
    assert EMPTY.extended(leaves).root == ROOTS[size] == mth(LEAVES[:size])


def test_the_empty_tree_has_the_hash_of_nothing():
    assert EMPTY.root == EMPTY_ROOT == ROOTS[0]


def named(one):
    return "-".join(str(one[key]) for key in ("index", "old", "size") if key in one)


@pytest.mark.parametrize("one", VECTORS["inclusion"], ids=named)
def test_a_published_inclusion_proof_holds(one):
    root, leaf = ROOTS[one["size"]], leaf_hash(LEAVES[one["index"]])
    verify_inclusion(leaf=leaf, index=one["index"], size=one["size"], proof=hashes(one["proof"]), root=root)


@pytest.mark.parametrize("one", VECTORS["consistency"], ids=named)
def test_a_published_consistency_proof_holds(one):
    old, size = one["old"], one["size"]
    verify_consistency(old_size=old, old_root=ROOTS[old], size=size, root=ROOTS[size], proof=hashes(one["proof"]))


@pytest.mark.parametrize("sizes", [(1, 2), (3, 256, 257), (255, 256, 600), (700,)], ids=str)
def test_a_frontier_grown_in_batches_is_the_one_grown_at_once(sizes):
    now = EMPTY
    for size in sizes:
        now = now.extended(HASHES[now.size : size])
    assert now == LOG.frontiers[sizes[-1]]
    assert now.root == mth(ENTRIES[: sizes[-1]])
    assert Frontier.decode(now.size, now.encode()) == now


@pytest.mark.parametrize(
    ("size", "raw"),
    [
        (0, bytes(32)),
        (1, b""),
        (1, bytes(31)),
        (1, bytes(33)),
        (2, bytes(64)),
        (3, bytes(32)),
        (-1, b""),
        (2**63, bytes(32)),
    ],
    ids=lambda one: len(one) if isinstance(one, bytes) else one,
)
def test_hashes_that_do_not_fit_the_size_are_no_frontier(size, raw):
    with pytest.raises(Malformed) as refused:
        Frontier.decode(size, raw)
    assert refused.value.code == "frontier-malformed"


def test_a_leaf_that_is_no_hash_is_refused_as_no_frontier():
    with pytest.raises(Malformed):
        EMPTY.extended([b"an entry, not its hash"])


def test_the_hash_of_a_tile_is_complete_with_its_256_leaves_and_not_before():
    assert completed_nodes(EMPTY, HASHES[:255]) == []
    assert completed_nodes(LOG.frontiers[255], HASHES[255:256]) == [TileNode(1, 0, mth(ENTRIES[:256]))]
    later = completed_nodes(LOG.frontiers[256], HASHES[256:700])
    assert later == [TileNode(1, 1, mth(ENTRIES[256:512]))]


def test_the_65536th_leaf_completes_two_levels_at_once():
    leaves = [leaf_hash(b"")] * 65536
    *first, last, top = completed_nodes(EMPTY, leaves)
    perfect = leaf_hash(b"")
    for _ in range(8):
        perfect = node_hash(perfect, perfect)
    assert {node.hash for node in [*first, last]} == {perfect}
    assert [(node.level, node.index) for node in [*first, last]] == [(1, index) for index in range(256)]
    assert (top.level, top.index, top.hash) == (2, 0, EMPTY.extended(leaves).root)


@st.composite
def inclusions(draw):
    size = draw(SIZES)
    return draw(st.integers(0, size - 1)), size


@st.composite
def growths(draw):
    size = draw(SIZES)
    return draw(st.integers(0, size)), size


@given(inclusions())
@example((0, 1))
@example((255, 256))
@example((256, 257))
def test_every_entry_is_included_in_every_tree(case):
    index, size = case
    proof = inclusion_proof(index, size, LOG.given(tiles_for_inclusion(index, size)))
    assert list(proof) == path(index, ENTRIES[:size])
    verify_inclusion(leaf=HASHES[index], index=index, size=size, proof=proof, root=mth(ENTRIES[:size]))


@given(growths())
@example((256, 257))
@example((255, 700))
@example((512, 513))
def test_every_tree_appends_to_every_smaller_one(case):
    old, size = case
    proof = consistency_proof(old, size, LOG.given(tiles_for_consistency(old, size)))
    assert list(proof) == (subproof(old, ENTRIES[:size]) if old else [])
    verify_consistency(old_size=old, old_root=LOG.root(old), size=size, root=LOG.root(size), proof=proof)


def flipped(value, bit):
    at, mask = divmod(bit % (8 * len(value)), 8)
    return value[:at] + bytes([value[at] ^ 1 << mask]) + value[at + 1 :]


def spoiled(proof, data):
    """The same hashes with one thing changed: a bit, one left out, one too many, two exchanged."""
    proof = list(proof)
    kinds = ["more in front", "more at the end", "short hash"]
    kinds += ["bit", "less", "long hash"] if proof else []
    kinds += ["exchanged"] if len(set(proof)) > 1 else []
    kind = data.draw(st.sampled_from(kinds))
    at = data.draw(st.integers(0, max(0, len(proof) - 1)))
    if kind == "bit":
        proof[at] = flipped(proof[at], data.draw(st.integers(0, 255)))
    elif kind == "less":
        del proof[at]
    elif kind == "long hash":
        proof[at] += b"\x00"
    elif kind == "exchanged":
        other = next(number for number, value in enumerate(proof) if value != proof[at])
        proof[at], proof[other] = proof[other], proof[at]
    else:
        extra = bytes(31) if kind == "short hash" else data.draw(st.sampled_from([bytes(32), *proof]))
        proof.insert(0 if kind == "more in front" else len(proof), extra)
    return proof


@given(inclusions(), st.data())
def test_an_inclusion_proof_in_which_anything_is_changed_fails(case, data):
    index, size = case
    right = {
        "leaf": HASHES[index],
        "index": index,
        "size": size,
        "proof": path(index, ENTRIES[:size]),
        "root": LOG.root(size),
    }
    bit = data.draw(st.integers(0, 255))
    wrong = data.draw(
        st.sampled_from(
            [
                {"leaf": flipped(right["leaf"], bit)},
                {"root": flipped(right["root"], bit)},
                {"root": LOG.root(size - 1)},
                {"index": index + 1},
                {"index": index - 1},
                {"index": index ^ 1},
                {"index": size},
                {"index": -1},
                {"index": index + 2**64},
                {"leaf": right["leaf"][:31]},
                {"proof": spoiled(right["proof"], data)},
            ]
        )
    )
    verify_inclusion(**right)
    with pytest.raises(Rejected) as refused:
        verify_inclusion(**{**right, **wrong})
    assert refused.value.code == "inclusion-proof"


@given(growths(), st.data())
def test_a_consistency_proof_in_which_anything_is_changed_fails(case, data):
    old, size = case
    right = {
        "old_size": old,
        "old_root": LOG.root(old),
        "size": size,
        "root": LOG.root(size),
        "proof": subproof(old, ENTRIES[:size]) if old else [],
    }
    bit = data.draw(st.integers(0, 255))
    changes = [
        {"old_root": flipped(right["old_root"], bit)},
        {"old_size": size + 1},
        {"old_size": -1},
        {"size": old - 1},
        {"old_root": right["old_root"][:31]},
        {"proof": spoiled(right["proof"], data)},
    ]
    if old:  # whatever tree it is, it appends to the empty one
        changes += [
            {"root": flipped(right["root"], bit)},
            {"old_size": old - 1},
            {"root": LOG.root(size - 1)},
            {"old_size": 0},
        ]
    if old < size:
        changes += [{"old_size": old + 1}, {"old_root": LOG.root(old + 1)}]
    verify_consistency(**right)
    with pytest.raises(Rejected) as refused:
        verify_consistency(**{**right, **data.draw(st.sampled_from(changes))})
    assert refused.value.code == "consistency-proof"


EIGHT = [mth(ENTRIES[at : at + 1]) for at in range(8)]
# Each has a right root, reached from the claimed leaf by hashing; only lengths and the claimed sizes give it away.
FORGED_INCLUSIONS = {
    "a root that is no hash, as the leaf": {"leaf": b"x", "index": 0, "size": 1, "proof": [], "root": b"x"},
    "a byte of the leaf moved to its sibling": {
        "leaf": EIGHT[0][:31],
        "index": 0,
        "size": 2,
        "proof": [EIGHT[0][31:] + EIGHT[1]],
        "root": LOG.root(2),
    },
    "a tree said to be larger": {"leaf": EIGHT[0], "index": 0, "size": 4, "proof": [EIGHT[1]], "root": LOG.root(2)},
    "a tree said to be smaller, and the index with it": {
        "leaf": EIGHT[2],
        "index": 0,
        "size": 2,
        "proof": path(2, ENTRIES[:4]),
        "root": LOG.root(4),
    },
    "the inner node of a larger tree as a leaf": {
        "leaf": node_hash(EIGHT[0], EIGHT[1]),
        "index": 0,
        "size": 4,
        "proof": path(0, ENTRIES[:4])[1:],
        "root": LOG.root(4),
    },
}


@pytest.mark.parametrize("what", FORGED_INCLUSIONS)
def test_a_forged_inclusion_fails_with(what):
    with pytest.raises(Rejected) as refused:
        verify_inclusion(**FORGED_INCLUSIONS[what])
    assert refused.value.code == "inclusion-proof"


FORGED_GROWTH = {
    "no proof at all": (3, LOG.root(3), 4, LOG.root(4), []),
    "a byte of the old root moved to its sibling": (1, EIGHT[0][:31], 2, LOG.root(2), [EIGHT[0][31:] + EIGHT[1]]),
    "a tree said to be larger": (1, LOG.root(1), 4, LOG.root(2), [EIGHT[1]]),
    "both trees said to be smaller": (3, LOG.root(7), 4, LOG.root(8), subproof(7, ENTRIES[:8])),
}


@pytest.mark.parametrize("what", FORGED_GROWTH)
def test_a_forged_growth_fails_with(what):
    old_size, old_root, size, root, proof = FORGED_GROWTH[what]
    with pytest.raises(Rejected) as refused:
        verify_consistency(old_size=old_size, old_root=old_root, size=size, root=root, proof=proof)
    assert refused.value.code == "consistency-proof"


@pytest.mark.parametrize("size", [1, 2, 3, 256, 700])
def test_nothing_but_the_empty_tree_s_root_stands_for_size_0(size):
    verify_consistency(old_size=0, old_root=EMPTY_ROOT, size=size, root=LOG.root(size), proof=[])
    for old_root, proof in [(LOG.root(size), []), (bytes(32), []), (EMPTY_ROOT, [LOG.root(size)])]:
        with pytest.raises(Rejected):
            verify_consistency(old_size=0, old_root=old_root, size=size, root=LOG.root(size), proof=proof)


def test_two_roots_of_size_0_agree_only_if_both_are_the_empty_tree_s():
    verify_consistency(old_size=0, old_root=EMPTY_ROOT, size=0, root=EMPTY_ROOT, proof=[])
    with pytest.raises(Rejected):
        verify_consistency(old_size=0, old_root=bytes(32), size=0, root=bytes(32), proof=[])


def test_one_size_with_two_roots_is_a_split_view_whatever_the_proof():
    other = LOG.root(300)
    for proof in ([], subproof(200, ENTRIES[:300])):
        with pytest.raises(Rejected):
            verify_consistency(old_size=200, old_root=LOG.root(200), size=200, root=other, proof=proof)


def test_a_proof_is_not_made_without_the_tiles_that_it_needs():
    needed = LOG.given(tiles_for_inclusion(10, 700))
    assert needed
    for tile in needed:
        with pytest.raises(Missing) as refused:
            inclusion_proof(10, 700, {key: raw for key, raw in needed.items() if key != tile})
        assert refused.value.code == "tile-missing"
        with pytest.raises(Malformed) as refused:
            inclusion_proof(10, 700, {**needed, tile: needed[tile][:-1]})
        assert refused.value.code == "tile-malformed"


def test_a_proof_needs_the_tiles_as_wide_as_that_tree_has_them():
    assert tiles_for_inclusion(600, 700) == {Tile(0, 2, 188), Tile(1, 0, 2)}
    assert tiles_for_consistency(256, 512) == {Tile(1, 0, 2)}
    assert replace(Tile(0, 2, 188), width=256).exists_in(700) is False


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 5), (5, 5), (0, 2**63)])
def test_no_entry_no_proof(index, size):
    with pytest.raises(Missing) as refused:
        inclusion_proof(index, size, {})
    assert refused.value.code == "entry-unknown"


@pytest.mark.parametrize(("old", "size"), [(2, 1), (-1, 1), (0, 2**63)])
def test_no_older_tree_no_proof(old, size):
    with pytest.raises(Missing) as refused:
        consistency_proof(old, size, {})
    assert refused.value.code == "tree-unknown"
