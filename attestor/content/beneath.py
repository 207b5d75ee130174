"""Open a file strictly below a folder: what ``openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)`` does, one step at a time.

Each step opens one plain name relative to the folder before it, so a rename or a link that appears in between cannot lead out.
"""

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attestor.core.errors import Missing, Rejected, Unavailable

_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
# Without O_NONBLOCK the opening of a FIFO waits for a writer.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_beneath(root: Path, parts: Sequence[str]) -> int:
    """Return a descriptor of the regular file that ``parts``, plain names, lead to; blocking.

    Raises as :meth:`attestor.content.roots.PullRoots.open`.
    """
    folder = _open_root(root)
    try:
        for part in parts[:-1]:
            below = _step(part, _FOLDER | os.O_NOFOLLOW, folder)
            os.close(folder)
            folder = below
        return _regular(_step(parts[-1], _FILE, folder))
    finally:
        os.close(folder)


def _open_root(root: Path) -> int:
    try:
        return os.open(root, _FOLDER)
    except OSError as error:
        raise Unavailable("content-unavailable", f"The pull root {root} cannot be opened: {error.strerror}.") from error


def _step(name: str, flags: int, folder: int) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        # For a folder the kernel says ENOTDIR of a link too; only the sentence depends on the second look.
        if error.errno == errno.ELOOP or (error.errno == errno.ENOTDIR and _is_link(name, folder)):
            raise Rejected("content-outside-root", f"{name!r} is a link; content is named by its own path.") from error
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            raise Missing("content-missing", f"There is no {name!r} in the pull root (yet).") from error
        if error.errno == errno.ENXIO:
            raise _not_a_file() from error
        raise Unavailable("content-unavailable", f"{name!r} cannot be opened: {error.strerror}.") from error


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _regular(fd: int) -> int:
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise _not_a_file()


def _not_a_file() -> Rejected:
    return Rejected("content-not-a-file", "The content is not a regular file; name the artifact itself.")
