"""What the use cases need of the log, of a signer's memory and of witnesses, as narrow Protocols with written promises."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from attestor.core.entrybytes import Outgoing
from attestor.core.past import Fact, Remembered, RulesPast, RulesQuestion
from attestor.core.tlog.checkpoint import Checkpoint
from attestor.core.tlog.merkle import Frontier, TileNode
from attestor.core.tlog.tiles import Tile


class LogSource(Protocol):
    """A log as anybody reads it: over HTTP, from a static tree, or from the database. Nothing of it is believed unproven."""

    async def checkpoint(self) -> bytes | None:
        """The published checkpoint as a signed note with its cosignatures; ``None`` before the first."""

    async def tile(self, tile: Tile) -> bytes:
        """A hash tile or (level -1) an entry bundle, exactly of its width. Raises ``Missing`` ``tile-unknown``, ``Unavailable``."""

    async def entries(self, start: int, end: int) -> list[bytes]:
        """The entries from index *start* up to before *end*, at most 4,096 at once.

        Raises ``Halted`` ``log-gap`` when one that the published size promises is not there, ``Unavailable``.
        """


@dataclass(frozen=True, slots=True)
class LogState:
    """How far the log has come; ``published`` is the size of the checkpoint that readers are shown."""

    frontier: Frontier
    published: int


@dataclass(frozen=True, slots=True)
class Sequenced:
    """An entry with its place."""

    index: int
    leaf: bytes
    outgoing: Outgoing


class Sequencing(Protocol):
    """One transaction that alone may append. Durable when its context is left without an exception, else nothing of it stays."""

    @property
    def state(self) -> LogState:
        """As of the lock, its root compared with what its frontier comes to."""

    async def drain(self, limit: int) -> list[Outgoing]:
        """Take up to *limit* entries out of the outbox, oldest first, without those whose key is in the log already."""

    async def append(
        self, entries: Sequence[Sequenced], nodes: Sequence[TileNode], frontier: Frontier, note: bytes, *, publish: bool
    ) -> None:
        """Write all of it, by compare-and-swap on the size that was read. Raises ``Conflict`` ``log-moved``."""


class LogBook(Protocol):
    """The sequencer's side of the log."""

    def sequencing(self) -> AbstractAsyncContextManager[Sequencing | None]:
        """Take the one lock; ``None`` when another process has it just now. Raises ``Unavailable``, ``Halted`` ``log-root``."""

    async def newest(self) -> tuple[LogState, bytes | None]:
        """The state, and the newest signed checkpoint (log's own signature only)."""

    async def cosigned(self, size: int, witness: str, line: str) -> None:
        """Keep a witness's cosignature line of the checkpoint of this size; the first one stands."""

    async def cosignatures(self, size: int) -> dict[str, str]:
        """Witness name to cosignature line, for the checkpoint of this size."""

    async def publish(self, size: int) -> None:
        """Show readers the checkpoint of this size, unless a larger one is shown."""

    async def witness_size(self, witness: str) -> int:
        """The size that this witness is known to have accepted; 0 before the first."""

    async def keep_witness_size(self, witness: str, size: int) -> None: ...

    async def tile(self, tile: Tile) -> bytes:
        """Any tile up to the signed size, for consistency proofs."""

    async def due(self, seconds: float) -> None:
        """Return when something may be in the outbox, and at the latest after *seconds*."""


@dataclass(frozen=True, slots=True)
class WitnessAt:
    """A witness's word that the newest checkpoint it accepted has this size, not the one that the proof began at."""

    size: int


class Witness(Protocol):
    """One C2SP tlog-witness."""

    @property
    def name(self) -> str: ...

    async def add_checkpoint(self, old_size: int, proof: Sequence[bytes], checkpoint: bytes) -> str | WitnessAt:
        """The cosignature line without its newline, verified under the witness's key, or where the witness is instead.

        Raises ``Halted`` ``split-view``, ``Rejected`` ``witness-…``, ``Unavailable`` ``witness-unavailable``.
        """


class CatchUp(Protocol):
    """One step of a memory forward; nothing of it stays unless it is settled."""

    @property
    def anchor(self) -> Checkpoint:
        """As it was when the step began, which nobody else can move meanwhile."""

    @property
    def frontier(self) -> Frontier:
        """Of all entries that were folded, with those taken in this step."""

    async def take(self, leaves: Sequence[bytes], facts: Sequence[tuple[int, Fact]]) -> Frontier:
        """Add the next entries: leaf hashes, and (index, fact) pairs. Returns the frontier with them.

        Raises ``Halted``: ``release-signed-twice`` (two digests of one release), ``policy-forked`` (one serial, two digests),
        ``other-signer`` (a policy entry above this anchor's beginning by another anchor, where *alone* is set).
        """

    async def settle(self, checkpoint: Checkpoint, note: bytes) -> None:
        """Keep all of it, then move the anchor to this checkpoint: both durable on return, in this order."""


class Memory(Protocol):
    """What one signer remembers outside the database: the anchor, and what it folded from the log (design §8)."""

    @property
    def anchor_id(self) -> str:
        """32 hex digits, drawn when a person made the anchor."""

    async def anchor(self) -> Checkpoint:
        """The last accepted checkpoint. Raises ``Halted`` ``anchor-missing``, ``anchor-unreadable``."""

    async def frontier(self) -> Frontier:
        """Of all entries that were folded."""

    def catching_up(self, *, alone: bool) -> AbstractAsyncContextManager[CatchUp]:
        """One writer at a time, also among processes that share the anchor's folder."""

    async def release(self, release_id: str) -> Remembered:
        """What the folded entries say of one release."""

    async def rules(self, question: RulesQuestion) -> RulesPast:
        """What the folded entries say of other releases, as the rules of a tier ask it."""

    async def policy(self) -> tuple[int, str] | None:
        """(serial, digest) of the newest policy that a signer logged."""

    async def forged(self) -> int:
        """How many folded entries claim to be a signer's and carry no seal of one."""

    async def leaves(self, start: int, end: int) -> list[bytes]:
        """Leaf hashes that were folded, for a look whether the log still holds them."""


@dataclass(frozen=True, slots=True)
class Archived:
    """All that the database holds of one signed release, as a bundle needs it; nothing in it is believed."""

    signature: bytes
    size: int
    sha256: bytes
    sha512: bytes
    decision: tuple[int, bytes]
    """(index, entry)."""
    signed: tuple[int, bytes]
    documents: dict[bytes, bytes]
    """SHA-256 to body: evidence, summary, policy, manifests of approvals."""
    envelopes: tuple[bytes, ...]
    withdrawals: tuple[bytes, ...]


class Archive(Protocol):
    """Where a bundle's parts are kept."""

    async def signed(self, release_id: str, sha256: bytes | None) -> Archived | None:
        """The first signature of a release, or of these bytes of it, that is not sealed any more; ``None`` where there is none."""
