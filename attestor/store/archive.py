"""What a bundle is made of, on PostgreSQL (port ``Archive``)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from attestor.core.dossier import manifests_named, read_dossier
from attestor.core.entries import DecisionEntry, SignatureEntry
from attestor.core.entrybytes import read_entry
from attestor.core.errors import Malformed, Rejected
from attestor.service.logports import Archived
from attestor.store.pool import Connection, Pool, translated
from attestor.store.queries import queries
from attestor.store.rows import unreadable

_SQL: Final = queries("archive.sql") | {
    name: text for name, text in queries("ledger.sql").items() if name in {"envelopes_of", "withdrawals_of"}
}
_T = TypeVar("_T", DecisionEntry, SignatureEntry)


class PostgresArchive:
    """See the port for its promises."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def signed(self, release_id: str, sha256: bytes | None) -> Archived | None:
        release = bytes.fromhex(release_id)
        with translated():
            async with self._pool.acquire() as connection:
                row = await connection.fetchrow(_SQL["signed"], release, sha256)
                if row is None:
                    return None
                signature = _read(row["entry"], SignatureEntry)
                raw = await connection.fetchval(_SQL["entry"], signature.decision, row["published"])
                decision = _read(raw, DecisionEntry)
                envelopes = await connection.fetch(_SQL["envelopes_of"], release)
                withdrawals = await connection.fetch(_SQL["withdrawals_of"], release)
                documents = await _documents(connection, _named(decision, signature))
                if decision.approvals:
                    documents |= await _documents(connection, _manifests(documents, decision))
        return Archived(
            signature=row["signature"],
            size=row["size"],
            sha256=row["sha256"],
            sha512=row["sha512"],
            decision=(signature.decision, raw),
            signed=(row["idx"], row["entry"]),
            documents=documents,
            envelopes=tuple(envelope["body"] for envelope in envelopes),
            withdrawals=tuple(withdrawal["body"] for withdrawal in withdrawals),
        )


async def _documents(connection: Connection, digests: Sequence[bytes]) -> dict[bytes, bytes]:
    rows = await connection.fetch(_SQL["documents"], digests)
    return {row["sha256"]: row["body"] for row in rows}


def _named(decision: DecisionEntry, signature: SignatureEntry) -> list[bytes]:
    """SHA-256 of evidence, policy and summary."""
    digests = (decision.evidence, decision.policy.digest, signature.summary)
    return [bytes.fromhex(digest) for digest in digests if digest is not None]


def _manifests(documents: Mapping[bytes, bytes], decision: DecisionEntry) -> list[bytes]:
    """SHA-256 of what spent approvals name; of evidence that is lost or changed, none: whoever makes a bundle of it says so."""
    with suppress(Rejected):
        evidence = read_dossier(documents.get(bytes.fromhex(decision.evidence or ""), b""))
        return [bytes.fromhex(digest) for digest in manifests_named(evidence)]
    return []


def _read(raw: bytes | None, kind: type[_T]) -> _T:
    """Raises ``Unavailable`` ``row-unreadable`` where there is no such entry."""
    with suppress(Malformed):
        if raw is not None and isinstance(entry := read_entry(raw), kind):
            return entry
    raise unreadable("a log entry that another names")
