"""What every entry of a log must be, alone and after those before it: what anybody can find out who reads all of them.

A fact that only a signer may state counts by its seal where the seals are known; what is forged is a finding, and no fact.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from attestor.core.contradictions import re_signs, refuse_forked_policy, refuse_second_digest
from attestor.core.entries import DecisionEntry, Entry, PolicyEntry, Received, RevocationEntry, SignatureEntry
from attestor.core.entrybytes import is_signers, outgoing_of, read_entry, verify_seal
from attestor.core.errors import AttestorError, Halted, Malformed, Rejected
from attestor.core.past import LoggedSignature, PolicySeen
from attestor.core.seal import SealRing


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a log that must not be. ``index`` is of the entry, where it is about one."""

    code: str
    sentence: str
    index: int | None = None


@dataclass(slots=True)
class Findings:
    """The first hundred, and how many more there were: a log that is all wrong is no reason to keep all of it."""

    limit: int = 100
    first: list[Finding] = field(default_factory=list)
    more: int = 0

    def found(self, code: str, sentence: str, index: int | None = None) -> None:
        if len(self.first) < self.limit:
            self.first.append(Finding(code, sentence, index))
        else:
            self.more += 1

    @contextmanager
    def noting(self, *errors: type[AttestorError], index: int | None = None) -> Iterator[None]:
        """Take the named errors of the block as findings."""
        try:
            yield
        except errors as error:
            self.found(error.code, error.sentence, index)


class LogRules:
    """Reads a log from its beginning, entry after entry; ``kinds`` counts what was read."""

    def __init__(self, findings: Findings, ring: SealRing | None) -> None:
        """*ring*: the seals that the policy names; ``None`` verifies none and believes all."""
        self._findings: Final = findings
        self._ring = ring
        self.kinds: Final[Counter[str]] = Counter()
        self._keys: set[bytes] = set()
        self._received: set[bytes] = set()
        self._decisions: dict[int, DecisionEntry] = {}
        self._void: dict[int, tuple[str, str]] = {}
        self._spent: dict[bytes, int] = {}
        self._revoked: dict[str, int] = {}
        self._made: dict[bytes, int] = {}
        self._signed: dict[str, tuple[LoggedSignature, ...]] = {}
        self._policies: dict[int, str] = {}

    def read(self, index: int, raw: bytes) -> Entry | None:
        """Take the next entry in, and return what it says; ``None`` where it cannot be read."""
        entry = None
        with self._findings.noting(Malformed, index=index):
            entry = read_entry(raw)
        if entry is None:
            return None
        self._refuse_twice(index, entry)
        if self._ring is None or self._is_sealed(index, entry, self._ring):
            self._take(index, entry)
        return entry

    def _refuse_twice(self, index: int, entry: Entry) -> None:
        told = outgoing_of(entry)
        self.kinds[told.kind] += 1
        key = _token(str(told.subject), told.kind, str(told.number))
        if key in self._keys:
            self._findings.found(
                "entry-twice", f"Entry {index} stands under a key that an earlier {told.kind} entry has already.", index
            )
        self._keys.add(key)

    def _is_sealed(self, index: int, entry: Entry, ring: SealRing) -> bool:
        if not is_signers(entry):
            return True
        with self._findings.noting(Rejected, index=index):
            verify_seal(entry, ring)
            return True
        return False

    def _take(self, index: int, entry: Entry) -> None:
        match entry:
            case Received():
                for vote in entry.votes:
                    self._received.update(_token(vote.operator, vote.payload, release) for release in vote.releases)
            case DecisionEntry() if entry.verdict == "sign":
                self._take_decision(index, entry)
            case SignatureEntry():
                self._take_signature(index, entry)
            case PolicyEntry():
                seen = PolicySeen(entry.serial, entry.digest, entry.anchor)
                with self._findings.noting(Halted, index=index):
                    refuse_forked_policy(index, seen, self._policies.setdefault(entry.serial, entry.digest))
            case RevocationEntry():
                self._revoked.setdefault(entry.approval, index)
            case _:
                pass

    def _take_decision(self, index: int, entry: DecisionEntry) -> None:
        for vote in entry.counted:
            if _token(vote.operator, vote.payload, entry.release.id) not in self._received:
                self._findings.found(
                    "vote-not-received",
                    f"Entry {index} decides with the payload {vote.payload} of {vote.operator}, and no earlier entry says that "
                    f"it was received for the release {entry.release.id}.",
                    index,
                )
        for spent in entry.approvals:
            self._take_approval(index, entry, spent.document)
        self._decisions[index] = entry

    def _take_approval(self, index: int, entry: DecisionEntry, approval: str) -> None:
        """What makes a decision void is found once something is signed under it: a signer that lost a race signs nothing."""
        at = self._revoked.get(approval)
        if at is not None:
            self._void[index] = (
                "approval-revoked",
                f"spends the approval {approval}, which entry {at} took back before it",
            )
        at = self._spent.setdefault(_token(approval, entry.release.id, entry.artifact.sha256), index)
        if at != index:
            self._void[index] = (
                "approval-spent-twice",
                f"spends the approval {approval}, which decision {at} on these bytes had spent",
            )

    def _take_signature(self, index: int, entry: SignatureEntry) -> None:
        decided = self._decisions.get(entry.decision)
        first = self._made.setdefault(_token(entry.release, entry.key, entry.sha256), index)
        if decided is None:
            self._findings.found(
                "decision-missing",
                f"Entry {index} is a signature of the release {entry.release}, and entry {entry.decision}, which it names, is no "
                "earlier decision to sign.",
                index,
            )
        elif not entry.is_of(decided):
            self._findings.found(
                "decision-differs",
                f"Entry {index} is a signature of the release {entry.release}, and entry {entry.decision}, which it names, decided "
                "on another request, release, digest or key.",
                index,
            )
        elif first != index:
            self._findings.found(
                "signature-twice",
                f"Entries {first} and {index} are signatures of the same bytes of the release {entry.release} by one key.",
                index,
            )
        elif entry.decision in self._void:
            code, why = self._void[entry.decision]
            self._findings.found(
                code,
                f"Entry {index} is a signature of the release {entry.release} under decision {entry.decision}, which {why}.",
                index,
            )
        approved = decided is not None and re_signs(decided)
        known, made = self._signed.get(entry.release, ()), LoggedSignature.of(index, entry)
        with self._findings.noting(Halted, index=index):
            refuse_second_digest(index, entry, known, approved=approved)
        if made.sha256 not in {each.sha256 for each in known}:
            self._signed[entry.release] = (*known, made)


def _token(*parts: str) -> bytes:
    """A log has millions of these: 16 bytes stand for what no part holds a line feed of."""
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).digest()
