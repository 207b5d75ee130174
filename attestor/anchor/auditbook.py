"""An auditor's book in a folder of its own: what it has seen of a log, and what it found (SQLite; port ``AuditBook``).

Unlike a signer's memory it cannot be made anew: that a log went back shows only to who remembers. Calls block: the auditor
waits for its disk and does nothing else meanwhile.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attestor.anchor import rules
from attestor.core.auditing import Finding, decided_of
from attestor.core.entries import DecisionEntry
from attestor.core.entrybytes import read_entry
from attestor.core.errors import AttestorError, Conflict, Rejected, Unavailable
from attestor.core.past import RulesPast, RulesQuestion, WasDecided, WasRevoked

NAME: Final = "audit.sqlite3"
_FORMAT: Final = 2
_WITHOUT_RULES: Final = 1
_RULES: Final = "CREATE TABLE releases (number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE) STRICT;\n" + rules.SCHEMA
_SCHEMA: Final = Path(__file__).with_name("audit.sql").read_text("utf-8") + _RULES
_LOG: Final = -1
"""Stands for the entry of a finding about the log itself."""


class FileAuditBook:
    """Made by :meth:`opened`; of one process at a time."""

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self._connection = connection
        self._folder = folder

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, origin: str) -> "Iterator[FileAuditBook]":
        """The book of the log *origin*; the folder is made where it is missing, its parent is not.

        Raises ``Conflict`` ``audit-busy``; ``Rejected`` ``audit-other-log``, ``audit-unreadable``; ``Unavailable`` ``audit-book``;
        ``OSError``.
        """
        folder.mkdir(mode=0o700, exist_ok=True)
        with _told(folder):
            connection = sqlite3.connect(folder / NAME, isolation_level=None, timeout=0)
        try:
            book = cls(connection, folder)
            with _told(folder):
                book._begin(origin)
            yield book
        finally:
            connection.close()

    def note(self) -> bytes | None:
        with _told(self._folder):
            return self._bytes("SELECT note FROM audit")

    def see(self, note: bytes) -> None:
        self._change("UPDATE audit SET note = ?", note)

    def judged(self) -> int:
        with _told(self._folder):
            return self._count("SELECT judged FROM audit")

    @contextmanager
    def step(self) -> Iterator[None]:
        self._change("BEGIN")
        try:
            yield
            self._change("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._change("ROLLBACK")

    def keep(self, index: int, raw: bytes, subjects: frozenset[str]) -> None:
        if subjects:
            self._change("INSERT INTO entries VALUES (?, ?)", index, raw)
        for subject in subjects:
            self._change("INSERT INTO subjects VALUES (?, ?)", subject, index)

    def fold(self, index: int, fact: WasDecided | WasRevoked) -> None:
        with _told(self._folder):
            _fold(self._connection, index, fact)

    def rules(self, question: RulesQuestion) -> RulesPast:
        with _told(self._folder):
            return rules.past(self._connection, question)

    def judge(self, size: int, findings: Sequence[Finding]) -> None:
        for one in findings:
            index = _LOG if one.index is None else one.index
            self._change(
                "INSERT INTO findings VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                index,
                one.code,
                one.sentence,
                int(one.notice),
            )
        self._change("UPDATE audit SET judged = ?", size)

    def about(self, subject: str, before: int) -> list[tuple[int, bytes]]:
        with _told(self._folder):
            return self._connection.execute(
                "SELECT entry, raw FROM subjects JOIN entries USING (entry) WHERE subject = ? AND entry < ? ORDER BY entry",
                (subject, before),
            ).fetchall()

    def entry(self, index: int) -> bytes | None:
        with _told(self._folder):
            return self._bytes("SELECT raw FROM entries WHERE entry = ?", index)

    def looked_again(self) -> int:
        with _told(self._folder):
            return self._count("SELECT again FROM audit")

    def look_again_from(self, index: int) -> None:
        self._change("UPDATE audit SET again = ?", index)

    def findings(self, limit: int) -> tuple[Finding, ...]:
        """Those that nobody acknowledged, the gravest first: notices come after all others."""
        with _told(self._folder):
            rows = self._connection.execute(
                "SELECT entry, code, sentence, notice FROM findings ORDER BY notice, entry, code LIMIT ?", (limit,)
            ).fetchall()
        return tuple(
            Finding(None if index == _LOG else index, code, sentence, bool(notice))
            for index, code, sentence, notice in rows
        )

    def count(self) -> int:
        """How many of them there are."""
        with _told(self._folder):
            return self._count("SELECT count(*) FROM findings")

    def acknowledge(self) -> None:
        """Forget them all."""
        self._change("DELETE FROM findings")

    def _begin(self, origin: str) -> None:
        # EXCLUSIVE holds the lock from the first transaction on; FULL makes a commit durable when it returns.
        self._connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("BEGIN EXCLUSIVE")
        version = self._count("PRAGMA user_version")
        self._connection.execute("COMMIT")
        if version == 0:
            self._connection.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={_FORMAT};COMMIT;")
        elif version == _WITHOUT_RULES:
            self._take_up_rules()
        elif version != _FORMAT:
            raise _unreadable(self._folder, f"it is of form {version}")
        self._connection.execute("INSERT INTO audit VALUES (1, ?, NULL, 0, 0) ON CONFLICT DO NOTHING", (origin,))
        (kept,) = self._connection.execute("SELECT origin FROM audit").fetchone()
        if kept != origin:
            raise Rejected(
                "audit-other-log",
                f"{self._folder} holds the audit of the log {kept}: give {origin} a folder of its own.",
            )

    def _take_up_rules(self) -> None:
        """A book of the form before has the decisions, and nothing made of them."""
        self._connection.executescript(f"BEGIN;{_RULES}")
        for index, raw in self._connection.execute("SELECT entry, raw FROM entries ORDER BY entry").fetchall():
            entry = read_entry(raw)
            fact = decided_of(entry, raw) if isinstance(entry, DecisionEntry) else None
            if fact is not None:
                _fold(self._connection, index, fact)
        self._connection.execute(f"PRAGMA user_version={_FORMAT}")
        self._connection.execute("COMMIT")

    def _change(self, statement: str, *values: object) -> None:
        with _told(self._folder):
            self._connection.execute(statement, values)

    def _bytes(self, statement: str, *values: object) -> bytes | None:
        row: tuple[bytes | None] | None = self._connection.execute(statement, values).fetchone()
        return row[0] if row else None

    def _count(self, statement: str) -> int:
        number: int = self._connection.execute(statement).fetchone()[0]
        return number


def _fold(connection: sqlite3.Connection, index: int, fact: WasDecided | WasRevoked) -> None:
    match fact:
        case WasRevoked():
            rules.keep_revocation(connection, index, fact.approval)
        case WasDecided():
            release = bytes.fromhex(fact.release.id)
            connection.execute("INSERT INTO releases (id) VALUES (?) ON CONFLICT DO NOTHING", (release,))
            (number,) = connection.execute("SELECT number FROM releases WHERE id = ?", (release,)).fetchone()
            rules.keep(connection, index, number, fact)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """What SQLite refuses, as errors of ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise Conflict("audit-busy", f"Another audit works in {folder}: let it finish.") from error
        raise Unavailable(
            "audit-book", f"{folder / NAME} cannot be read or written: {error}. Is the disk full?"
        ) from error
    except sqlite3.DatabaseError as error:
        raise _unreadable(folder, str(error)) from error


def _unreadable(folder: Path, why: str) -> AttestorError:
    return Rejected(
        "audit-unreadable",
        f"{folder / NAME} cannot be read: {why}. Bring it back from a backup; or move it away, to look at the whole log again "
        "with no memory of what was seen before.",
    )
