"""The state folder: ours alone, held by one process, and every file in it written whole or not at all."""

import fcntl
import os
import stat
import tempfile
from pathlib import Path

from attestor.emulator.errors import StartError


def open_folder(folder: Path) -> int:
    """Make the folder if need be (mode 0700) and hold it; returns the descriptor that holds it until the process ends."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o077:
        raise StartError(f"{folder} has mode {mode:04o}: private keys lie in it, so it must be 0700 (chmod 700 it).")
    held = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise StartError(f"{folder} is held by another emulator: stop it, or give another --state.") from None
    return held


def write_whole(path: Path, content: bytes) -> None:
    """Replace the file in one step, durably (temporary file, fsync, rename, fsync of the folder); mode 0600."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
