"""Audit a log from outside: what it says was decided and signed is looked at again, entry by entry, by nobody it depends on.

Order of effects: the published checkpoint, verified; its tree, shown to contain the one seen last; that it was seen, kept;
then 256 entries at a time, proven, judged, and kept together with what was found. So whoever is stopped goes on where the last
256 ended, and a log that went back is known for it even if nobody had come to judge its entries.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol, TypeGuard

from attestor.core import auditing
from attestor.core.auditing import POLICIES, Finding
from attestor.core.entries import (
    DecisionEntry,
    Entry,
    LateDissentEntry,
    PolicyEntry,
    Sealed,
    SignatureEntry,
    read_entry,
    verify_seal,
)
from attestor.core.errors import Halted, Malformed, Missing, Rejected, Unavailable
from attestor.core.past import LoggedDecision, Remembered
from attestor.core.policy import Policy
from attestor.core.tlog.checkpoint import Checkpoint, open_checkpoint
from attestor.core.tlog.cosignature import cosignatures
from attestor.core.tlog.grammar import HASH_BYTES
from attestor.core.tlog.merkle import leaf_hash
from attestor.core.tlog.note import parse_note
from attestor.core.tlog.tiles import TILE, Tile
from attestor.service.logports import LogSource
from attestor.service.verified import VerifiedTiles

AT_ONCE: Final = 8
"""Attestations and bundles that are fetched at the same time."""
AGAIN: Final = 4096
"""Older entries that each run looks at again."""
_INCOMPLETE: Final = "bundle-incomplete"
Progress = Callable[[int, int], None]
"""Told how many entries are done, and of how many."""


class Served(Protocol):
    """What the service gives out beside its log; nothing of it is believed. Raises ``Missing``, ``Unavailable``."""

    async def envelope(self, release_id: str, operator: str, payload_digest: str) -> bytes:
        """One attestation."""

    async def bundle(self, release_id: str) -> bytes:
        """All that an offline check of a signed release needs."""


class AuditBook(Protocol):
    """What an auditor keeps on its own disk, of one log. Raises ``Unavailable`` ``audit-book`` when that cannot be written."""

    def note(self) -> bytes | None:
        """The checkpoint seen last, as it was signed."""

    def see(self, note: bytes) -> None:
        """Keep a checkpoint that contains the one before; durable on return."""

    def judged(self) -> int:
        """How many entries were judged."""

    def step(self) -> AbstractContextManager[None]:
        """All that is kept within it stays, or nothing where it is left by an exception; durable when left."""

    def keep(self, index: int, raw: bytes, subjects: frozenset[str]) -> None:
        """Keep an entry that later ones rest on, to be found by its subjects; within a step."""

    def judge(self, size: int, findings: Sequence[Finding]) -> None:
        """Keep how many entries were judged, and what was found; a finding of the same entry and code stands once."""

    def about(self, subject: str, before: int) -> list[tuple[int, bytes]]:
        """What was kept of a subject below an index, in order."""

    def entry(self, index: int) -> bytes | None:
        """The kept entry at an index."""

    def looked_again(self) -> int:
        """Where the next look at older entries begins."""

    def look_again_from(self, index: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Auditor:
    """What one audit goes by."""

    source: LogSource
    served: Served
    book: AuditBook
    policies: Mapping[str, Policy]
    """By digest: those that the log's decisions were made under. The one with the highest serial names log, seals and witnesses."""

    @property
    def newest(self) -> Policy:
        return max(self.policies.values(), key=lambda policy: policy.serial)


async def audit(auditor: Auditor, progress: Progress) -> Finding | None:
    """Judge every entry that is new, then look again at some older ones; findings are kept in the book.

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
        judgement = _Judgement(auditor)
        index = start
        for raw in entries:
            try:
                judgement.take(index, raw)
            except Missing as error:
                waits = Finding(index, error.code, error.sentence)
                break
            index += 1
        auditor.book.judge(index, await judgement.findings())
    return waits


class _Judgement:
    """Of some entries: in order what the log alone shows, then, several at a time, what must be fetched for it."""

    def __init__(self, auditor: Auditor) -> None:
        self._auditor = auditor
        self._found: list[Finding] = []
        self._left: list[tuple[int, Callable[[], Awaitable[None]]]] = []
        self._places = asyncio.Semaphore(AT_ONCE)

    def take(self, index: int, raw: bytes) -> None:
        """Raises ``Missing`` ``policy-unknown``, and then has taken nothing."""
        try:
            entry = read_entry(raw)
            self._refuse_forged(entry)
        except Missing:
            raise
        except Rejected as error:
            self._found.append(Finding(index, error.code, f"Log entry {index}: {error.sentence}"))
            return
        policy = self._policy(entry)
        # What is wrong with an entry makes it no less said: later ones are held against it.
        self._auditor.book.keep(index, raw, auditing.subjects_of(entry))
        try:
            self._judge(index, raw, entry, policy)
        except Rejected as error:
            self._found.append(Finding(index, error.code, error.sentence))

    async def findings(self) -> list[Finding]:
        """All of them, in the order of the log."""
        looks = [asyncio.create_task(self._look(index, look)) for index, look in self._left]
        try:
            await asyncio.gather(*looks)
        finally:
            for task in looks:
                task.cancel()
        return sorted(self._found, key=lambda finding: finding.index or 0)

    async def _look(self, index: int, look: Callable[[], Awaitable[None]]) -> None:
        try:
            async with self._places:
                await look()
        except Rejected as error:
            self._found.append(Finding(index, error.code, error.sentence))

    def _refuse_forged(self, entry: Entry) -> None:
        if not _is_signers(entry):
            return
        newest = self._auditor.newest
        try:
            verify_seal(entry, newest.log.seals)
        except Rejected as error:
            if error.code == "seal-unknown" and isinstance(entry, PolicyEntry) and entry.serial > newest.serial:
                # Perhaps a new signer's, whom that policy names: only its file can tell.
                auditing.policy_named(self._auditor.policies, entry.serial, entry.digest)
            raise

    def _policy(self, entry: Entry) -> Policy | None:
        match entry:
            case DecisionEntry() if entry.verdict == "sign":
                return auditing.policy_named(self._auditor.policies, entry.policy.serial, entry.policy.digest)
            case PolicyEntry():
                return auditing.policy_named(self._auditor.policies, entry.serial, entry.digest)
            case SignatureEntry() if (logged := self._decision(entry)) is not None:
                return self._policy(logged.entry)
        return None

    def _judge(self, index: int, raw: bytes, entry: Entry, policy: Policy | None) -> None:
        match entry:
            case PolicyEntry():
                auditing.refuse_policy(entry, self._policies(index))
            case DecisionEntry() if policy is not None:
                self._judge_decision(index, entry, policy)
            case SignatureEntry():
                self._judge_signature(index, raw, entry, policy)
            case LateDissentEntry():
                sentence = f"{entry.operator} dissents from a decision on the release {entry.release}, and came late."
                self._found.append(Finding(index, "late-dissent", sentence, notice=True))

    def _judge_decision(self, index: int, entry: DecisionEntry, policy: Policy) -> None:
        auditing.refuse_decision_policy(entry, self._policies(index))
        remembered = self._remembered(entry.release.id, index)
        auditing.refuse_decision(index, entry, policy, remembered)

        async def look() -> None:
            bodies = {}
            for pair, receipt in remembered.received.items():
                fetched = self._auditor.served.envelope(entry.release.id, pair[0], pair[1].hex())
                sentence = f"The attestation {pair[1].hex()} of {pair[0]}, which entry {receipt.index} names, is not given out."
                bodies[pair] = await _given_out(fetched, "envelope-withheld", sentence)
                auditing.refuse_envelope(bodies[pair], pair, receipt)
            auditing.recount(index, entry, policy, remembered, bodies)

        self._left.append((index, look))

    def _judge_signature(self, index: int, raw: bytes, entry: SignatureEntry, policy: Policy | None) -> None:
        logged = self._decision(entry)
        remembered = self._remembered(entry.release, index)
        auditing.refuse_signature(index, entry, logged.entry if logged else None, remembered)
        if logged is None or policy is None or remembered.signed:
            # A release has one bundle, that of its first signature.
            return
        before = self._remembered(entry.release, logged.index)

        async def look() -> None:
            fetched = self._auditor.served.bundle(entry.release)
            sentence = f"The bundle of the release {entry.release}, which was signed, is not given out."
            auditing.refuse_bundle(await _given_out(fetched, "bundle-withheld", sentence), raw, logged, policy, before)

        self._left.append((index, look))

    def _policies(self, index: int) -> list[PolicyEntry]:
        entries = [read_entry(raw) for _, raw in self._auditor.book.about(POLICIES, index)]
        return [entry for entry in entries if isinstance(entry, PolicyEntry)]

    def _remembered(self, release_id: str, index: int) -> Remembered:
        return auditing.remembered_of(release_id, self._auditor.book.about(release_id, index))

    def _decision(self, signature: SignatureEntry) -> LoggedDecision | None:
        """What was kept at the index that a signature names stands before it: the signature itself is not kept yet."""
        raw = self._auditor.book.entry(signature.decision)
        entry = read_entry(raw) if raw is not None else None
        return LoggedDecision(signature.decision, entry, raw) if raw and isinstance(entry, DecisionEntry) else None


def _is_signers(entry: Entry) -> TypeGuard[Sealed]:
    """Whether only a signer may say this."""
    return isinstance(entry, SignatureEntry | PolicyEntry) or (
        isinstance(entry, DecisionEntry) and entry.verdict == "sign"
    )


async def _given_out(fetching: Awaitable[bytes], code: str, sentence: str) -> bytes:
    """What was asked for; what the service refuses to give out for good is ``Rejected`` with *code*."""
    try:
        return await fetching
    except Missing as error:
        raise Rejected(code, f"{sentence} ({error.sentence})") from error
    except Unavailable as error:
        if error.code != _INCOMPLETE:
            raise
        raise Rejected(code, f"{sentence} ({error.sentence})") from error
