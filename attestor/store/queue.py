"""The signer's side of signing requests on PostgreSQL (port ``Queue``): leases, fences, one signature."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Final

from asyncpg import Record

from attestor.core.approvals import Given
from attestor.core.entrybytes import Outgoing
from attestor.core.errors import Conflict, Rejected, Unavailable
from attestor.core.lanes import Lane
from attestor.core.lifecycle import State
from attestor.service.ports import Document, SignerStatus
from attestor.service.signports import Concluded, Evidence, Job, Made, Place, Stated
from attestor.service.tell import MAX_REFUSALS
from attestor.store.listen import Listener
from attestor.store.manifests import Manifests, not_kept
from attestor.store.pool import Connection, Pool, translated
from attestor.store.queries import queries
from attestor.store.rows import release_of, request_of

_SQL: Final = queries("queue.sql")


class PostgresQueue:
    """See the port for its promises."""

    def __init__(self, pool: Pool, listener: Listener) -> None:
        self._pool = pool
        self._listener = listener
        self._manifests = Manifests(pool)

    async def claim(self, lease_seconds: float, last: Lane = Lane.BULK) -> Job | None:
        with translated():
            while row := await self._pool.fetchrow(_SQL["claim"], lease_seconds, int(last)):
                try:
                    request = request_of(row, release_of(row, "release_id"))
                except Unavailable as error:
                    # It is always the first in the queue: left there, one such row would stop all the others.
                    await self._set_aside(row, error)
                    continue
                return Job(request, row["fence"], row["lease_until"], row["clock"])
            return None

    async def _set_aside(self, row: Record, error: Unavailable) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                _SQL["give_back"], row["id"], row["fence"], str(State.ASIDE), error.code, error.sentence, 0.0
            )
            await connection.execute(_SQL["add_event"], row["release_id"], row["id"], str(State.ASIDE), error.sentence)

    async def evidence(self, job: Job) -> Evidence:
        with translated():
            [row] = await self._pool.fetch(_SQL["evidence"], *_pair(job))
            manifests = await self._manifests.of(named for *_, named in row["approvals"])
        return Evidence(
            envelopes=tuple(map(tuple, row["envelopes"])),
            withdrawals=tuple(row["withdrawals"]),
            signed=frozenset(row["signed"]),
            policy_digest=row["policy_digest"],
            stated=tuple(Stated(*claim) for claim in row["stated"]),
            approvals=tuple(
                Given(key, document, signature, manifests.get(named))
                for key, document, signature, named in row["approvals"]
            ),
        )

    async def decide(self, job: Job, concluded: Concluded) -> None:
        with translated():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_SQL["lock_release_and_policy"], bytes.fromhex(job.request.release.id))
                policy_moved = await connection.fetchval(
                    _SQL["mark_decided"], job.request.id, job.fence, concluded.folded, concluded.entry.entry
                )
                if policy_moved is None:
                    raise _too_late()
                if policy_moved:
                    raise Conflict(
                        "policy-moved", "A policy came into the log since the decision was made; it is made anew."
                    )
                rows = await connection.fetch(_SQL["weighed"], bytes.fromhex(job.request.release.id))
                if {tuple(row) for row in rows} != _digests(concluded.evidence):
                    raise Conflict(
                        "evidence-moved", "Votes or withdrawals came since the decision was made; it is made anew."
                    )
                await self._spend(connection, job, concluded.approvals)
                await self._enqueue(connection, concluded.entry, concluded.documents)

    async def reserve(self, job: Job, place: Place) -> bool:
        counted_together = f"{place.tier}\n{place.signing_key}\n{place.period}"
        with translated():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_SQL["lock_quota"], counted_together)
                [row] = await connection.fetch(
                    _SQL["reserve"],
                    job.request.id,
                    job.fence,
                    place.tier,
                    place.signing_key,
                    place.period,
                    place.limit,
                )
        if not row["held"]:
            raise _too_late()
        placed: bool = row["placed"]
        return placed

    async def tell(self, entry: Outgoing, documents: Sequence[Document]) -> None:
        with translated():
            async with self._pool.acquire() as connection, connection.transaction():
                if entry.kind == "policy":
                    await connection.execute(_SQL["lock_policy"])
                await _tell(connection, entry, documents)

    async def renew(self, job: Job, lease_seconds: float) -> Job:
        with translated():
            row = await self._pool.fetchrow(_SQL["renew"], job.request.id, job.fence, lease_seconds)
        if row is None:
            raise _too_late()
        return replace(job, lease_until=row["lease_until"], clock=row["clock"])

    async def give_back(  # noqa: PLR0913 - as in the port
        self,
        job: Job,
        after: State,
        reason: str,
        sentence: str,
        delay_seconds: float,
        *,
        entry: Outgoing | None = None,
    ) -> None:
        with translated():
            async with self._pool.acquire() as connection, connection.transaction():
                await self._lock(connection, job)
                given = await connection.fetchval(
                    _SQL["give_back"], job.request.id, job.fence, str(after), reason, sentence, delay_seconds
                )
                if given is None:
                    return
                await self._note(connection, job, str(after), sentence)
                if entry is not None:
                    await self._refuse(connection, job, entry)

    async def signed(self, job: Job, made: Made, entry: Outgoing, documents: Sequence[Document]) -> None:
        release_id, digest = bytes.fromhex(job.request.release.id), made.authorisation.sha256
        with translated():
            async with self._pool.acquire() as connection, connection.transaction():
                await self._lock(connection, job)
                await connection.execute(_SQL["fix_digest"], release_id, digest, made.authorisation.re_signs)
                if not await connection.fetchval(_SQL["is_fixed"], release_id, digest):
                    raise Rejected(
                        "other-digest-signed",
                        "Another digest of this release was signed meanwhile: look at the release.",
                    )
                stored = await connection.fetchval(
                    _SQL["store_signature"],
                    release_id,
                    made.key_fingerprint,
                    job.request.id,
                    digest,
                    made.signature,
                )
                if stored is None:
                    # Not marked signed by it: the next claim verifies what stands there before it is adopted.
                    raise Conflict(
                        "signature-stored", "A signature by this key is stored already; it is looked at first."
                    )
                await self._enqueue(connection, entry, documents)
                await self._mark_signed(connection, job, _made(made))

    async def signature_of(self, job: Job, key_fingerprint: str) -> bytes | None:
        release_id, sha256_of_bytes = _pair(job)
        with translated():
            signature: bytes | None = await self._pool.fetchval(
                _SQL["signature_of"], release_id, key_fingerprint, sha256_of_bytes
            )
        return signature

    async def adopt(self, job: Job) -> None:
        with translated():
            async with self._pool.acquire() as connection, connection.transaction():
                await self._lock(connection, job)
                await self._mark_signed(connection, job, "Signed by the signature that was stored before.")

    async def document(self, sha256: bytes) -> bytes | None:
        with translated():
            body: bytes | None = await self._pool.fetchval(_SQL["document"], sha256)
        return body

    async def announce(self, job: Job) -> None:
        with suppress(Unavailable), translated():
            await self._pool.execute(_SQL["announce"], job.request.release.id)

    async def report(self, status: SignerStatus) -> None:
        with translated():
            await self._pool.execute(
                _SQL["report"],
                status.instance,
                status.halted,
                status.code,
                status.sentence,
                status.anchor_size,
                status.policy_digest,
            )

    async def due(self, seconds: float) -> None:
        await self._listener.queued(seconds)

    @staticmethod
    async def _spend(connection: Connection, job: Job, approvals: Sequence[bytes]) -> None:
        await connection.execute(_SQL["spend_place"], *_pair(job))
        if not approvals:
            return
        standing = await connection.fetch(_SQL["lock_approvals"], approvals)
        spent = await connection.fetch(_SQL["spend_approvals"], approvals, *_pair(job))
        if not len(standing) == len(spent) == len(approvals):
            raise Conflict(
                "approvals-moved", "An approval was spent or taken back since the decision was made; it is made anew."
            )

    @staticmethod
    async def _refuse(connection: Connection, job: Job, entry: Outgoing) -> None:
        release_id = bytes.fromhex(job.request.release.id)
        await connection.execute(
            _SQL["tell_refusal"], entry.subject, entry.kind, entry.number, entry.entry, release_id, MAX_REFUSALS
        )

    @staticmethod
    async def _enqueue(connection: Connection, entry: Outgoing, documents: Sequence[Document]) -> None:
        if not await _tell(connection, entry, documents):
            raise Conflict(
                "log-behind",
                f"The log or its outbox holds a {entry.kind} entry of this request with number {entry.number} or a later one "
                "already; nothing was written. Read the log on, then try anew.",
            )

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


async def _tell(connection: Connection, entry: Outgoing, documents: Sequence[Document]) -> bool:
    """Enqueue an entry unless it or a later one of its kind is there; say whether it was enqueued."""
    documents = await not_kept(connection, documents)
    told = await connection.fetch(
        _SQL["enqueue"],
        entry.subject,
        entry.kind,
        entry.number,
        entry.entry,
        [document.sha256 for document in documents],
        [document.body for document in documents],
    )
    return bool(told)


def _pair(job: Job) -> tuple[bytes, bytes]:
    return bytes.fromhex(job.request.release.id), job.request.sha256


def _digests(evidence: Evidence) -> set[tuple[str | None, bytes, datetime | None]]:
    """What the evidence holds, as the query ``weighed`` says it."""
    votes = ((operator, sha256(body).digest(), received) for operator, body, received in evidence.envelopes)
    return {*votes, *((None, sha256(body).digest(), None) for body in evidence.withdrawals)}


def _made(made: Made) -> str:
    """Say on whose word, of which bytes, and with which key: the chain's last link (P10)."""
    permit = made.authorisation
    return (
        f"Signed by {made.key_fingerprint} as of {permit.created:%Y-%m-%dT%H:%M:%SZ}: tier {permit.judgement.tier}, "
        f"SHA-256 {permit.sha256.hex()}, on the word of {', '.join(sorted(permit.judgement.counted))}. "
        f"Decided by log entry {permit.decision}."
    )


def _too_late() -> Conflict:
    return Conflict("lease-over", "The lease is over or another signer holds the request; nothing was written.")
