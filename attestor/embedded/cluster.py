"""The folder of an embedded PostgreSQL: whose it is, who uses it now, and the database cluster in it.

    FOLDER/             0700, ours
      attestor.lock     held by the server and its keeper for as long as one of their processes lives
      postgres.log      of the last start; postgres.log.1 of the one before
      initdb.log
      cluster/          0700, the server account's: what initdb made; cluster.new while it is being made
      socket/           0700, where its path is short enough for a socket

Nothing else may lie in it: keys, CA and spool never share a folder with the database.
"""

import asyncio
import fcntl
import os
import shutil
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from attestor.core.errors import Conflict, Rejected, Unavailable
from attestor.embedded.account import PLAIN_ENVIRONMENT, Account
from attestor.embedded.child import Child
from attestor.embedded.files import own_folder, sync_folder

VERSION: Final = "18"
SUPERUSER: Final = "postgres"
_LOCK: Final = "attestor.lock"
_OURS: Final = frozenset(
    {_LOCK, "cluster", "cluster.new", "socket", "postgres.log", "postgres.log.1", "initdb.log", "initdb.log.1"}
)
_LAST_SERVER_SECONDS: Final = 3
_INITDB_SECONDS: Final = 60


Reached: TypeAlias = tuple[str, tuple[int, ...]]
"""How the server names a folder, and the descriptors that it must inherit for that."""


@dataclass(frozen=True, slots=True)
class Home:
    """A folder that this process holds until the stack that opened it closes, or the server that inherited ``lock``."""

    folder: Path
    lock: int

    @property
    def cluster(self) -> Path:
        return self.folder / "cluster"


async def open_home(folder: Path, files: ExitStack) -> Home:
    """Take a new, empty or own folder into use.

    Raises Rejected ``postgres-folder-foreign`` and those of :func:`own_folder`; Conflict ``postgres-folder-in-use``.
    """
    path = own_folder(folder)
    names = set(os.listdir(path))  # noqa: PTH208 - names are compared, not paths
    if names and (_LOCK not in names or names - _OURS):
        strange = min(names - _OURS, default="no lock file")
        raise Rejected(
            "postgres-folder-foreign",
            f"{path} is not a folder of the embedded PostgreSQL alone ({strange}): give an empty or a new one.",
        )
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    files.callback(os.close, lock)
    await _hold(lock, path)
    return Home(path, lock)


async def _hold(lock: int, folder: Path) -> None:
    """The server of a run that just crashed may still be writing its last checkpoint: give it a moment."""
    for _ in range(_LAST_SERVER_SECONDS * 20):
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(0.05)
    raise Conflict(
        "postgres-folder-in-use", f"A running PostgreSQL uses {folder}: stop the attestor that started it first."
    )


async def ensure_cluster(home: Home, account: Account, programs: Path, files: ExitStack) -> Reached:
    """The server's ``-D``: a cluster that is there, or a new one. Holding the lock proves that no server is using it.

    Raises Rejected ``postgres-folder-foreign`` (another version, another user), Unavailable ``postgres-start-failed``.
    """
    if not home.cluster.exists():
        await _initialise(home, account, programs)
    _refuse_foreign(home, account)
    # Left by a crash. Its number may be another process's by now, and then PostgreSQL would refuse to start.
    (home.cluster / "postmaster.pid").unlink(missing_ok=True)
    return reach(home.cluster, account, files)


async def _initialise(home: Home, account: Account, programs: Path) -> None:
    """Renamed into place when complete and on disk, so an initialisation that was cut off is simply done again."""
    fresh = home.folder / "cluster.new"
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700)
    account.give(fresh, 0o700)
    with ExitStack() as files:
        place, inherited = reach(fresh, account, files)
        initdb = Child(
            _initdb(programs, place),
            home.folder / "initdb.log",
            env=PLAIN_ENVIRONMENT,
            uid=account.uid,
            gid=account.gid,
            pass_fds=(home.lock, *inherited),
        )
        try:
            code = await initdb.answer(lambda: initdb.exit_code, _INITDB_SECONDS)
        finally:
            initdb.kill()
    if code != 0:
        raise Unavailable("postgres-start-failed", f"initdb in {fresh} failed ({code}): {initdb.last_words()}")
    fresh.rename(home.cluster)
    sync_folder(home.folder)


def _initdb(programs: Path, place: str) -> list[str]:
    """Sorted by code point, which no update of the system's C library can change under an index."""
    return [
        str(programs / "initdb"),
        f"--pgdata={place}",
        f"--username={SUPERUSER}",
        "--auth-local=trust",
        "--auth-host=reject",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-instructions",
    ]


def _refuse_foreign(home: Home, account: Account) -> None:
    found = home.cluster.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.owner:
        raise Rejected(
            "postgres-folder-foreign",
            f"{home.cluster} belongs to uid {found.st_uid}, not {account.owner}: start as it did.",
        )
    version = (home.cluster / "PG_VERSION").read_text().strip()
    if version != VERSION:
        raise Rejected("postgres-folder-foreign", f"{home.cluster} is of PostgreSQL {version}, and this is {VERSION}.")


def reach(folder: Path, account: Account, files: ExitStack) -> Reached:
    """A server of another account cannot walk down to ``folder`` through closed folders, so it gets it opened."""
    if account.uid is None:
        return str(folder), ()
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    files.callback(os.close, descriptor)
    return f"/proc/self/fd/{descriptor}", (descriptor,)
