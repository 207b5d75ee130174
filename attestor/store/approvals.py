"""Approvals on PostgreSQL (port ``ApprovalBook``): taken in once, taken back while they are not spent."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from asyncpg import Record

from attestor.core.approvals import Approval, Given
from attestor.core.approvalviews import ApprovalRecord
from attestor.core.entries import moment
from attestor.core.errors import Conflict, Exhausted
from attestor.core.naming import Release
from attestor.core.requests import SigningRequest
from attestor.service.approvalports import ApprovalFilter, QuotaUse, StoredPair
from attestor.store.ledger import PostgresTransaction
from attestor.store.pool import Connection, Pool, translated
from attestor.store.queries import queries
from attestor.store.rows import release_of, request_of

_SQL: Final = queries("approvals.sql")
MAX_STANDING: Final = 8
"""Approvals of one approver for the same bytes that could all still count: each costs every look of a signer a verification."""


class PostgresApprovalTransaction(PostgresTransaction):
    """See the port for its promises."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._approving = connection

    async def keep(self, approval: Approval, reason: str) -> bool:
        given, document = approval.given, approval.document
        await self._approving.execute(_SQL["lock_approver"], approval.approver)
        if given.manifest is not None:
            await self._approving.execute(
                _SQL["keep_manifest"], hashlib.sha256(given.manifest).digest(), given.manifest
            )
        kept = await self._approving.fetchval(
            _SQL["keep_approval"],
            approval.digest,
            approval.approver,
            given.key,
            document.action,
            document.tier,
            given.document,
            given.signature,
            reason,
            bytes.fromhex(document.manifest) if document.manifest is not None else None,
            moment(document.until),
        )
        if kept is None:
            return False
        await self._keep_pairs(approval)
        said = f"Approver {approval.approver} approved: {document.action} (approval {approval.digest.hex()})."
        await self._approving.execute(_SQL["note"], approval.digest, "approved", said)
        return True

    async def take_back(self, digest: bytes, revocation: bytes) -> bool:
        [row] = await self._approving.fetch(_SQL["lock_approval"], digest)
        if row["revoked"]:
            return False
        if not await self._approving.fetchval(_SQL["is_left"], digest):
            raise Conflict(
                "approval-spent",
                "A decision has used the approval for everything that it names: there is nothing to take back.",
            )
        await self._approving.execute(_SQL["take_back"], digest, revocation)
        said = f"Approval {digest.hex()} was taken back."
        await self._approving.execute(_SQL["note"], digest, "approval-revoked", said)
        return True

    async def _keep_pairs(self, approval: Approval) -> None:
        ordered = sorted(approval.pairs)
        pairs = [bytes.fromhex(release) for release, _ in ordered], [bytes.fromhex(sha256) for _, sha256 in ordered]
        if await self._approving.fetchval(_SQL["most_standing"], approval.approver, *pairs) >= MAX_STANDING:
            raise Exhausted(
                "too-many-approvals",
                f"Approver {approval.approver} has given {MAX_STANDING} approvals for the same bytes that are neither spent, over "
                "nor taken back; take one of them back first.",
            )
        await self._approving.execute(_SQL["keep_pairs"], approval.digest, *pairs)


class PostgresApprovals:
    """See the port for its promises."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresApprovalTransaction]:
        with translated():
            async with self._pool.acquire(timeout=10) as connection, connection.transaction():
                yield PostgresApprovalTransaction(connection)

    async def approval(self, digest: bytes) -> ApprovalRecord | None:
        with translated():
            row = await self._pool.fetchrow(_SQL["approval"], digest)
        return _approval_of(row) if row else None

    async def pairs(self, digest: bytes) -> list[StoredPair]:
        with translated():
            rows = await self._pool.fetch(_SQL["pairs"], digest)
        return [StoredPair((row["release_id"].hex(), row["sha256"].hex()), row["spent_at"]) for row in rows]

    async def approvals(self, wanted: ApprovalFilter, after: bytes | None, limit: int) -> list[ApprovalRecord]:
        release_id = bytes.fromhex(wanted.release_id) if wanted.release_id is not None else None
        with translated():
            rows = await self._pool.fetch(_SQL["approvals"], after, wanted.tier, wanted.approver, release_id, limit)
        return [_approval_of(row) for row in rows]

    async def awaiting(self, digest: bytes, after: str | None, limit: int) -> list[Release]:
        last = bytes.fromhex(after) if after is not None else None
        with translated():
            rows = await self._pool.fetch(_SQL["awaiting"], digest, last, limit)
        return [release_of(row) for row in rows]

    async def waiting(self, held: Sequence[tuple[str, str]], after: UUID | None, limit: int) -> list[SigningRequest]:
        tiers, reasons = [tier for tier, _ in held], [reason for _, reason in held]
        with translated():
            rows = await self._pool.fetch(_SQL["waiting"], tiers, reasons, after, limit)
        return [request_of(row, release_of(row, "release_id")) for row in rows]

    async def quota_uses(self, periods: Sequence[tuple[str, str, str]]) -> list[QuotaUse]:
        columns = [[each[place] for each in periods] for place in range(3)]
        with translated():
            rows = await self._pool.fetch(_SQL["quota_uses"], *columns)
        return [QuotaUse(**row) for row in rows]


def _approval_of(row: Record) -> ApprovalRecord:
    given = Given(row["key"], row["document"], row["signature"])
    rest = {name: row[name] for name in ("approver", "reason", "received_at", "revoked_at", "pairs", "spent")}
    return ApprovalRecord(given, **rest)
