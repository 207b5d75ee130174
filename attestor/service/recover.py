"""Bring back from a copy of the log what the database has lost: byte for byte, or not at all (design §8).

Order of effects: the sequencer's lock; every entry of the copy, hashed and held against the database's own, the anchor and the
signed root; what is missing, appended; the checkpoint and the state; the commit. A copy that proves wrong at its very end has
changed nothing.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

from attestor.core.entries import Received, SignatureEntry, WithdrawalEntry
from attestor.core.entrybytes import Outgoing, outgoing_of, read_entry
from attestor.core.errors import Malformed, Missing, Rejected
from attestor.core.tlog.checkpoint import Checkpoint, open_checkpoint
from attestor.core.tlog.merkle import EMPTY, Frontier, TileNode, completed_nodes, leaf_hash
from attestor.core.tlog.note import Note, VerifierKey, parse_note
from attestor.service.export import Progress
from attestor.service.logports import LogSource, Sequenced

AT_ONCE: Final = 2048
"""Entries of one step."""


@dataclass(frozen=True, slots=True)
class NamedBytes:
    """Something that an operator sent, as a log entry names it; ``sha256`` is of the envelope as it came."""

    operator: str
    payload: bytes
    release: str
    """A release that it speaks of."""
    sha256: bytes


@dataclass(frozen=True, slots=True)
class NamedSignature:
    """A signature that was made, as a log entry names it."""

    release: str
    sha256: bytes


class Recovering(Protocol):
    """One transaction under the sequencer's lock; nothing of it stays unless its context is left without an exception."""

    @property
    def size(self) -> int:
        """The tree size that the database states."""

    @property
    def root(self) -> bytes:
        """The root hash that it states for it."""

    async def leaves(self, start: int, end: int) -> list[bytes]:
        """The leaf hashes of the entries that the database holds, computed from their bytes. Raises ``Halted`` ``log-gap``."""

    async def append(self, entries: Sequence[Sequenced], nodes: Sequence[TileNode]) -> None:
        """Add what is missing. Raises ``Halted`` ``log-root`` where rows stand beyond the stated size."""

    async def conclude(self, frontier: Frontier, note: bytes, cosignatures: Mapping[str, str]) -> int:
        """Set and publish the state, keep the checkpoint, and take out of the outbox what is in the log; say how many."""

    async def lost_payloads(self, named: Sequence[NamedBytes]) -> list[NamedBytes]:
        """Those whose envelope the database does not hold."""

    async def lost_withdrawals(self, named: Sequence[NamedBytes]) -> list[NamedBytes]:
        """Those withdrawals that it does not hold."""

    async def lost_signatures(self, named: Sequence[NamedSignature]) -> list[NamedSignature]:
        """Those signatures that it does not hold."""


class Recovery(Protocol):
    """The log's owner."""

    def recovering(self) -> AbstractAsyncContextManager[Recovering]:
        """Wait for the sequencer's lock. Raises ``Unavailable``."""


@dataclass(slots=True)
class Recovered:
    """What came back, and what is named in the log and still not there."""

    before: int
    after: int
    outbox: int = 0
    """Rows that waited for the log, and stand in it."""
    payloads: list[NamedBytes] = field(default_factory=list)
    """To be submitted again by their operators."""
    withdrawals: list[NamedBytes] = field(default_factory=list)
    """To be submitted again by their operators."""
    signatures: list[NamedSignature] = field(default_factory=list)
    """Made and logged: whoever fetched one has it."""


async def recover(  # noqa: PLR0913 - what it rests on, each by name
    source: LogSource,
    recovery: Recovery,
    key: VerifierKey,
    *,
    anchor: Checkpoint,
    witnesses: Mapping[str, VerifierKey],
    progress: Progress,
) -> Recovered:
    """Append to the database's log what *source* has beyond it, up to its checkpoint.

    Raises ``Rejected``: ``export-behind-anchor``, ``export-behind-log``, ``export-broken``, and ``log-forked`` when the
    database holds entries that nobody else has; ``Missing`` ``export-empty``; ``Malformed`` ``entry-malformed``.
    """
    note, checkpoint = await _offered(source, key)
    if checkpoint.size < anchor.size:
        raise Rejected(
            "export-behind-anchor",
            f"The export has {checkpoint.size} entries, and the signer has seen {anchor.size}: find a later one, at whoever "
            "mirrors or audits the log. Entries that nobody has mean a new log origin.",
        )
    async with recovery.recovering() as log:
        if checkpoint.size < log.size:
            raise Rejected(
                "export-behind-log",
                f"The export has {checkpoint.size} entries, and the database {log.size}: there is nothing to bring back.",
            )
        recovered = Recovered(log.size, checkpoint.size)
        frontier = await _Bringing(source, log, recovered, progress).up_to(checkpoint, anchor)
        recovered.outbox = await log.conclude(frontier, _own_note(note, key), _cosignatures(note, witnesses))
    return recovered


async def _offered(source: LogSource, key: VerifierKey) -> tuple[Note, Checkpoint]:
    raw = await source.checkpoint()
    if raw is None:
        raise Missing(
            "export-empty", "There is no checkpoint in this export: give the folder that attestor log export wrote."
        )
    return parse_note(raw), open_checkpoint(raw, key)


class _Bringing:
    def __init__(self, source: LogSource, log: Recovering, recovered: Recovered, progress: Progress) -> None:
        self._source: Final = source
        self._log: Final = log
        self._recovered: Final = recovered
        self._progress = progress
        self._seen: set[tuple[str, str]] = set()

    async def up_to(self, checkpoint: Checkpoint, anchor: Checkpoint) -> Frontier:
        expected = {0: EMPTY.root}
        for size, root in ((anchor.size, anchor.root), (self._log.size, self._log.root)):
            if expected.setdefault(size, root) != root:
                raise _forked(f"Database and anchor have different roots at {size} entries.")
        frontier = EMPTY
        while frontier.size < checkpoint.size:
            stops = (size for size in (*expected, checkpoint.size) if size > frontier.size)
            frontier = await self._step(frontier, min(frontier.size + AT_ONCE, *stops, checkpoint.size))
            if expected.get(frontier.size, frontier.root) != frontier.root:
                raise _forked(f"The export has another root at {frontier.size} entries than database or anchor.")
            self._progress(frontier.size, checkpoint.size)
        if frontier.root != checkpoint.root:
            raise Rejected(
                "export-broken",
                "The export's entries do not come to the root of its checkpoint: use another copy of the log.",
            )
        return frontier

    async def _step(self, before: Frontier, end: int) -> Frontier:
        raws = await self._source.entries(before.size, end)
        leaves = [leaf_hash(raw) for raw in raws]
        entries = [self._read(index, raw) for index, raw in enumerate(raws, before.size)]
        if before.size < self._log.size:
            for index, (ours, theirs) in enumerate(
                zip(leaves, await self._log.leaves(before.size, end), strict=True), before.size
            ):
                if ours != theirs:
                    raise _forked(f"Entry {index} of the database is not that of the export.")
        else:
            placed = [
                Sequenced(index, leaf, entry[1])
                for index, (leaf, entry) in enumerate(zip(leaves, entries, strict=True), before.size)
            ]
            await self._log.append(placed, completed_nodes(before, leaves))
        await self._look_for([entry for entry, _ in entries])
        return before.extended(leaves)

    def _read(self, index: int, raw: bytes) -> tuple[object, Outgoing]:
        try:
            entry = read_entry(raw)
        except Malformed as error:
            raise Malformed(
                error.code, f"Entry {index} of the export: {error.sentence} Did a newer version of attestor write it?"
            ) from None
        return entry, outgoing_of(entry)

    async def _look_for(self, entries: Sequence[object]) -> None:
        """Find what these entries name and the database does not hold."""
        log, recovered = self._log, self._recovered
        recovered.payloads += await log.lost_payloads([named for entry in entries for named in self._payloads(entry)])
        recovered.withdrawals += await log.lost_withdrawals(
            [
                NamedBytes(entry.operator, bytes.fromhex(entry.payload), entry.release, bytes.fromhex(entry.envelope))
                for entry in entries
                if isinstance(entry, WithdrawalEntry)
            ]
        )
        recovered.signatures += await log.lost_signatures(
            [
                NamedSignature(entry.release, bytes.fromhex(entry.signature))
                for entry in entries
                if isinstance(entry, SignatureEntry)
            ]
        )

    def _payloads(self, entry: object) -> list[NamedBytes]:
        """The first entry that names a payload says which envelope is to be shown for it."""
        named = []
        for vote in entry.votes if isinstance(entry, Received) else ():
            if (vote.operator, vote.payload) not in self._seen:
                self._seen.add((vote.operator, vote.payload))
                named.append(
                    NamedBytes(
                        vote.operator, bytes.fromhex(vote.payload), vote.releases[0], bytes.fromhex(vote.envelope)
                    )
                )
        return named


def _own_note(note: Note, key: VerifierKey) -> bytes:
    """The checkpoint as the log itself signed it."""
    own = next(line for line in note.lines if (line.name, line.key_id) == (key.name, key.key_id))
    return f"{note.text}\n{own.text}\n".encode()


def _cosignatures(note: Note, witnesses: Mapping[str, VerifierKey]) -> dict[str, str]:
    return {
        name: line.text
        for name, key in witnesses.items()
        for line in note.lines
        if (line.name, line.key_id) == (key.name, key.key_id) and key.verifies(note.text, line.signature)
    }


def _forked(what: str) -> Rejected:
    return Rejected(
        "log-forked",
        f"{what} Nothing was changed. If this export is the true one, the database has entries that nobody else has, and going on "
        "needs a new log origin: a new log key in the policy, and an empty database. Keep both as evidence.",
    )
