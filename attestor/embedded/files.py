"""Files and folders that nobody else may read, made so from the first moment."""

import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

from attestor.core.errors import Conflict, Rejected


def own_folder(folder: Path) -> Path:
    """The absolute path of a folder that is ours and closed to others, made if it is not there. No mode is changed.

    Raises Rejected ``folder-parent-missing``, ``folder-not-ours`` (a link, a file, or somebody else's), ``folder-open``.
    """
    path = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow a link at the end, which is refused
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:
        raise Rejected("folder-parent-missing", f"The folder above {path} does not exist: make it first.") from None
    except FileExistsError:
        raise Rejected("folder-not-ours", f"{path} is not a folder.") from None
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise Rejected("folder-not-ours", f"{path} is a link or belongs to uid {found.st_uid}: give a folder of yours.")
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise Rejected("folder-open", f"{path} has mode {mode:04o}, and keys or data lie in it: chmod 700 {path}")
    return path


def open_log(path: Path) -> BinaryIO:
    """An empty log, mode 0600; the one before stays beside it with ``.1`` at its end."""
    if path.exists():
        path.replace(path.with_name(f"{path.name}.1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def write_new(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 that is there whole and durably, or not at all.

    Raises Conflict ``file-exists``: nothing is ever overwritten, two writers at the same moment included.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        raise Conflict("file-exists", f"{path} exists and is not overwritten: move it away first.") from None
    finally:
        Path(temporary).unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and new names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
