"""A socket in a folder of this host: opened under a lock, so that two services never share it, and removed at the end."""

import asyncio
import errno
import fcntl
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from aiohttp import web

from attestor.core.errors import Rejected, Unavailable

_UMASK: Final = 0o117


class UnixSocket:
    """One socket file, mode 0660 from its first moment: who may connect is its owner, its group, and root."""

    def __init__(self, path: Path) -> None:
        """Raises ``Rejected`` ``listener-socket`` (folder or file are not as they must be), ``Unavailable`` ``listener-in-use``."""
        self._path = path
        _refuse_open_folder(path.parent)
        self._lock = _locked(path)
        try:
            _remove_stale(path)
            self.socket = _bound(path)
        except BaseException:
            os.close(self._lock)
            raise
        self._made = _identity(path)

    def remove(self) -> None:
        """Remove the file, if it is still this one: nobody new can connect."""
        with suppress(FileNotFoundError):
            if _identity(self._path) == self._made:
                self._path.unlink()

    def close(self) -> None:
        """Let another service open one here."""
        self.socket.close()
        os.close(self._lock)


class UnixSite(web.BaseSite):
    """Serves a socket that is bound already; aiohttp's own would remove whatever stands at the path."""

    def __init__(self, runner: web.ServerRunner, bound: UnixSocket, *, backlog: int) -> None:
        super().__init__(runner, backlog=backlog)
        self._bound = bound

    @property
    def name(self) -> str:
        return f"unix:{self._bound.socket.getsockname()}"

    async def start(self) -> None:
        await super().start()
        server = self._runner.server
        if server is None:
            raise RuntimeError("the runner was not set up")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(server, sock=self._bound.socket, backlog=self._backlog)


def _refuse_open_folder(folder: Path) -> None:
    try:
        found = folder.stat()
    except OSError as error:
        raise Rejected("listener-socket", f"The folder {folder} cannot be used: {error.strerror}.") from None
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISDIR(found.st_mode) or mode & stat.S_IWOTH or found.st_uid not in {os.geteuid(), 0}:
        raise Rejected(
            "listener-socket",
            f"{folder} has mode {mode:04o} and owner {found.st_uid}; a socket's folder is this user's or root's, and not writable by all.",
        )


def _locked(path: Path) -> int:
    """Held until the process ends: between a look at a socket and its removal nobody else may make one."""
    name = path.with_name(f"{path.name}.lock")
    try:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Rejected("listener-socket", f"{name} cannot be made: {error.strerror}.") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise _in_use(path) from None
    return lock


def _remove_stale(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise Rejected("listener-socket", f"{path} is there and is no socket; nothing is removed.")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0)
        if probe.connect_ex(str(path)) != errno.ECONNREFUSED:
            raise _in_use(path)
    path.unlink()


def _bound(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    before = os.umask(_UMASK)
    try:
        made.bind(str(path))
    except OSError as error:
        made.close()
        raise Unavailable("listener-in-use", f"{path} cannot be opened: {error.strerror}.") from None
    finally:
        os.umask(before)
    made.settimeout(0)
    return made


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _in_use(path: Path) -> Unavailable:
    return Unavailable("listener-in-use", f"Another service listens on {path}; stop it first, or take another path.")
