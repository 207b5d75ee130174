"""Size and digests of an open file, refused if the file moved meanwhile.

The SHA-512 object is handed on in its final state: a copy of it, extended by the OpenPGP trailer (RFC 4880 §5.2.4), is what
the HSM signs, so the bytes are read once.
"""

import hashlib
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attestor.content.threads import BATCH, in_thread
from attestor.core.errors import Rejected, TooLarge, Unavailable

if TYPE_CHECKING:
    from hashlib import _Hash

_WRITE_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Measured:
    """What was read: bytes, two digests, and the SHA-512 state behind the second (callers ``.copy()`` it)."""

    size: int
    sha256: bytes
    sha512: bytes
    hasher: "_Hash" = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Opened:
    """An open regular file from a pull root; closed by whoever opened it. ``limit`` is its largest size in bytes."""

    fd: int
    limit: int


Progress = Callable[[int], None]
"""Told the bytes read so far, from the reading thread."""


def measure_fd(
    fd: int,
    limit: int,
    progress: Progress | None = None,
    *,
    sink: Callable[[memoryview], None] | None = None,
    stop: threading.Event | None = None,
) -> Measured:
    """Read the file behind ``fd`` from its start, blocking, in constant memory; each piece also goes to ``sink``.

    Raises ``Rejected`` (``content-not-a-file``, ``content-changed``), ``TooLarge`` (``content-too-large``), ``Unavailable``
    (``content-unavailable``: the storage failed; ``content-interrupted``: ``stop`` was set).
    """
    try:
        before = os.fstat(fd)
        _refuse_unfit(before, limit)
        measured = _read(fd, before.st_size, progress, sink, stop or threading.Event())
        after = os.fstat(fd)
    except OSError as error:
        raise Unavailable("content-unavailable", f"The content cannot be read: {error.strerror}.") from error
    if measured.size != before.st_size or _identity(after) != _identity(before):
        raise _changed()
    return measured


async def measure(opened: Opened, progress: Progress | None = None) -> Measured:
    """As :func:`measure_fd`, in a thread."""
    return await in_thread(lambda stop: measure_fd(opened.fd, opened.limit, progress, stop=stop))


async def snapshot(opened: Opened, into: Path, progress: Progress | None = None) -> Measured:
    """Copy the content to the new file ``into`` while it is hashed; what is measured is what was written.

    The folder of ``into`` must be closed to everyone else (0700): then a later reader of ``into`` sees the bytes that were
    hashed, whatever happens in the pull root. Nothing is left behind on failure. Raises as :func:`measure_fd`, and
    ``Unavailable`` (``scratch-not-private``, ``scratch-failed``).
    """
    return await in_thread(lambda stop: _copy(opened, into, progress, stop))


def _copy(opened: Opened, into: Path, progress: Progress | None, stop: threading.Event) -> Measured:
    refuse_open_folder(into.parent)
    try:
        target = os.open(into, _WRITE_NEW, 0o600)
    except OSError as error:
        raise scratch_failed(error) from error
    try:
        return measure_fd(opened.fd, opened.limit, progress, sink=lambda piece: write_all(target, piece), stop=stop)
    except BaseException:
        into.unlink(missing_ok=True)
        raise
    finally:
        os.close(target)


def refuse_open_folder(folder: Path) -> None:
    """Raise ``Unavailable`` unless ``folder`` is a folder of this user that nobody else may enter."""
    try:
        found = folder.stat(follow_symlinks=False)
    except OSError as error:
        raise scratch_failed(error) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077 or found.st_uid != os.geteuid():
        raise Unavailable(
            "scratch-not-private", f"{folder} must be a folder that only the service's own user may enter (mode 0700)."
        )


def write_all(fd: int, piece: bytes | memoryview) -> None:
    """Write every byte of ``piece`` to ``fd``; raises ``Unavailable`` (``scratch-failed``)."""
    rest = memoryview(piece)
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError as error:
        raise scratch_failed(error) from error


def scratch_failed(error: OSError) -> Unavailable:
    """Say that the private folder cannot take the bytes."""
    return Unavailable("scratch-failed", f"The private copy cannot be written: {error.strerror}.")


def _read(
    fd: int,
    expected: int,
    progress: Progress | None,
    sink: Callable[[memoryview], None] | None,
    stop: threading.Event,
) -> Measured:
    sha256, sha512, size = hashlib.sha256(), hashlib.sha512(), 0
    buffer = memoryview(bytearray(BATCH))
    while got := os.preadv(fd, [buffer], size):
        if stop.is_set():
            raise Unavailable(
                "content-interrupted", "The reading of the content was interrupted; it may be asked again."
            )
        size += got
        # A file that grows as fast as it is read would never end.
        if size > expected:
            raise _changed()
        for consume in filter(None, (sha256.update, sha512.update, sink)):
            consume(buffer[:got])
        if progress is not None:
            progress(size)
    return Measured(size, sha256.digest(), sha512.digest(), sha512)


def _refuse_unfit(found: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Rejected("content-not-a-file", "The content is not a regular file; name the artifact itself.")
    if found.st_size > limit:
        raise TooLarge("content-too-large", f"The content has {found.st_size} bytes; the limit is {limit}.")


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _changed() -> Rejected:
    return Rejected("content-changed", "The content changed while it was read; finish it first, then ask.")
