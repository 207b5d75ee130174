"""What a signer remembers: it follows the log by itself, entry by entry, and halts where log and memory part (P9, design §8).

Every entry is hashed into the signer's own frontier, so a checkpoint is accepted only when the very entries that the signer
folded come to its root: consistency is recomputed, not believed. The anchor moves with every checkpoint, also when idle.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, NoReturn

from attestor.core.errors import Halted, Rejected, Unavailable
from attestor.core.past import Remembered, RulesPast, RulesQuestion, facts_of
from attestor.core.policy import LogPolicy, Policy
from attestor.core.seal import SealRing
from attestor.core.tlog.checkpoint import Checkpoint, open_checkpoint
from attestor.core.tlog.cosignature import cosignatures
from attestor.core.tlog.merkle import Frontier, leaf_hash, verify_inclusion
from attestor.core.tlog.note import parse_note
from attestor.core.tlog.proofs import inclusion_proof
from attestor.core.tlog.tiles import tiles_for_inclusion
from attestor.service.logports import CatchUp, LogSource, Memory

AT_ONCE: Final = 2048
"""Entries that are folded in one step."""
SCRUB_AT_ONCE: Final = 1024
"""Old entries that are looked at again at each quiet moment."""
_RECOVER: Final = (
    "Nothing is signed. Find out which of the two is right; if the database was restored or failed over, bring the missing "
    "entries back with `attestor log recover --from EXPORT`; entries that nobody has need a new log origin."
)


class Past:
    """One per process that follows a log."""

    def __init__(self, source: LogSource, memory: Memory, policy: Policy, *, alone: bool) -> None:
        """*alone*: no other signer may seal entries, because none shares this memory and no witness watches both."""
        self._source = source
        self._memory = memory
        self._policy = policy
        self._alone = alone
        self._lock = asyncio.Lock()
        self._seen: int | None = None
        self._scrubbed = 0
        self._expected: defaultdict[bytes, set[asyncio.Future[int]]] = defaultdict(set)
        self._moved: asyncio.Future[None] | None = None
        self._wanted = asyncio.Event()
        self._followed: tuple[bytes, int] | None = None
        """The checkpoint that was followed last, and its size."""

    @property
    def anchor_id(self) -> str:
        return self._memory.anchor_id

    @property
    def policy_loaded(self) -> Policy:
        """The policy that this process loaded last."""
        return self._policy

    def load(self, policy: Policy, *, alone: bool) -> None:
        """Follow the same log under another policy: whatever is folded from the next step on is read by it alone."""
        self._policy, self._alone = policy, alone
        # A checkpoint that was enough for the former policy is looked at again.
        self._followed = None

    async def size(self) -> int:
        """The anchor's tree size."""
        return (await self._memory.anchor()).size

    async def follow(self) -> bool:
        """Fold what the published checkpoint has beyond the memory, and move the anchor to it; say whether it moved.

        Raises ``Halted``: ``anchor-…``, ``log-rolled-back``, ``log-forked``, ``log-rewritten``, ``log-gap``,
        ``entry-unreadable`` and what :class:`CatchUp` raises; ``Unavailable`` ``log-empty``, ``witness-quorum``.
        """
        async with self._lock:
            policy, alone = self._policy, self._alone
            note = await self._source.checkpoint()
            if await self._is_followed(note):
                return False
            checkpoint = _opened(note, policy.log)
            async with self._memory.catching_up(alone=alone) as step:
                if step.frontier.size > checkpoint.size:
                    # Another process of this anchor may have gone on since the note was read.
                    note = await self._source.checkpoint()
                    checkpoint = _opened(note, policy.log)
                moved = await self._follow_to(step, checkpoint, note or b"", policy.log.seals)
            if policy is self._policy:
                self._followed = (note, checkpoint.size) if note is not None else None
        return moved

    async def _is_followed(self, note: bytes | None) -> bool:
        """Whether anchor and memory are still there, where this very checkpoint has led them."""
        if self._followed is None or self._followed[0] != note:
            return False
        size = self._followed[1]
        return (await self._memory.anchor()).size >= size and (await self._memory.frontier()).size >= size

    async def _follow_to(self, step: CatchUp, checkpoint: Checkpoint, note: bytes, seals: SealRing) -> bool:
        before = step.frontier.size
        _refuse_other_past(step.anchor, step.frontier, checkpoint)
        moved = (before, step.anchor.size) != (checkpoint.size, checkpoint.size)
        leaves = await self._fold(step, checkpoint, seals) if moved else []
        if moved:
            await step.settle(checkpoint, note)
        await self._tell(before, leaves, checkpoint.size)
        return moved

    async def look_again(self) -> None:
        """Compare some older entries with what was folded, a few at each call, all of them in turn.

        Raises ``Halted`` ``log-rewritten``, ``log-gap``.
        """
        size = (await self._memory.frontier()).size
        start = self._scrubbed if self._scrubbed < size else 0
        end = min(start + SCRUB_AT_ONCE, size)
        if start < end:
            remembered = await self._memory.leaves(start, end)
            stored = [leaf_hash(entry) for entry in await self._source.entries(start, end)]
            for index, (ours, theirs) in enumerate(zip(remembered, stored, strict=True), start):
                if ours != theirs:
                    _halt("log-rewritten", f"Log entry {index} is another than the one that was folded.")
        self._scrubbed = end

    async def release(self, release_id: str, votes: Collection[tuple[str, bytes]], seconds: float) -> Remembered:
        """What the log says of a release, once it names all of *votes* (operator, payload digest), at the latest after *seconds*."""
        clock = asyncio.get_running_loop().time
        ends = clock() + seconds
        while True:
            # Taken before the look, so that no move falls between the two.
            moved = self._next_move()
            remembered = await self._memory.release(release_id)
            if set(votes) <= remembered.received.keys() or (left := ends - clock()) <= 0:
                return remembered
            self._wanted.set()
            await asyncio.wait({moved}, timeout=left)

    async def wanted(self, seconds: float) -> None:
        """Return when somebody waits for the log, and at the latest after *seconds*: until then its entries may gather."""
        if not self._expected:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), seconds)
        self._wanted.clear()

    async def rules(self, question: RulesQuestion) -> RulesPast:
        """What the log says of other releases, as the rules of a tier ask it."""
        return await self._memory.rules(question)

    async def forged(self) -> int:
        """How many entries claim to be a signer's and carry no seal of one: they say nothing, and somebody should look."""
        return await self._memory.forged()

    async def policy(self) -> tuple[int, str] | None:
        """(serial, digest) of the newest policy that a signer logged."""
        return await self._memory.policy()

    @contextmanager
    def expecting(self, raw: bytes) -> Iterator[asyncio.Future[int]]:
        """A future of the index at which *raw* will stand; to be entered before *raw* is enqueued."""
        leaf = leaf_hash(raw)
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._expected[leaf].add(future)
        self._wanted.set()
        try:
            yield future
        finally:
            self._expected[leaf].discard(future)
            if not self._expected[leaf]:
                del self._expected[leaf]

    async def prove(self, index: int, raw: bytes) -> Checkpoint:
        """Check that the log, as it stands now, includes *raw* at *index* under the anchor's root, and return the anchor.

        Raises ``Halted`` ``log-rewritten``, ``log-gap``; ``Unavailable`` ``anchor-behind``.
        """
        anchor = await self._memory.anchor()
        if index >= anchor.size:
            # The fold is committed before the anchor is moved, and may be read in between.
            raise Unavailable("anchor-behind", f"The anchor has not come to log entry {index} yet.")
        try:
            tiles = {tile: await self._source.tile(tile) for tile in tiles_for_inclusion(index, anchor.size)}
            proof = inclusion_proof(index, anchor.size, tiles)
            verify_inclusion(leaf=leaf_hash(raw), index=index, size=anchor.size, proof=proof, root=anchor.root)
        except Rejected as error:
            _halt("log-rewritten", f"The log does not prove entry {index} under the anchor: {error.sentence}")
        return anchor

    async def _fold(self, step: CatchUp, checkpoint: Checkpoint, seals: SealRing) -> list[bytes]:
        """Fold up to the checkpoint, and return the new leaf hashes where somebody expects one."""
        anchor, expected = step.anchor, []
        while (start := step.frontier.size) < checkpoint.size:
            # The anchor's size is one of the stops, so that a memory made anew meets the anchor's root on its way.
            stop = anchor.size if start < anchor.size else checkpoint.size
            entries = await self._source.entries(start, min(start + AT_ONCE, stop))
            leaves = [leaf_hash(raw) for raw in entries]
            facts = [(index, fact) for index, raw in enumerate(entries, start) for fact in facts_of(index, raw, seals)]
            frontier = await step.take(leaves, facts)
            if frontier.size == anchor.size and frontier.root != anchor.root:
                _halt("log-rewritten", f"The log's first {anchor.size} entries do not come to the anchor's root.")
            if self._expected:
                expected += leaves
        if step.frontier.root != checkpoint.root:
            _halt("log-rewritten", f"The log's {checkpoint.size} entries do not come to the root of its checkpoint.")
        return expected

    async def _tell(self, start: int, leaves: Sequence[bytes], size: int) -> None:
        """Wake who waits, also for what another process of this anchor has folded."""
        seen = size if self._seen is None else self._seen
        if self._expected and seen < size:
            if (start, len(leaves)) != (seen, size - seen):
                leaves = await self._memory.leaves(seen, size)
            for index, leaf in enumerate(leaves, seen):
                for future in self._expected.get(leaf, ()):
                    if not future.done():
                        future.set_result(index)
        if seen < size and self._moved is not None and not self._moved.done():
            self._moved.set_result(None)
        self._seen = max(seen, size)

    def _next_move(self) -> asyncio.Future[None]:
        if self._moved is None or self._moved.done():
            self._moved = asyncio.get_running_loop().create_future()
        return self._moved


async def within(included: asyncio.Future[int], seconds: float) -> int:
    """The index of an expected entry. Raises ``Unavailable`` ``log-behind``."""
    try:
        return await asyncio.wait_for(asyncio.shield(included), seconds)
    except TimeoutError:
        raise Unavailable(
            "log-behind", f"The log did not include the entry within {seconds:.0f} s: is a sequencer running?"
        ) from None


def _opened(note: bytes | None, log: LogPolicy) -> Checkpoint:
    if note is None:
        raise Unavailable("log-empty", "The log has no checkpoint yet: is a sequencer running?")
    try:
        checkpoint = open_checkpoint(note, log.key)
        keys = [witness.key for witness in log.witnesses]
        cosigned = cosignatures(parse_note(note), keys)
    except Rejected as error:
        _halt("log-signature", f"The log's checkpoint is not signed as the policy says: {error.sentence}")
    if len(cosigned) < log.quorum:
        raise Unavailable(
            "witness-quorum", f"{len(cosigned)} of {log.quorum} needed witnesses cosigned the checkpoint."
        )
    return checkpoint


def _refuse_other_past(anchor: Checkpoint, frontier: Frontier, checkpoint: Checkpoint) -> None:
    known = max(anchor.size, frontier.size)
    if checkpoint.size < known:
        _halt(
            "log-rolled-back",
            f"The log has {checkpoint.size} entries, and this signer has seen {known}: the database was rolled back, restored "
            "or failed over to one that lost commits, or it is another database. Stop the sequencer first: what it appends now "
            "cannot be brought together with what is missing.",
        )
    for size, root in ((anchor.size, anchor.root), (frontier.size, frontier.root)):
        if checkpoint.size == size and checkpoint.root != root:
            _halt(
                "log-forked",
                f"The log's checkpoint of size {size} has another root than the one that this signer saw: there are two logs.",
            )


def _halt(code: str, sentence: str) -> NoReturn:
    raise Halted(code, f"{sentence} {_RECOVER}")
