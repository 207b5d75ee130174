"""What a memory is asked, as SQL. Each function reads one connection; whoever calls sees to one transaction around it."""

import sqlite3
from typing import Final

from attestor.core.entries import DecisionEntry
from attestor.core.entrybytes import read_entry
from attestor.core.errors import Malformed
from attestor.core.past import NOTHING, LoggedDecision, LoggedSignature, Receipt, Remembered
from attestor.core.tlog.merkle import Frontier
from attestor.core.tlog.tiles import TILE

HASH_BYTES: Final = 32

_Pair = tuple[str, bytes]


def frontier(connection: sqlite3.Connection) -> Frontier:
    """Of all that was folded."""
    size, hashes = connection.execute("SELECT size, frontier FROM folded").fetchone()
    return Frontier.decode(size, hashes)


def forged(connection: sqlite3.Connection) -> int:
    """Entries that claimed to be a signer's and were not."""
    count: int = connection.execute("SELECT forged FROM folded").fetchone()[0]
    return count


def policy(connection: sqlite3.Connection) -> tuple[int, str] | None:
    """(serial, digest) of the highest serial."""
    row: tuple[int, str] | None = connection.execute(
        "SELECT serial, digest FROM policies ORDER BY serial DESC LIMIT 1"
    ).fetchone()
    return row


def leaves(connection: sqlite3.Connection, start: int, end: int) -> list[bytes]:
    """Leaf hashes from *start* up to before *end*, as far as they were folded."""
    first = start // TILE
    rows = connection.execute(
        "SELECT hashes FROM tiles WHERE number BETWEEN ? AND ? ORDER BY number", (first, (end - 1) // TILE)
    )
    raw = b"".join(hashes for (hashes,) in rows)
    hashes = [raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)]
    return hashes[start - first * TILE : end - first * TILE]


def remembered(connection: sqlite3.Connection, release_id: str) -> Remembered:
    """All that the folded entries say of one release."""
    row = connection.execute("SELECT number FROM releases WHERE id = ?", (bytes.fromhex(release_id),)).fetchone()
    if row is None:
        return NOTHING
    number: int = row[0]
    return Remembered(
        received=_received(connection, number),
        withdrawn=_withdrawn(connection, number),
        decision=_decided(connection, number),
        signed=signed(connection, number),
    )


def signed(connection: sqlite3.Connection, number: int) -> tuple[LoggedSignature, ...]:
    """The first signature by each key of each digest of the release with this number, in the log's order."""
    rows = connection.execute(
        "SELECT entry, request, sha256, key, signature, decision FROM signed WHERE release = ? ORDER BY entry, key, sha256",
        (number,),
    )
    return tuple(LoggedSignature(*row) for row in rows)


def _received(connection: sqlite3.Connection, number: int) -> dict[_Pair, Receipt]:
    rows = connection.execute(
        "SELECT o.name, r.payload, r.entry, r.envelope FROM received r JOIN operators o ON o.number = r.operator "
        "WHERE r.release = ?",
        (number,),
    )
    return {(operator, payload): Receipt(entry, envelope) for operator, payload, entry, envelope in rows}


def _withdrawn(connection: sqlite3.Connection, number: int) -> dict[_Pair, frozenset[bytes]]:
    rows = connection.execute(
        "SELECT o.name, w.payload, w.envelope FROM withdrawn w JOIN operators o ON o.number = w.operator "
        "WHERE w.release = ?",
        (number,),
    )
    withdrawn: dict[_Pair, frozenset[bytes]] = {}
    for operator, payload, envelope in rows:
        withdrawn[operator, payload] = withdrawn.get((operator, payload), frozenset()) | {envelope}
    return withdrawn


def _decided(connection: sqlite3.Connection, number: int) -> LoggedDecision | None:
    row = connection.execute("SELECT entry, raw FROM decided WHERE release = ?", (number,)).fetchone()
    if row is None:
        return None
    index, raw = row
    entry = read_entry(raw)
    if not isinstance(entry, DecisionEntry):
        raise Malformed("memory-damaged", "What is kept as a decision is another entry.")
    return LoggedDecision(index, entry, raw)
