"""The signer's side of signing requests on PostgreSQL (port ``Queue``): leases, fences, one signature."""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Final

from asyncpg import Record

from attestor.core.authorisation import Authorisation
from attestor.core.errors import Conflict, Rejected, Unavailable
from attestor.core.lifecycle import State
from attestor.service.ports import Evidence, Job
from attestor.store.listen import Listener
from attestor.store.pool import Connection, Pool, translated
from attestor.store.queries import queries
from attestor.store.rows import release_of, request_of

_SQL: Final = queries("queue.sql") | {
    name: text for name, text in queries("ledger.sql").items() if name in {"envelopes_of", "withdrawals_of", "release"}
}


class PostgresQueue:
    """See the port for its promises."""

    def __init__(self, pool: Pool, listener: Listener) -> None:
        self._pool = pool
        self._listener = listener

    async def claim(self, lease_seconds: float) -> Job | None:
        with translated():
            async with self._pool.acquire() as connection, connection.transaction():
                while row := await connection.fetchrow(_SQL["claim"], lease_seconds):
                    [names] = await connection.fetch(_SQL["release"], row["release_id"])
                    try:
                        request = request_of(row, release_of(names))
                    except Unavailable as error:
                        # It is always the first in the queue: left there, one such row would stop all the others.
                        await self._set_aside(connection, row, error)
                        continue
                    return Job(request, row["fence"], row["lease_until"], row["clock"])
                return None

    @staticmethod
    async def _set_aside(connection: Connection, row: Record, error: Unavailable) -> None:
        await connection.execute(
            _SQL["give_back"], row["id"], row["fence"], str(State.ASIDE), error.code, error.sentence, 0.0
        )
        await connection.execute(_SQL["add_event"], row["release_id"], row["id"], str(State.ASIDE), error.sentence)

    async def evidence(self, job: Job) -> Evidence:
        release = job.request.release
        with translated():
            async with self._pool.acquire() as connection:
                envelopes = await connection.fetch(_SQL["envelopes_of"], bytes.fromhex(release.id))
                withdrawals = await connection.fetch(_SQL["withdrawals_of"], bytes.fromhex(release.id))
                signed = await connection.fetchval(_SQL["signed_digest"], bytes.fromhex(release.id))
        return Evidence(
            envelopes=tuple((row["operator"], row["body"], row["received_at"]) for row in envelopes),
            withdrawals=tuple(row["body"] for row in withdrawals),
            signed_digest=signed,
        )

    async def fix_time(self, job: Job, moment: datetime) -> datetime:
        with translated():
            fixed: datetime | None = await self._pool.fetchval(_SQL["fix_time"], job.request.id, job.fence, moment)
        if fixed is None:
            raise _too_late()
        return fixed

    async def renew(self, job: Job, lease_seconds: float) -> Job:
        with translated():
            row = await self._pool.fetchrow(_SQL["renew"], job.request.id, job.fence, lease_seconds)
        if row is None:
            raise _too_late()
        return replace(job, lease_until=row["lease_until"], clock=row["clock"])

    async def give_back(self, job: Job, after: State, reason: str, sentence: str, delay_seconds: float) -> None:
        with translated():
            async with self._pool.acquire() as connection, connection.transaction():
                await self._lock(connection, job)
                given = await connection.fetchval(
                    _SQL["give_back"], job.request.id, job.fence, str(after), reason, sentence, delay_seconds
                )
                if given is not None:
                    await self._note(connection, job, str(after), sentence)

    async def signed(self, job: Job, authorisation: Authorisation, key_fingerprint: str, signature: bytes) -> None:
        release_id = bytes.fromhex(job.request.release.id)
        with translated():
            async with self._pool.acquire() as connection, connection.transaction():
                await self._lock(connection, job)
                await connection.execute(_SQL["fix_digest"], release_id, authorisation.sha256)
                if await connection.fetchval(_SQL["signed_digest"], release_id) != authorisation.sha256:
                    raise Rejected("other-digest-signed", "Another digest of this release is signed.")
                stored = await connection.fetchval(
                    _SQL["store_signature"],
                    release_id,
                    key_fingerprint,
                    job.request.id,
                    authorisation.sha256,
                    signature,
                )
                if stored is None:
                    # Not marked signed by it: the next claim verifies what stands there before it is adopted.
                    raise Conflict(
                        "signature-stored", "A signature by this key is stored already; it is looked at first."
                    )
                await self._mark_signed(connection, job, _made(authorisation, key_fingerprint))

    async def signature_of(self, job: Job, key_fingerprint: str) -> tuple[bytes, bytes] | None:
        with translated():
            row = await self._pool.fetchrow(
                _SQL["signature_of"], bytes.fromhex(job.request.release.id), key_fingerprint
            )
        return (row["sha256"], row["signature"]) if row else None

    async def adopt(self, job: Job) -> None:
        with translated():
            async with self._pool.acquire() as connection, connection.transaction():
                await self._lock(connection, job)
                await self._mark_signed(connection, job, "Signed by the signature that was stored before.")

    async def announce(self, job: Job) -> None:
        with suppress(Unavailable), translated():
            await self._pool.execute(_SQL["announce"], job.request.release.id)

    async def due(self, seconds: float) -> None:
        await self._listener.moved(None, seconds)

    @staticmethod
    async def _lock(connection: Connection, job: Job) -> None:
        await connection.execute(_SQL["lock_release"], bytes.fromhex(job.request.release.id))

    async def _mark_signed(self, connection: Connection, job: Job, detail: str) -> None:
        if await connection.fetchval(_SQL["mark_signed"], job.request.id, job.fence) is None:
            raise _too_late()
        await self._note(connection, job, str(State.SIGNED), detail)

    @staticmethod
    async def _note(connection: Connection, job: Job, what: str, detail: str) -> None:
        await connection.execute(_SQL["add_event"], bytes.fromhex(job.request.release.id), job.request.id, what, detail)


def _made(permit: Authorisation, key_fingerprint: str) -> str:
    """Say on whose word, of which bytes, and with which key: the chain's last link (P10)."""
    return (
        f"Signed by {key_fingerprint} as of {permit.created:%Y-%m-%dT%H:%M:%SZ}: tier {permit.tier}, "
        f"SHA-256 {permit.sha256.hex()}, on the word of {', '.join(sorted(permit.counted))}."
    )


def _too_late() -> Conflict:
    return Conflict("lease-over", "The lease is over or another signer holds the request; nothing was written.")
