"""The ledger of releases, claims and signing requests on PostgreSQL (port ``Ledger``)."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from attestor.core.approvals import Given
from attestor.core.claims import Claim
from attestor.core.entrybytes import Outgoing
from attestor.core.errors import Conflict, Unavailable
from attestor.core.naming import Release
from attestor.core.requests import SigningRequest
from attestor.core.suspects import Signed
from attestor.service.keyports import Canary, KeyStanding
from attestor.service.ports import (
    Arrival,
    Changes,
    LoggedEvent,
    ReleaseFilter,
    ReleaseRecord,
    RequestMove,
    SignerStatus,
    StoredDecision,
    Vote,
    Withdrawal,
)
from attestor.store.keybook import canaries, release_keys
from attestor.store.pool import Connection, Pool, translated
from attestor.store.queries import queries
from attestor.store.rows import record_of, release_of, request_of, signed_of, vote_of

_SQL: Final = queries("ledger.sql")


class PostgresTransaction:
    """One short transaction; see the port for its promises."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def lock(self, releases: Sequence[Release]) -> datetime:
        ordered = sorted(releases, key=lambda release: release.id)
        moment: datetime = await self._connection.fetchval(
            _SQL["lock_releases"],
            _ids(release.id for release in ordered),
            [str(release.kind) for release in ordered],
            [release.purl for release in ordered],
            [release.file_name for release in ordered],
        )
        return moment

    async def votes(self, release_ids: Sequence[str]) -> list[Vote]:
        return [vote_of(row) for row in await self._connection.fetch(_SQL["votes_on"], _ids(release_ids))]

    async def requests(self, release_ids: Sequence[str]) -> list[SigningRequest]:
        rows = await self._connection.fetch(_SQL["requests_for"], _ids(release_ids))
        return [request_of(row, release_of(row, "release_id")) for row in rows]

    async def signed_digests(self, release_ids: Sequence[str]) -> dict[str, frozenset[bytes]]:
        signed: dict[str, frozenset[bytes]] = {}
        for release_id, sha256 in await self._connection.fetch(_SQL["signed_digests"], _ids(release_ids)):
            signed[release_id.hex()] = signed.get(release_id.hex(), frozenset()) | {sha256}
        return signed

    async def approvals(self, release_ids: Sequence[str]) -> dict[tuple[str, bytes], list[Given]]:
        given: defaultdict[tuple[str, bytes], list[Given]] = defaultdict(list)
        for release_id, sha256, *approval in await self._connection.fetch(_SQL["approvals_for"], _ids(release_ids)):
            given[release_id.hex(), sha256].append(Given(*approval))
        return given

    async def policy_serial(self) -> int:
        serial: int = await self._connection.fetchval(_SQL["policy_serial"])
        return serial

    async def content_arrived(self, request_id: UUID) -> None:
        await self._connection.execute(_SQL["content_arrived"], request_id)

    async def write(self, changes: Changes) -> None:
        told = _columns(changes.entries)
        if changes.arrivals:
            await self._keep_arrivals(sorted(changes.arrivals, key=lambda a: (a.operator, a.payload_digest)), told)
        elif changes.entries:
            await self._connection.execute(_SQL["tell"], *told)
        if changes.withdrawals:
            await self._keep_withdrawals(sorted(changes.withdrawals, key=_taken))
        if changes.decisions:
            await self._keep_decisions(sorted(changes.decisions, key=lambda decision: decision.release_id))
        if changes.withdrawals or changes.opened or changes.moves:
            await self._add_events(changes)
        for request in changes.opened:
            await self._open(request)
        if changes.moves:
            await self._move(sorted(changes.moves, key=lambda move: move.request_id))

    async def _keep_arrivals(self, arrivals: Sequence[Arrival], told: Iterable[Sequence[object]]) -> None:
        claims = sorted((claim for arrival in arrivals for claim in arrival.claims), key=_place)
        await self._connection.execute(
            _SQL["keep_arrivals"],
            [arrival.operator for arrival in arrivals],
            [arrival.payload_digest for arrival in arrivals],
            [arrival.body for arrival in arrivals],
            [arrival.claims[0].received_at for arrival in arrivals],
            _ids(claim.release.id for claim in claims),
            [claim.operator for claim in claims],
            [claim.payload_digest for claim in claims],
            [claim.form for claim in claims],
            [" ".join(sorted(claim.keys)) for claim in claims],
            [str(claim.outcome) for claim in claims],
            [claim.sha256 for claim in claims],
            [claim.sha512 for claim in claims],
            [claim.size for claim in claims],
            [claim.received_at for claim in claims],
            *told,
        )

    async def _keep_withdrawals(self, withdrawals: Sequence[Withdrawal]) -> None:
        await self._connection.execute(
            _SQL["keep_withdrawals"],
            [withdrawal.operator for withdrawal in withdrawals],
            [withdrawal.payload_digest for withdrawal in withdrawals],
            _ids(withdrawal.release_id for withdrawal in withdrawals),
            [withdrawal.reason for withdrawal in withdrawals],
            [withdrawal.body for withdrawal in withdrawals],
        )

    async def _keep_decisions(self, decisions: Sequence[StoredDecision]) -> None:
        await self._connection.execute(
            _SQL["keep_decisions"],
            _ids(decision.release_id for decision in decisions),
            [decision.view.state for decision in decisions],
            [decision.view.tier for decision in decisions],
            [decision.view.policy_digest for decision in decisions],
            [decision.holds_until for decision in decisions],
            [msgspec.json.encode(decision.view).decode() for decision in decisions],
        )

    async def _add_events(self, changes: Changes) -> None:
        rows = [
            *(
                (w.release_id, None, "withdrawn", f"{w.operator} took back {w.payload_digest.hex()}")
                for w in changes.withdrawals
            ),
            *((r.release.id, r.id, str(r.state), r.sentence) for r in changes.opened),
            *((m.release_id, m.request_id, str(m.after), m.sentence) for m in changes.moves),
        ]
        release_ids, request_ids, what, detail = zip(*rows, strict=True)
        await self._connection.execute(_SQL["add_events"], _ids(release_ids), request_ids, what, detail)

    async def _open(self, request: SigningRequest) -> None:
        await self._connection.execute(
            _SQL["open_request"],
            request.id,
            bytes.fromhex(request.release.id),
            request.requester,
            request.tier,
            request.size,
            request.sha256,
            request.sha512,
            msgspec.json.encode(request.content).decode(),
            request.content_present,
            str(request.state),
            request.reason,
            request.sentence,
            request.created_at,
            int(request.lane),
        )

    async def _move(self, moves: Sequence[RequestMove]) -> None:
        moved = await self._connection.fetch(
            _SQL["move_requests"],
            [move.request_id for move in moves],
            [str(move.before) for move in moves],
            [str(move.after) for move in moves],
            [move.reason for move in moves],
            [move.sentence for move in moves],
        )
        if len(moved) != len(moves):
            raise Conflict("request-state", "A signing request moved meanwhile; read it again.")


class PostgresLedger:
    """See the port for its promises."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        with translated():
            async with self._pool.acquire(timeout=10) as connection, connection.transaction():
                yield PostgresTransaction(connection)

    async def announce(self, release_ids: Sequence[str]) -> None:
        # What it hints at is committed, so a lost hint is no failure of the caller's.
        with suppress(Unavailable), translated():
            await self._pool.execute(_SQL["announce"], list(release_ids))

    async def release(self, release_id: str) -> ReleaseRecord | None:
        with translated():
            row = await self._pool.fetchrow(_SQL["release"], bytes.fromhex(release_id))
        return record_of(row) if row else None

    async def releases(self, wanted: ReleaseFilter, after: str | None, limit: int) -> list[ReleaseRecord]:
        with translated():
            rows = await self._pool.fetch(
                _SQL["releases"],
                bytes.fromhex(after) if after else None,
                wanted.purl,
                wanted.file_name,
                wanted.sha256,
                wanted.tier,
                wanted.state,
                limit,
            )
        return [record_of(row) for row in rows]

    async def stale(self, policy_digest: str, limit: int) -> list[ReleaseRecord]:
        with translated():
            rows = await self._pool.fetch(_SQL["stale_releases"], policy_digest, limit)
        return [record_of(row) for row in rows]

    async def votes(self, release_id: str) -> list[Vote]:
        with translated():
            rows = await self._pool.fetch(_SQL["votes_on"], [bytes.fromhex(release_id)])
        return [vote_of(row) for row in rows]

    async def requests(self, release_id: str) -> list[SigningRequest]:
        with translated():
            rows = await self._pool.fetch(_SQL["requests_for"], [bytes.fromhex(release_id)])
        return [request_of(row, release_of(row, "release_id")) for row in rows]

    async def envelope(self, release_id: str, operator: str, payload_digest: bytes) -> bytes | None:
        with translated():
            body: bytes | None = await self._pool.fetchval(
                _SQL["envelope"], bytes.fromhex(release_id), operator, payload_digest
            )
        return body

    async def events(self, release_id: str) -> list[LoggedEvent]:
        with translated():
            rows = await self._pool.fetch(_SQL["events_of"], bytes.fromhex(release_id))
        return [LoggedEvent(row["at"], row["request_id"], row["what"], row["detail"]) for row in rows]

    async def request(self, request_id: UUID) -> SigningRequest | None:
        with translated():
            row = await self._pool.fetchrow(_SQL["request"], request_id)
        return request_of(row, release_of(row, "release_id")) if row else None

    async def list_requests(
        self, requester: str, state: str | None, after: UUID | None, limit: int
    ) -> list[SigningRequest]:
        with translated():
            rows = await self._pool.fetch(_SQL["list_requests"], requester, state, after, limit)
        return [request_of(row, release_of(row, "release_id")) for row in rows]

    async def awaited_contents(self) -> set[bytes]:
        with translated():
            rows = await self._pool.fetch(_SQL["awaited_contents"])
        return {row["sha256"] for row in rows}

    async def signature(self, request_id: UUID) -> bytes | None:
        with translated():
            signature: bytes | None = await self._pool.fetchval(_SQL["signature_for"], request_id)
        return signature

    async def release_keys(self) -> list[KeyStanding]:
        return await release_keys(self._pool)

    async def canaries(self) -> list[Canary]:
        return await canaries(self._pool)

    async def signers(self) -> list[SignerStatus]:
        with translated():
            rows = await self._pool.fetch(_SQL["signers"])
        return [SignerStatus(**row) for row in rows]

    async def signed_with(self, keys: Sequence[str], after: str | None, limit: int) -> tuple[list[Signed], str | None]:
        with translated():
            rows = await self._pool.fetch(_SQL["signed_with"], keys, bytes.fromhex(after) if after else None, limit)
            found = {row["id"] for row in rows if row["entry"] is not None}
            votes = [vote_of(row) for row in await self._pool.fetch(_SQL["votes_on"], list(found))] if found else []
        on_release = defaultdict(list)
        for vote in votes:
            on_release[vote.claim.release.id].append(vote)
        seen = list(dict.fromkeys(row["id"].hex() for row in rows))
        signed = [signed_of(row, on_release[row["id"].hex()]) for row in rows if row["entry"] is not None]
        return signed, seen[-1] if len(seen) == limit else None


def _ids(release_ids: Iterable[str]) -> list[bytes]:
    return [bytes.fromhex(release_id) for release_id in release_ids]


def _columns(entries: Sequence[Outgoing]) -> tuple[Sequence[object], ...]:
    return (
        [entry.subject for entry in entries],
        [entry.kind for entry in entries],
        [entry.number for entry in entries],
        [entry.entry for entry in entries],
    )


def _taken(withdrawal: Withdrawal) -> tuple[str, str, bytes]:
    return withdrawal.release_id, withdrawal.operator, withdrawal.payload_digest


def _place(claim: Claim) -> tuple[str, str, bytes]:
    return claim.release.id, claim.operator, claim.payload_digest
