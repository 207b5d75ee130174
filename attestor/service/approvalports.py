"""What the use cases of approvals need of the outside; each method's promise is its docstring."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from attestor.core.approvaldocuments import Pair
from attestor.core.approvals import Approval
from attestor.core.approvalviews import ApprovalRecord
from attestor.core.naming import Release
from attestor.core.requests import SigningRequest
from attestor.service.ports import Transaction


@dataclass(frozen=True, slots=True)
class StoredPair:
    """One release and digest of an approval, and when a decision spent it."""

    pair: Pair
    spent_at: datetime | None


@dataclass(frozen=True, slots=True)
class ApprovalFilter:
    """Which approvals a list shows; ``None`` matches all."""

    tier: str | None = None
    approver: str | None = None
    release_id: str | None = None


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """The places of one period of a tier and signing key."""

    tier: str
    signing_key: str
    period: str
    used: int
    reserved: int


class ApprovalTransaction(Transaction, Protocol):
    """A transaction on releases that takes approvals in or back; they are locked after the releases."""

    async def keep(self, approval: Approval, reason: str) -> bool:
        """Keep an approval with its pairs, once; ``False`` where what was signed stands there already.

        Raises ``Exhausted`` ``too-many-approvals``.
        """

    async def take_back(self, digest: bytes, revocation: bytes) -> bool:
        """Note that an approval counts for nothing more; ``False`` where that was noted before.

        Raises ``Conflict`` ``approval-spent`` when a decision has used it for each of its releases.
        """


class ApprovalBook(Protocol):
    """What is kept of approvals, and who waits for them."""

    def transaction(self) -> AbstractAsyncContextManager[ApprovalTransaction]:
        """As :meth:`attestor.service.ports.Ledger.transaction`."""

    async def approval(self, digest: bytes) -> ApprovalRecord | None: ...

    async def pairs(self, digest: bytes) -> list[StoredPair]: ...

    async def approvals(self, wanted: ApprovalFilter, after: bytes | None, limit: int) -> list[ApprovalRecord]:
        """In the order of digests, those after *after*."""

    async def awaiting(self, digest: bytes, after: str | None, limit: int) -> list[Release]:
        """The releases of an approval with a request for its bytes that waits or is queued, by id, those after *after*."""

    async def waiting(self, held: Sequence[tuple[str, str]], after: UUID | None, limit: int) -> list[SigningRequest]:
        """Requests that wait, of these pairs of tier and reason, in the order of ids, those after *after*."""

    async def quota_uses(self, periods: Sequence[tuple[str, str, str]]) -> list[QuotaUse]:
        """For those of these (tier, signing key, period) in which any place is taken."""
