"""The manifests that approvals name: each is up to 2 MiB, and ten thousand requests in a row name the same two.

So each is fetched once, and sent once to where the log's documents are kept.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from attestor.service.ports import Document
from attestor.store.pool import Connection, Pool
from attestor.store.queries import queries

_SQL: Final = queries("queue.sql")
MAX_KEPT: Final = 16
"""Bodies in memory."""
_LARGE: Final = 1 << 16
"""Bytes of a document about which it is worth asking before it is sent."""


class Manifests:
    """Reads them once, and keeps the last few; what the database gives for another digest is not there."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._kept: dict[bytes, bytes] = {}

    async def of(self, digests: Iterable[bytes | None]) -> dict[bytes, bytes]:
        """The bodies with these SHA-256s, as far as they are there."""
        wanted = {digest for digest in digests if digest is not None}
        found = {digest: self._kept[digest] for digest in wanted & self._kept.keys()}
        if missing := sorted(wanted - found.keys()):
            bodies = [row["body"] for row in await self._pool.fetch(_SQL["manifests"], missing)]
            found |= {digest: body for body in bodies if (digest := hashlib.sha256(body).digest()) in wanted}
        self._keep(found)
        return found

    def _keep(self, found: dict[bytes, bytes]) -> None:
        # In the order of their last use.
        for digest, body in found.items():
            self._kept.pop(digest, None)
            self._kept[digest] = body
        for digest in list(self._kept)[:-MAX_KEPT]:
            del self._kept[digest]


async def not_kept(connection: Connection, documents: Sequence[Document]) -> Sequence[Document]:
    """Those that are not among the log's documents yet, or all where none is large."""
    if all(len(document.body) < _LARGE for document in documents):
        return documents
    rows = await connection.fetch(_SQL["kept_documents"], [document.sha256 for document in documents])
    kept = {row["sha256"] for row in rows}
    return [document for document in documents if document.sha256 not in kept]
