"""The upload spool: content by its SHA-256, in one private folder, until its request is done.

The signer on the same host reads the folder as one more directory root, with the hex digest as the relative path.
"""

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Final

from attestor.content.measure import refuse_open_folder
from attestor.content.threads import batches, in_thread
from attestor.core.errors import Malformed, Rejected, TooLarge, Unavailable

_NAME: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Spool:
    """``max_bytes`` bounds one content, ``max_total_bytes`` all that is stored or announced by uploads under way."""

    def __init__(self, folder: Path, *, max_bytes: int, max_total_bytes: int) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._max_bytes = max_bytes
        self._max_total_bytes = max_total_bytes
        self._announced = 0

    def prepare(self) -> None:
        """Make the folders where they are missing; raises ``Unavailable`` if others may enter them. Blocking, at start."""
        for folder in (self._folder, self._incoming):
            folder.mkdir(mode=0o700, parents=folder is self._folder, exist_ok=True)
            refuse_open_folder(folder)

    async def receive(self, chunks: AsyncIterator[bytes], *, size: int, sha256: bytes) -> Path:
        """Store what ``chunks`` bring, durably, if it has exactly this size and digest; nothing is kept otherwise.

        A content that is already there is answered at once and nothing of ``chunks`` is read. Raises ``Rejected``
        (``upload-size-mismatch``, ``upload-digest-mismatch``), ``TooLarge`` (``upload-too-large``), ``Unavailable``
        (``spool-full``, ``spool-failed``).
        """
        final = self.path(sha256)
        if size > self._max_bytes:
            raise TooLarge("upload-too-large", f"The upload has {size} bytes; the limit is {self._max_bytes}.")
        if await in_thread(lambda _stop: _renewed(final, size)):
            return final
        self._announced += size
        try:
            await self._refuse_full(self._announced)
            await self._store(chunks, size, sha256, final)
        finally:
            self._announced -= size
        return final

    def has(self, sha256: bytes) -> bool:
        """Whether this content is complete and stored."""
        return self.path(sha256).is_file()

    def path(self, sha256: bytes) -> Path:
        """Name the file that holds, or would hold, this content; its name is the lower-case hex digest."""
        if len(sha256) != hashlib.sha256().digest_size:
            raise Malformed("digest-malformed", "A SHA-256 digest has 32 bytes.")
        return self._folder / sha256.hex()

    async def discard(self, sha256: bytes) -> None:
        """Forget one content; no matter whether it was there."""
        final = self.path(sha256)
        await in_thread(lambda _stop: final.unlink(missing_ok=True))

    async def sweep(self, keep: set[bytes], *, before: datetime) -> int:
        """Remove contents that are not in ``keep`` and were last uploaded before that time, and uploads whose process died.

        ``before`` leaves alone what was uploaded while ``keep`` was read. Returns how many files went.
        """
        names = {digest.hex() for digest in keep}
        return await in_thread(lambda _stop: self._sweep(names, before.timestamp()))

    async def _refuse_full(self, announced: int) -> None:
        """``announced`` was taken before the look at the disk: an upload that ends in between counts twice, never not at all."""
        stored = await in_thread(lambda _stop: sum(found.st_size for _, found in self._contents()))
        if stored + announced > self._max_total_bytes:
            raise Unavailable(
                "spool-full", "The spool has no room for the upload now; try again when requests are done."
            )

    async def _store(self, chunks: AsyncIterator[bytes], size: int, sha256: bytes, final: Path) -> None:
        upload = await _begun(self._incoming)
        try:
            async for piece in batches(_bounded(chunks, size)):
                await _append(upload, piece)
            upload.refuse_other(size, sha256)
            await in_thread(lambda _stop: upload.finish(final))
        finally:
            upload.close()

    def _contents(self) -> list[tuple[Path, os.stat_result]]:
        contents = []
        try:
            for path in self._folder.iterdir():
                # Another process may discard a content between the listing and the look.
                with contextlib.suppress(FileNotFoundError):
                    if _NAME.fullmatch(path.name):
                        contents.append((path, path.stat()))
        except OSError as error:
            raise _failed(error) from error
        return contents

    def _sweep(self, keep: set[str], before: float) -> int:
        gone = [path for path, found in self._contents() if path.name not in keep and found.st_mtime < before]
        for path in gone:
            path.unlink(missing_ok=True)
        return len(gone) + sum(_abandoned(path) for path in self._incoming.iterdir())


class _Upload:
    """One temporary file, locked while its process lives; all methods block."""

    def __init__(self, folder: Path) -> None:
        try:
            self._fd, name = tempfile.mkstemp(dir=folder)
        except OSError as error:
            raise _failed(error) from error
        self._path = Path(name)
        self._size = 0
        self._hasher = hashlib.sha256()
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def write(self, piece: bytes) -> None:
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            raise _failed(error) from error
        self._hasher.update(piece)
        self._size += len(piece)

    def refuse_other(self, size: int, sha256: bytes) -> None:
        if self._size != size:
            raise _other_size(size, f"only {self._size} came")
        if self._hasher.digest() != sha256:
            raise Rejected("upload-digest-mismatch", "The uploaded bytes have another SHA-256 than was announced.")

    def finish(self, final: Path) -> None:
        """Bytes first, then the name, then the folder: after a crash the name is there only with all of its bytes."""
        try:
            os.fsync(self._fd)
            # Of two uploads of one content the first stays: a reader that holds it open need not wonder.
            if not final.exists():
                self._path.rename(final)
            folder = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise _failed(error) from error

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._fd)


async def _begun(folder: Path) -> _Upload:
    begun: list[_Upload] = []
    try:
        await in_thread(lambda _stop: begun.append(_Upload(folder)))
    except asyncio.CancelledError:
        for upload in begun:
            upload.close()
        raise
    return begun[0]


async def _append(upload: _Upload, piece: bytes) -> None:
    await in_thread(lambda _stop: upload.write(piece))


async def _bounded(chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    seen = 0
    async for chunk in chunks:
        seen += len(chunk)
        if seen > size:
            raise _other_size(size, "more came")
        yield chunk


def _renewed(final: Path, size: int) -> bool:
    """Whether the content is there; its time becomes now, so that no sweep takes it before its new request is known."""
    try:
        found = final.stat()
        if found.st_size != size:
            raise _other_size(size, f"the content of this digest has {found.st_size}")
        os.utime(final)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _failed(error) from error
    return True


def _abandoned(path: Path) -> bool:
    """Remove a partial upload if no living process holds its lock."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _other_size(size: int, found: str) -> Rejected:
    return Rejected("upload-size-mismatch", f"The upload was announced with {size} bytes, but {found}.")


def _failed(error: OSError) -> Unavailable:
    if error.errno in _FULL:
        return Unavailable("spool-full", "The spool's disk is full; try again when requests are done.")
    return Unavailable("spool-failed", f"The spool cannot be used: {error.strerror}.")
