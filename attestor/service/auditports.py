"""What an audit needs: the log, what the service gives out beside it, and the auditor's own book."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from attestor.core.approvals import Verify
from attestor.core.auditing import Finding
from attestor.core.past import RulesPast, RulesQuestion, WasDecided, WasRevoked
from attestor.core.policy import Policy
from attestor.service.logports import LogSource


class Served(Protocol):
    """What the service gives out beside its log; nothing of it is believed. Raises ``Missing``, ``Unavailable``."""

    async def envelope(self, release_id: str, operator: str, payload_digest: str) -> bytes:
        """One attestation."""

    async def bundle(self, release_id: str, digest: str) -> bytes:
        """All that an offline check of a signed release needs, of the bytes with this SHA-256."""


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

    def fold(self, index: int, fact: WasDecided | WasRevoked) -> None:
        """Take in what the rules of tiers ask about, as a signer does; within a step."""

    def rules(self, question: RulesQuestion) -> RulesPast:
        """What the entries that were folded come to."""

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
    verify_approval: Verify

    @property
    def newest(self) -> Policy:
        return max(self.policies.values(), key=lambda policy: policy.serial)
