"""Append to the log: drain the outbox, give each entry its place, sign the checkpoint, all in one transaction (design §8).

Order of effects: the lock; the drain; hashes; the signature; entries, nodes, checkpoint and state by compare-and-swap; the
commit. Nobody sees a checkpoint before it is durable, and whoever dies on the way leaves the outbox as it was.
"""

from collections.abc import Sequence
from typing import Final

from attestor.core.entrybytes import Outgoing
from attestor.core.errors import Conflict
from attestor.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestor.core.tlog.merkle import Frontier, completed_nodes, leaf_hash
from attestor.core.tlog.note import NoteSigner
from attestor.service.logports import LogBook, Sequenced, Sequencing

AT_ONCE: Final = 2048
"""Entries of one checkpoint."""


class Sequencer:
    """One per process; any number of processes may run one, and their transactions take turns."""

    def __init__(self, book: LogBook, signer: NoteSigner, *, publish: bool) -> None:
        """*publish*: a checkpoint is shown as soon as it is signed, because no witness has to cosign it first."""
        self._book = book
        self._signer = signer
        self._publish = publish

    def load(self, *, publish: bool) -> None:
        """Show checkpoints as another policy says, from the next append on."""
        self._publish = publish

    async def begin(self) -> None:
        """Sign the empty tree's checkpoint where there is none yet, so that whoever follows finds a beginning."""
        _, note = await self._book.newest()
        if note is None:
            async with self._book.sequencing() as sequencing:
                if sequencing is not None and sequencing.state.frontier.size == 0:
                    await self._append(sequencing, [])

    async def sequence(self) -> int:
        """Append what waits in the outbox, and return how many entries that were; 0 also when another process is at it.

        Raises ``Unavailable``, and ``Halted`` when the stored state contradicts itself.
        """
        try:
            async with self._book.sequencing() as sequencing:
                taken = await sequencing.drain(AT_ONCE) if sequencing is not None else []
                if sequencing is not None and taken:
                    await self._append(sequencing, taken)
        except Conflict:
            return 0
        return len(taken)

    async def _append(self, sequencing: Sequencing, taken: Sequence[Outgoing]) -> None:
        before = sequencing.state.frontier
        leaves = [leaf_hash(outgoing.entry) for outgoing in taken]
        after = before.extended(leaves)
        entries = [
            Sequenced(before.size + place, leaf, outgoing)
            for place, (leaf, outgoing) in enumerate(zip(leaves, taken, strict=True))
        ]
        note = sign_checkpoint(self._checkpoint(after), self._signer)
        await sequencing.append(entries, completed_nodes(before, leaves), after, note, publish=self._publish)

    def _checkpoint(self, frontier: Frontier) -> Checkpoint:
        return Checkpoint(self._signer.verifier.name, frontier.size, frontier.root)
