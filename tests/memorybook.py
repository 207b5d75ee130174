"""The sequencer's side of a log, in memory (port ``LogBook``, as far as witnesses need it), every row of it open to tests."""

from attestor.core.tlog.checkpoint import sign_checkpoint
from attestor.core.tlog.merkle import EMPTY, leaf_hash
from attestor.service.logports import LogState
from tests.memorylog import SIGNER, MemoryLog, words


class MemoryBook:
    def __init__(self, size=0, *, publish=False, signer=SIGNER):
        self.log = MemoryLog(signer=signer)
        self.publishing = publish
        self.published = 0
        self.history = []
        self.notes = {}
        self.lines = {}
        self.sizes = {}
        self.append(size)

    def append(self, count, prefix="entry"):
        self.log.grow(words(self.log.size + count, prefix)[self.log.size :])
        checkpoint = self.log.checkpoint_at(self.log.size)
        self.notes[checkpoint.size] = sign_checkpoint(checkpoint, self.log.signer)
        if self.publishing:
            self.published = checkpoint.size

    def rolled_back(self, size):
        """What a restore of an older backup leaves."""
        other = MemoryBook(size, publish=self.publishing, signer=self.log.signer)
        other.lines = {key: line for key, line in self.lines.items() if key[0] <= size}
        other.sizes = {name: min(known, size) for name, known in self.sizes.items()}
        other.published = min(self.published, size)
        return other

    def shown(self):
        """What readers get: the published checkpoint with its cosignatures."""
        lines = [line for (size, _), line in sorted(self.lines.items()) if size == self.published]
        return self.notes[self.published] + "".join(f"{line}\n" for line in lines).encode()

    async def newest(self):
        frontier = EMPTY.extended([leaf_hash(entry) for entry in self.log.stored])
        return LogState(frontier, self.published), self.notes.get(frontier.size)

    async def cosigned(self, size, witness, line):
        self.lines.setdefault((size, witness), line)

    async def cosignatures(self, size):
        return {witness: line for (at, witness), line in self.lines.items() if at == size}

    async def publish(self, size):
        assert size in self.notes
        self.published = max(self.published, size)
        self.history.append(size)

    async def witness_size(self, witness):
        return self.sizes.get(witness, 0)

    async def keep_witness_size(self, witness, size):
        self.sizes[witness] = size

    async def tile(self, tile):
        return await self.log.tile(tile)
