"""What the rules of tiers ask of a memory, as SQL: quotas, newest versions, spent approvals; kept by each decision to sign."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from attestor.core.contradictions import re_signs
from attestor.core.errors import Rejected
from attestor.core.lineage import follow_each_other, lineage_of, order_of
from attestor.core.naming import Release
from attestor.core.past import RulesPast, RulesQuestion, WasDecided
from attestor.core.quota import Window, window_of
from attestor.core.tierrules import Action
from attestor.core.versions import is_newer, newest, refuse_unordered

SCHEMA: Final = Path(__file__).with_name("rules.sql").read_text("utf-8")
_END: Final = 2**62
"""Beyond every entry."""


def keep(connection: sqlite3.Connection, index: int, number: int, fact: WasDecided) -> None:
    """Take a decision to sign in; *number* is its release's."""
    sha256 = bytes.fromhex(fact.entry.artifact.sha256)
    if all(spent.action != Action.QUOTA.value for spent in fact.entry.approvals):
        _keep_use(connection, index, number, fact)
    _keep_newest(connection, index, number, fact.release)
    if fact.entry.packages is not None:
        row = (lineage_of(fact.release), fact.release.arch, index, bytes.fromhex(fact.entry.packages), number)
        connection.execute("INSERT INTO listed VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row)
    connection.executemany(
        "INSERT INTO spent VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        ((bytes.fromhex(spent.document), number, sha256, index) for spent in fact.entry.approvals),
    )
    if re_signs(fact.entry):
        connection.execute("INSERT INTO resigned VALUES (?, ?) ON CONFLICT DO NOTHING", (number, sha256))


def keep_revocation(connection: sqlite3.Connection, index: int, approval: bytes) -> None:
    """An approval that was taken back; the first word stands."""
    connection.execute("INSERT INTO revoked VALUES (?, ?) ON CONFLICT DO NOTHING", (approval, index))


def may_re_sign(connection: sqlite3.Connection, number: int, sha256: bytes) -> bool:
    """Whether people approved that these bytes be signed of a release that is signed."""
    row = connection.execute("SELECT 1 FROM resigned WHERE release = ? AND sha256 = ?", (number, sha256)).fetchone()
    return row is not None


def past(connection: sqlite3.Connection, question: RulesQuestion) -> RulesPast:
    """Answer from what was folded."""
    before = _END if question.before is None else question.before
    row = connection.execute(
        "SELECT number FROM releases WHERE id = ?", (bytes.fromhex(question.release.id),)
    ).fetchone()
    number: int = row[0] if row else -1
    window = _window(connection, question, before)
    return RulesPast(
        newest=_newest(connection, question.release, number, before),
        used=_used(connection, question, number, window, before) if window is not None else 0,
        window=window,
        unspendable=frozenset(_unspendable(connection, question, number, before)),
        packages=_listed(connection, question.release, number, before),
    )


def _keep_use(connection: sqlite3.Connection, index: int, number: int, fact: WasDecided) -> None:
    entry = fact.entry
    key = entry.signing_key or ""
    moment = max(int(fact.created.timestamp()), _latest(connection, entry.tier, key, _END))
    connection.execute(
        "INSERT INTO used VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (entry.tier, key, moment, index, number, bytes.fromhex(entry.artifact.sha256)),
    )


def _keep_newest(connection: sqlite3.Connection, index: int, number: int, release: Release) -> None:
    order, line = order_of(release), lineage_of(release)
    try:
        refuse_unordered(order, release.version)
    except Rejected:
        # What has no place in the order is no maximum; a tier that asks for the order never signs it.
        return
    row = connection.execute(
        "SELECT version FROM newest WHERE line = ? AND arch = ? ORDER BY entry DESC LIMIT 1", (line, release.arch)
    ).fetchone()
    if row is None or is_newer(order, release.version, row[0]):
        connection.execute(
            "INSERT INTO newest VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (line, release.arch, index, release.version, number),
        )


def _latest(connection: sqlite3.Connection, tier: str, key: str, before: int) -> int:
    row = connection.execute(
        "SELECT moment FROM used WHERE tier = ? AND key = ? AND entry < ? ORDER BY moment DESC LIMIT 1",
        (tier, key, before),
    ).fetchone()
    return row[0] if row else 0


def _window(connection: sqlite3.Connection, question: RulesQuestion, before: int) -> Window | None:
    if question.period is None:
        return None
    latest = _latest(connection, question.tier, question.signing_key, before)
    return window_of(question.period, max(question.moment, datetime.fromtimestamp(latest, UTC)))


def _used(connection: sqlite3.Connection, question: RulesQuestion, number: int, window: Window, before: int) -> int:
    row = connection.execute(
        "SELECT count(*) FROM (SELECT DISTINCT release, sha256 FROM used WHERE tier = ? AND key = ? AND moment >= ? AND moment < ? "
        "AND entry < ? AND (release <> ? OR sha256 <> ?))",
        (
            question.tier,
            question.signing_key,
            int(window.start.timestamp()),
            int(window.end.timestamp()),
            before,
            number,
            question.sha256,
        ),
    ).fetchone()
    count: int = row[0]
    return count


def _newest(connection: sqlite3.Connection, release: Release, number: int, before: int) -> str | None:
    """The newest version among the architectures that follow each other; what its own release set up stands in nobody's way."""
    known: str | None = None
    for arch, version in _newest_by_arch(connection, lineage_of(release), number, before):
        if follow_each_other(release.arch, arch):
            known = newest(order_of(release), known, version)
    return known


def _newest_by_arch(connection: sqlite3.Connection, line: str, number: int, before: int) -> Iterator[tuple[str, str]]:
    rows = connection.execute("SELECT DISTINCT arch FROM newest WHERE line = ?", (line,)).fetchall()
    for (arch,) in rows:
        row = connection.execute(
            "SELECT version, release FROM newest WHERE line = ? AND arch = ? AND entry < ? ORDER BY entry DESC LIMIT 1",
            (line, arch, before),
        ).fetchone()
        if row is not None and row[1] != number:
            yield arch, row[0]


def _listed(connection: sqlite3.Connection, release: Release, number: int, before: int) -> bytes | None:
    row = connection.execute(
        "SELECT packages FROM listed WHERE line = ? AND arch = ? AND entry < ? AND release <> ? ORDER BY entry DESC LIMIT 1",
        (lineage_of(release), release.arch, before, number),
    ).fetchone()
    return row[0] if row else None


def _unspendable(connection: sqlite3.Connection, question: RulesQuestion, number: int, before: int) -> Iterator[bytes]:
    for approval in question.approvals:
        found = connection.execute(
            "SELECT 1 FROM spent WHERE approval = ?1 AND release = ?2 AND sha256 = ?3 AND entry < ?4 "
            "UNION ALL SELECT 1 FROM revoked WHERE approval = ?1 AND entry < ?4",
            (approval, number, question.sha256, before),
        ).fetchone()
        if found is not None:
            yield approval
