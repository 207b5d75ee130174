"""A log in memory, and a whole history of entries for it."""

from attestor.core.errors import Missing
from attestor.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestor.core.tlog.merkle import EMPTY, leaf_hash
from attestor.core.tlog.note import NoteSigner
from attestor.core.tlog.tiles import BUNDLE, TILE, encode_bundle
from attestor.service.tilewise import entries_of

SIGNER = NoteSigner.create("log.example/test", bytes(range(32)))


def words(count, prefix="entry"):
    return [f"{prefix} {number}".encode() for number in range(count)]


class MemoryLog:
    """A LogSource whose every answer can be spoilt: ``spoilt`` is tile path to the bytes served instead, None for not there."""

    def __init__(self, entries=(), signer=SIGNER):
        self.signer = signer
        self.stored = list(entries)
        self.size = len(self.stored)
        self.spoilt = {}
        self.note = None
        self.asked = []

    @property
    def key(self):
        return self.signer.verifier

    def grow(self, entries):
        self.stored += entries
        self.size = len(self.stored)

    def checkpoint_at(self, size):
        root = EMPTY.extended([leaf_hash(entry) for entry in self.stored[:size]]).root
        return Checkpoint(self.key.name, size, root)

    async def checkpoint(self):
        return self.note or sign_checkpoint(self.checkpoint_at(self.size), self.signer)

    async def tile(self, tile):
        self.asked.append(tile.path)
        raw = self.spoilt[tile.path] if tile.path in self.spoilt else self.bytes_of(tile)
        if raw is None or not tile.exists_in(self.size):
            raise Missing("tile-unknown", "There is no such tile.")
        return raw

    def bytes_of(self, tile):
        if not tile.exists_in(self.size):
            return None
        first = tile.index * TILE
        if tile.level == BUNDLE:
            return encode_bundle(self.stored[first : first + tile.width])
        return b"".join(self._node(tile.level, first + at) for at in range(tile.width))

    async def entries(self, start, end):
        return await entries_of(self.tile, start, end)

    def _node(self, level, index):
        span = TILE**level
        return EMPTY.extended([leaf_hash(entry) for entry in self.stored[index * span : (index + 1) * span]]).root
