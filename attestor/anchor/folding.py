"""Log entries added to a memory, inside one transaction of SQLite."""

import sqlite3
from collections.abc import Iterable, Sequence

from attestor.anchor import recall, rules
from attestor.anchor.anchorfile import Anchor
from attestor.core.contradictions import refuse_forked_policy, refuse_other_signer, refuse_second_digest
from attestor.core.past import Fact, Forged, PolicySeen, WasDecided, WasReceived, WasRevoked, WasSigned, WasWithdrawn
from attestor.core.tlog.merkle import Frontier
from attestor.core.tlog.tiles import TILE

_Indexed = tuple[int, Fact]


class Fold:
    """One writer's way forward from what the connection holds. Where *alone*, entries of other anchors' signers halt it."""

    def __init__(self, connection: sqlite3.Connection, anchor: Anchor, *, alone: bool) -> None:
        self._connection = connection
        self._anchor = anchor
        self._alone = alone
        self.frontier: Frontier = recall.frontier(connection)

    def take(self, leaves: Sequence[bytes], facts: Sequence[_Indexed]) -> Frontier:
        """Add the next entries, all or none of them. Raises ``Halted`` as ``CatchUp.take``, ``sqlite3.Error``."""
        self._connection.execute("SAVEPOINT taken")
        try:
            after = self._take(leaves, facts)
        except BaseException:
            # A full disk ends the whole transaction by itself, and this savepoint with it.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO taken")
            raise
        self._connection.execute("RELEASE taken")
        self.frontier = after
        return after

    def _take(self, leaves: Sequence[bytes], facts: Sequence[_Indexed]) -> Frontier:
        after = self.frontier.extended(leaves)
        _keep_leaves(self._connection, self.frontier.size, leaves)
        self._connection.execute("UPDATE folded SET size = ?, frontier = ?", (after.size, after.encode()))
        _keep_names(self._connection, facts)
        _keep_votes(self._connection, facts)
        for index, fact in facts:
            self._keep_sealed(index, fact)
        return after

    def _keep_sealed(self, index: int, fact: Fact) -> None:
        if self._alone:
            refuse_other_signer(index, fact, anchor_id=self._anchor.id, since=self._anchor.since)
        match fact:
            case WasDecided():
                _keep_decision(self._connection, index, fact)
            case WasRevoked():
                rules.keep_revocation(self._connection, index, fact.approval)
            case WasSigned():
                _keep_signature(self._connection, index, fact)
            case PolicySeen():
                _keep_policy(self._connection, index, fact)
            case Forged():
                self._connection.execute("UPDATE folded SET forged = forged + 1")


def _keep_leaves(connection: sqlite3.Connection, size: int, leaves: Sequence[bytes]) -> None:
    first, held = divmod(size, TILE)
    hashes = [*recall.leaves(connection, size - held, size), *leaves] if leaves else []
    connection.executemany(
        "INSERT OR REPLACE INTO tiles VALUES (?, ?)",
        ((first + at // TILE, b"".join(hashes[at : at + TILE])) for at in range(0, len(hashes), TILE)),
    )


def _keep_names(connection: sqlite3.Connection, facts: Iterable[_Indexed]) -> None:
    # Dictionaries, not sets: in the order of the log, near votes get near numbers.
    releases: dict[str, None] = {}
    operators: dict[str, None] = {}
    for _, fact in facts:
        match fact:
            case WasReceived() | WasWithdrawn():
                releases[fact.release_id] = operators[fact.operator] = None
            case WasDecided():
                releases[fact.entry.release.id] = None
            case WasSigned():
                releases[fact.entry.release] = None
    connection.executemany(
        "INSERT INTO releases (id) VALUES (?) ON CONFLICT DO NOTHING", ((bytes.fromhex(each),) for each in releases)
    )
    connection.executemany("INSERT INTO operators (name) VALUES (?) ON CONFLICT DO NOTHING", zip(operators))


def _keep_votes(connection: sqlite3.Connection, facts: Iterable[_Indexed]) -> None:
    received, withdrawn = [], []
    for index, fact in facts:
        match fact:
            case WasReceived():
                received.append((*_vote(fact), index))
            case WasWithdrawn():
                withdrawn.append(_vote(fact))
    connection.executemany(
        "INSERT INTO received SELECT r.number, o.number, ?3, ?4, ?5 FROM releases r, operators o "
        "WHERE r.id = ?1 AND o.name = ?2 ON CONFLICT DO NOTHING",
        received,
    )
    connection.executemany(
        "INSERT INTO withdrawn SELECT r.number, o.number, ?3, ?4 FROM releases r, operators o "
        "WHERE r.id = ?1 AND o.name = ?2 ON CONFLICT DO NOTHING",
        withdrawn,
    )


def _vote(fact: WasReceived | WasWithdrawn) -> tuple[bytes, str, bytes, bytes]:
    return bytes.fromhex(fact.release_id), fact.operator, fact.payload_digest, fact.envelope


def _keep_decision(connection: sqlite3.Connection, index: int, fact: WasDecided) -> None:
    number = _number(connection, fact.entry.release.id)
    connection.execute("INSERT OR REPLACE INTO decided VALUES (?, ?, ?)", (number, index, fact.raw))
    rules.keep(connection, index, number, fact)


def _keep_signature(connection: sqlite3.Connection, index: int, fact: WasSigned) -> None:
    entry = fact.entry
    number = _number(connection, entry.release)
    digests = (bytes.fromhex(entry.sha256), bytes.fromhex(entry.signature))
    approved = rules.may_re_sign(connection, number, digests[0])
    refuse_second_digest(index, entry, recall.signed(connection, number), approved=approved)
    connection.execute(
        "INSERT INTO signed VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (number, entry.key, index, entry.request, *digests, entry.decision),
    )


def _keep_policy(connection: sqlite3.Connection, index: int, fact: PolicySeen) -> None:
    row = connection.execute("SELECT digest FROM policies WHERE serial = ?", (fact.serial,)).fetchone()
    refuse_forked_policy(index, fact, row[0] if row else None)
    connection.execute(
        "INSERT INTO policies VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (fact.serial, fact.digest, index)
    )


def _number(connection: sqlite3.Connection, release_id: str) -> int:
    row = connection.execute("SELECT number FROM releases WHERE id = ?", (bytes.fromhex(release_id),)).fetchone()
    number: int = row[0]
    return number
