"""The SQLite file of a memory, and how it is replaced while others have it open.

``memory.sqlite3`` is a link to the generation in use. A generation that is damaged, or of another anchor, is left alone and
a new one put in its place: SQLite finds its WAL by name, and a name that comes again would let the last reader of the old
file delete the WAL of the new one (sqlite.org/howtocorrupt, §4.2 and §4.4).
"""

import os
import secrets
import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

from attestor.anchor import rules
from attestor.anchor.anchorfile import HeldFolder, sync_folder

LINK: Final = "memory.sqlite3"
_NEW_LINK: Final = "memory.sqlite3.new"
_FORMAT: Final = 2
_SCHEMA: Final = Path(__file__).with_name("memory.sql").read_text("utf-8") + rules.SCHEMA
_BUSY_SECONDS: Final = 10.0
_KEPT_WAL_BYTES: Final = 16 << 20


class Database:
    """One connection to one generation; it stays in the thread that made it."""

    __slots__ = ("_inode", "connection", "name")

    def __init__(self, path: Path) -> None:
        """Open an existing file. Raises ``sqlite3.Error``, ``OSError``."""
        self.name: Final = path.name
        self._inode = path.stat().st_ino
        self.connection: Final = sqlite3.connect(
            f"file:{quote(str(path))}?mode=rw", uri=True, isolation_level=None, timeout=_BUSY_SECONDS
        )
        try:
            # FULL: in WAL mode only then is a commit durable when it returns.
            for setting in ("synchronous=FULL", "foreign_keys=ON", f"journal_size_limit={_KEPT_WAL_BYTES}"):
                self.connection.execute(f"PRAGMA {setting}")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.connection.close()

    def is_current(self, folder: Path) -> bool:
        """Whether this is still the generation in use, and still there."""
        try:
            return current_name(folder) == self.name and (folder / self.name).stat().st_ino == self._inode
        except FileNotFoundError:
            return False


def current_name(folder: Path) -> str | None:
    """The file name of the generation in use; ``None`` where there is none."""
    try:
        return os.readlink(folder / LINK)  # noqa: PTH115 - a name is wanted, not a path
    except OSError:
        return None


def open_current(folder: Path, anchor_id: str, *, checked: str | None) -> Database | None:
    """The generation in use; ``None`` when it is not there, damaged, of another form or of another anchor.

    *checked* names a generation whose pages need no look. Raises ``sqlite3.OperationalError``, ``OSError``.
    """
    name = current_name(folder)
    if name is None:
        return None
    try:
        database = Database(folder / name)
    except (sqlite3.Error, FileNotFoundError) as error:
        if isinstance(error, FileNotFoundError) or is_damage(error):
            return None
        raise
    try:
        fits = _is_of(database.connection, anchor_id) and (name == checked or _is_sound(database.connection))
    except BaseException as error:
        database.close()
        if isinstance(error, sqlite3.Error) and is_damage(error):
            return None
        raise
    if not fits:
        database.close()
    return database if fits else None


def make_generation(place: HeldFolder, anchor_id: str) -> Database:
    """An empty memory of this anchor, from now on the generation in use; the one before is kept, older ones go.

    Raises ``sqlite3.Error``, ``OSError``.
    """
    folder, before = place.folder, current_name(place.folder)
    path = folder / f"memory-{secrets.token_hex(4)}.sqlite3"
    # SQLite gives a WAL the mode of its database.
    os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    database = Database(path)
    try:
        _begin(database.connection, anchor_id)
        _put_in_use(folder, path.name)
        for old in folder.glob("memory-*.sqlite3*"):
            if not old.name.startswith((path.name, before or path.name)):
                old.unlink()
    except BaseException:
        database.close()
        raise
    return database


def _begin(connection: sqlite3.Connection, anchor_id: str) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={_FORMAT};COMMIT;")
    connection.execute("INSERT INTO folded VALUES (1, ?, 0, x'', 0)", (anchor_id,))


def _put_in_use(folder: Path, name: str) -> None:
    new = folder / _NEW_LINK
    new.unlink(missing_ok=True)
    new.symlink_to(name)
    new.replace(folder / LINK)
    sync_folder(folder)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is broken; a full disk or a lock is not that."""
    # The low byte is the primary result code. SQLITE_ERROR is a table or column that is not there: its name was spoilt.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}


def _is_of(connection: sqlite3.Connection, anchor_id: str) -> bool:
    if connection.execute("PRAGMA user_version").fetchone() != (_FORMAT,):
        return False
    return connection.execute("SELECT anchor FROM folded").fetchall() == [(anchor_id,)]


def _is_sound(connection: sqlite3.Connection) -> bool:
    answer: tuple[str] = connection.execute("PRAGMA quick_check(1)").fetchone()
    return answer == ("ok",)
