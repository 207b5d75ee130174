"""The Merkle tree of RFC 6962 §2 (RFC 9162 §2.1), kept as a compact range, and the checks of its two proofs.

Hashes are SHA-256, 32 bytes. A leaf is given by its leaf hash everywhere but in :func:`leaf_hash`.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from attestor.core.errors import Malformed, Rejected
from attestor.core.tlog.grammar import HASH_BYTES, MAX_NUMBER

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

Node = tuple[int, int]
"""(level, index): the perfect subtree over the leaves from ``index * 2**level`` on; level 0 are the leaves."""


@dataclass(frozen=True, slots=True)
class TileNode:
    """One hash of a tile above the leaves: the perfect subtree of ``256**level`` leaves, ``level`` at least 1."""

    level: int
    index: int
    hash: bytes


def leaf_hash(entry: bytes) -> bytes:
    """Hash an entry's bytes as a leaf."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two children as their parent."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """The compact range of a tree: the roots of its perfect subtrees, the largest first.

    Raises ``Malformed`` ``frontier-malformed`` unless ``size`` has as many one bits as there are hashes of 32 bytes.
    """

    size: int
    hashes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if (
            not 0 <= self.size <= MAX_NUMBER
            or len(self.hashes) != self.size.bit_count()
            or any(len(one) != HASH_BYTES for one in self.hashes)
        ):
            raise Malformed(
                "frontier-malformed", f"These hashes are not the frontier of a tree of {self.size} entries."
            )

    @property
    def root(self) -> bytes:
        """The root hash (MTH)."""
        if not self.hashes:
            return EMPTY_ROOT
        *rest, root = self.hashes
        for left in reversed(rest):
            root = node_hash(left, root)
        return root

    def extended(self, leaves: Sequence[bytes]) -> "Frontier":
        """The frontier after appending ``leaves``, given as leaf hashes."""
        stack = list(self.hashes)
        for _ in _append(stack, self.size, leaves):
            pass
        return Frontier(self.size + len(leaves), tuple(stack))

    def encode(self) -> bytes:
        """The hashes one after the other, 32 bytes each."""
        return b"".join(self.hashes)

    @staticmethod
    def decode(size: int, raw: bytes) -> "Frontier":
        """Read what :meth:`encode` made for a tree of ``size``; raises as the class does."""
        return Frontier(size, tuple(raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)))


EMPTY: Final = Frontier(0, ())


def completed_nodes(before: Frontier, leaves: Sequence[bytes]) -> list[TileNode]:
    """The hashes above the leaves' tiles that become complete when ``leaves`` (leaf hashes) are appended, lower ones first.

    A tile hash of level L is complete with its 256**L leaves (tlog-tiles, "Merkle Tree").
    """
    made = _append(list(before.hashes), before.size, leaves)
    return [TileNode(level // 8, index, value) for level, index, value in made if level % 8 == 0]


def _append(stack: list[bytes], size: int, leaves: Sequence[bytes]) -> Iterator[tuple[int, int, bytes]]:
    """Extend ``stack`` in place; yield (binary level, index, hash) of each parent that this completes."""
    for position, leaf in enumerate(leaves, start=size + 1):
        stack.append(leaf)
        for level in range(1, (position & -position).bit_length()):
            right = stack.pop()
            stack[-1] = node_hash(stack[-1], right)
            yield level, (position >> level) - 1, stack[-1]


def verify_inclusion(*, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that ``leaf`` (a leaf hash) is entry ``index`` of the tree of ``size`` entries under ``root`` (RFC 9162 §2.1.3.2).

    ``proof`` runs from the leaf's sibling upwards. Raises ``Rejected`` ``inclusion-proof``.
    """
    if not 0 <= index < size <= MAX_NUMBER or not _are_hashes(leaf, *proof, root):
        raise _not_included(index, size)
    node, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise _not_included(index, size)
        if node & 1 or node == last:
            value = node_hash(sibling, value)
            node, last = _skip_missing_siblings(node, last)
        else:
            value = node_hash(value, sibling)
        node, last = node >> 1, last >> 1
    if last != 0 or value != root:
        raise _not_included(index, size)


def verify_consistency(*, old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of ``size`` under ``root`` only appends to the one of ``old_size`` (RFC 9162 §2.1.4.2).

    Equal sizes need equal roots, size 0 the empty tree's root, and both an empty proof. Raises ``Rejected``
    ``consistency-proof``.
    """
    if not 0 <= old_size <= size <= MAX_NUMBER or not _are_hashes(old_root, *proof, root):
        raise _not_consistent(old_size, size)
    if old_size in {0, size}:
        expected = root if old_size == size else EMPTY_ROOT
        consistent = not proof and old_root == expected and (size != 0 or root == EMPTY_ROOT)
    else:
        consistent = _roots_of(old_size, old_root, size, proof) == (old_root, root)
    if not consistent:
        raise _not_consistent(old_size, size)


def _roots_of(old_size: int, old_root: bytes, size: int, proof: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """The two roots that the proof leads to; ``None`` if its length does not fit the sizes."""
    # The old root itself is the first hash where the old tree is one perfect subtree, and then left out of the proof.
    path = [old_root, *proof] if old_size.bit_count() == 1 else list(proof)
    if not path:
        return None
    node, last = old_size - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return None
        if node & 1 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            node, last = _skip_missing_siblings(node, last)
        else:
            new = node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    return (old, new) if last == 0 else None


def _skip_missing_siblings(node: int, last: int) -> tuple[int, int]:
    """Go up from the right edge past the levels where the node has no sibling; ``node`` may already be a right child."""
    while node and not node & 1:
        node, last = node >> 1, last >> 1
    return node, last


def _are_hashes(*values: bytes) -> bool:
    return all(len(value) == HASH_BYTES for value in values)


def _not_included(index: int, size: int) -> Rejected:
    return Rejected(
        "inclusion-proof",
        f"The proof does not show the entry at index {index} of the tree of {size} entries; "
        "fetch proof and checkpoint again, and suspect the log if this stays.",
    )


def _not_consistent(old_size: int, size: int) -> Rejected:
    return Rejected(
        "consistency-proof",
        f"The proof does not show that the tree of {size} entries only appends to the one of {old_size}; "
        "fetch it again, and suspect a forked or rolled-back log if this stays.",
    )
