"""The Merkle tree as RFC 6962 §2.1 defines it, in its own recursion, and a log's static tree written with the code under test."""

import hashlib

from attestor.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestor.core.tlog.merkle import EMPTY, completed_nodes, leaf_hash
from attestor.core.tlog.tiles import BUNDLE, TILE, encode_bundle, tiles_of


def split(count):
    """The largest power of two below ``count``."""
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def mth(entries):
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    at = split(len(entries))
    return hashlib.sha256(b"\x01" + mth(entries[:at]) + mth(entries[at:])).digest()


def path(index, entries):
    if len(entries) == 1:
        return []
    at = split(len(entries))
    if index < at:
        return [*path(index, entries[:at]), mth(entries[at:])]
    return [*path(index - at, entries[at:]), mth(entries[:at])]


def subproof(old, entries, *, whole=True):
    if old == len(entries):
        return [] if whole else [mth(entries)]
    at = split(len(entries))
    if old <= at:
        return [*subproof(old, entries[:at], whole=whole), mth(entries[at:])]
    return [*subproof(old - at, entries[at:], whole=False), mth(entries[:at])]


class GrownLog:
    """A log that grew batch by batch: its frontiers by size, and every tile of every such size."""

    def __init__(self, entries, sizes):
        self.entries = entries
        self.frontiers = {0: EMPTY}
        self.rows = [[leaf_hash(entry) for entry in entries]] + [[] for _ in range(7)]
        now = EMPTY
        for size in sizes:
            batch = self.rows[0][now.size : size]
            for node in completed_nodes(now, batch):
                assert node.index == len(self.rows[node.level])
                self.rows[node.level].append(node.hash)
            now = now.extended(batch)
            self.frontiers[size] = now

    def root(self, size):
        return self.frontiers[size].root

    def tile(self, tile):
        begin = tile.index * TILE
        if tile.level == BUNDLE:
            return encode_bundle(self.entries[begin : begin + tile.width])
        return b"".join(self.rows[tile.level][begin : begin + tile.width])

    def given(self, tiles):
        return {tile: self.tile(tile) for tile in tiles}

    def export(self, folder, signer):
        """Write every tile of every size, and the notes ``checkpoint.SIZE``; give back their names, smallest first."""
        for size in self.frontiers:
            for tile in tiles_of(size):
                target = folder / tile.path
                if not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(self.tile(tile))
            note = sign_checkpoint(Checkpoint(signer.verifier.name, size, self.root(size)), signer)
            (folder / f"checkpoint.{size}").write_bytes(note)
        return [f"checkpoint.{size}" for size in self.frontiers]
