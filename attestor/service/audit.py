"""Audit a log from outside: what it says was decided and signed is looked at again, entry by entry, by nobody it depends on.

Order of effects: the published checkpoint, verified; its tree, shown to contain the one seen last; that it was seen, kept;
then 256 entries at a time, proven, judged, and kept together with what was found. So whoever is stopped goes on where the last
256 ended, and a log that went back is known for it even if nobody had come to judge its entries.
"""

from collections.abc import Callable, Sequence
from typing import Final

from attestor.core.auditing import Finding
from attestor.core.errors import Halted, Malformed, Missing, Rejected, Unavailable
from attestor.core.tlog.checkpoint import Checkpoint, open_checkpoint
from attestor.core.tlog.cosignature import cosignatures
from attestor.core.tlog.grammar import HASH_BYTES
from attestor.core.tlog.merkle import leaf_hash
from attestor.core.tlog.note import parse_note
from attestor.core.tlog.tiles import TILE, Tile
from attestor.service.auditports import Auditor
from attestor.service.examination import Examination
from attestor.service.logports import LogSource
from attestor.service.verified import VerifiedTiles

AGAIN: Final = 4096
"""Older entries that each run looks at again."""
Progress = Callable[[int, int], None]
"""Told how many entries are done, and of how many."""


async def audit(auditor: Auditor, progress: Progress) -> Finding | None:
    """Look again at some older entries, then judge every one that is new; findings are kept in the book.

    Returns what the audit waits for at the next entry, if it could not come to the log's end: a policy file. Raises ``Halted``,
    kept as a finding too: ``log-signature``, ``log-rolled-back``, ``log-forked``, ``log-rewritten``, ``log-gap``, ``tile-unproven``;
    ``Unavailable`` ``log-empty``, ``witness-quorum`` and what the parts raise: then nothing is known of what comes next.
    """
    try:
        return await _audited(auditor, progress)
    except Halted as error:
        auditor.book.judge(auditor.book.judged(), [Finding(None, error.code, error.sentence)])
        raise


async def _audited(auditor: Auditor, progress: Progress) -> Finding | None:
    book = auditor.book
    checkpoint, note = await _published(auditor)
    tree = VerifiedTiles(checkpoint, lambda tile: _promised(auditor.source, tile))
    await _refuse_other_past(auditor, checkpoint, note, tree)
    book.see(note)
    await _look_again(auditor, tree, checkpoint.size)
    while (start := book.judged()) < checkpoint.size:
        progress(start, checkpoint.size)
        waits = await _judge(auditor, start, await _proven(auditor, tree, start, checkpoint.size))
        if waits is not None:
            return waits
    progress(checkpoint.size, checkpoint.size)
    return None


async def _published(auditor: Auditor) -> tuple[Checkpoint, bytes]:
    log = auditor.newest.log
    note = await auditor.source.checkpoint()
    if note is None:
        raise Unavailable("log-empty", "The log has published no checkpoint yet; try again later.")
    try:
        checkpoint = open_checkpoint(note, log.key)
        cosigned = cosignatures(parse_note(note), [witness.key for witness in log.witnesses])
    except Rejected as error:
        raise Halted(
            "log-signature", f"The log's checkpoint is not signed as the policy says: {error.sentence}"
        ) from error
    if len(cosigned) < log.quorum:
        raise Unavailable(
            "witness-quorum", f"{len(cosigned)} of {log.quorum} needed witnesses cosigned the log's checkpoint."
        )
    return checkpoint, note


async def _refuse_other_past(auditor: Auditor, checkpoint: Checkpoint, note: bytes, tree: VerifiedTiles) -> None:
    known = auditor.book.note()
    if known is None:
        return
    seen = open_checkpoint(known, auditor.newest.log.key)
    evidence = f"Both are signed, and are the evidence:\n{known.decode()}\n{note.decode()}"
    if checkpoint.size < seen.size:
        raise Halted(
            "log-rolled-back",
            f"The log shows {checkpoint.size} entries, and this audit has seen {seen.size} of it: its database was rolled back, or "
            f"another one answers there. {evidence}",
        )
    if (await tree.frontier(seen.size)).root != seen.root:
        raise Halted(
            "log-forked",
            f"The log's tree of {checkpoint.size} entries does not contain the tree of {seen.size} that this audit has seen: what "
            f"was logged was changed, or there are two logs. {evidence}",
        )


async def _promised(source: LogSource, tile: Tile) -> bytes:
    try:
        return await source.tile(tile)
    except Missing as error:
        raise Halted("log-gap", f"The log does not serve {tile.path}, which its checkpoint promises.") from error


async def _proven(auditor: Auditor, tree: VerifiedTiles, start: int, size: int) -> list[bytes]:
    """The entries from *start* to the end of its bundle in the tree of *size*, each as that tree was signed for it."""
    index, first = divmod(start, TILE)
    width = min(TILE, size - index * TILE)
    hashes = await tree.tile(Tile(0, index, width))
    end = index * TILE + width
    try:
        entries = await auditor.source.entries(start, end)
    except Malformed as error:
        raise Halted(error.code, f"Log entries {start} to {end - 1} cannot be read: {error.sentence}") from error
    if b"".join(map(leaf_hash, entries)) != hashes[first * HASH_BYTES :]:
        raise Halted(
            "log-rewritten",
            f"The log entries {start} to {end - 1} are not those that its checkpoint was signed for: at least one was changed.",
        )
    return entries


async def _look_again(auditor: Auditor, tree: VerifiedTiles, size: int) -> None:
    """Prove some older entries once more, all of them in turn: what was rewritten after it was judged shows only so."""
    book = auditor.book
    judged = book.judged()
    start = book.looked_again() if book.looked_again() < judged else 0
    end = min(start + AGAIN, judged)
    for first in range(start, end, TILE):
        await _proven(auditor, tree, first, size)
    book.look_again_from(end - end % TILE if end < judged else 0)


async def _judge(auditor: Auditor, start: int, entries: Sequence[bytes]) -> Finding | None:
    """Judge entries that follow on those judged before; returns what the first one waits for that cannot be judged yet."""
    waits: Finding | None = None
    with auditor.book.step():
        examination = Examination(auditor)
        index = start
        for raw in entries:
            try:
                examination.take(index, raw)
            except Missing as error:
                waits = Finding(index, error.code, error.sentence)
                break
            index += 1
        auditor.book.judge(index, await examination.findings())
    return waits
