"""The anchor: how far a signer has seen the log, in one small file that only moves forward (design §8).

Every write is durable on return: a temporary file in the same folder, fsync, rename, fsync of the folder. Whoever writes
holds the folder's one lock, against threads and processes alike; a reader needs none. No backup may hold the folder.
"""

import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

import msgspec

from attestor.core import canonical
from attestor.core.entries import Hex32, Index
from attestor.core.errors import Conflict, Halted, Malformed, Rejected
from attestor.core.tlog.checkpoint import Checkpoint
from attestor.core.tlog.note import MAX_NOTE_BYTES, parse_note
from attestor.core.wire import Sha256Hex

NAME: Final = "anchor.json"
LOCK: Final = "lock"
_NEW: Final = "anchor.json.new"
_MAX_BYTES: Final = 2 * MAX_NOTE_BYTES


class Anchor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the file says. On disk stands ``sha256`` beside it, of all the rest: no bit of the file may turn unseen."""

    version: Literal[1] = 1
    id: Hex32
    """Drawn when a person made the anchor."""
    since: Index
    """The tree size at which it was made."""
    size: Index
    root: Sha256Hex
    """Of the tree of ``size`` entries."""
    note: bytes | None = None
    """The signed checkpoint of that size as it came; ``None`` until the first one is accepted."""

    @lru_cache(maxsize=4)  # noqa: B019 - of a few values that never change
    def checkpoint(self, origin: str) -> Checkpoint:
        """As a checkpoint of the log *origin*. Raises ``Halted`` ``anchor-unreadable`` when the anchor is of another log."""
        try:
            checkpoint = Checkpoint(origin, self.size, bytes.fromhex(self.root))
            stated = checkpoint.text if self.note is None else parse_note(self.note).text
        except Malformed as error:
            raise _unreadable(error.sentence) from None
        if stated != checkpoint.text:
            raise _unreadable(f"It was made for another log than {origin}.")
        return checkpoint


class _Written(Anchor, frozen=True, forbid_unknown_fields=True, kw_only=True):
    sha256: Sha256Hex


_DECODER: Final = msgspec.json.Decoder(_Written)


class HeldFolder:
    """The folder of an anchor, with its lock: made by :func:`held` and :func:`try_hold`, and the only way to write there."""

    __slots__ = ("_lock", "folder")

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder: Final = folder
        self._lock = lock

    def release(self) -> None:
        """Let the next one in."""
        os.close(self._lock)

    def make(self, size: int, root: bytes) -> Anchor:
        """Raises ``Conflict`` ``anchor-exists``: nothing overwrites an anchor; ``Malformed`` ``checkpoint-malformed``."""
        if os.path.lexists(self.folder / NAME):
            raise Conflict(
                "anchor-exists",
                f"{self.folder / NAME} exists and is not overwritten: it is what the signer believes over any database. "
                "Move it away by hand if you know better.",
            )
        # A checkpoint is made for its rules only: the empty tree has one root.
        Checkpoint("anchor", size, root)
        anchor = Anchor(id=secrets.token_hex(16), since=size, size=size, root=root.hex())
        self._write(anchor)
        return anchor

    def move(self, checkpoint: Checkpoint, note: bytes) -> None:
        """Move the anchor to *checkpoint*, which stands in *note*; it never goes back.

        Raises ``Halted`` ``log-rolled-back`` (a smaller size), ``log-forked`` (the same size with another root), and as
        :func:`read_anchor`.
        """
        before = read_anchor(self.folder)
        if checkpoint.size < before.size:
            raise Halted(
                "log-rolled-back",
                f"The anchor in {self.folder} is at {before.size} entries and does not go back to {checkpoint.size}.",
            )
        if checkpoint.size == before.size and checkpoint.root.hex() != before.root:
            raise Halted(
                "log-forked",
                f"The anchor in {self.folder} has another root at {before.size} entries: there are two logs.",
            )
        after = msgspec.structs.replace(before, size=checkpoint.size, root=checkpoint.root.hex(), note=note)
        after.checkpoint(checkpoint.origin)
        if after != before:
            self._write(after)

    def _write(self, anchor: Anchor) -> None:
        new = self.folder / _NEW
        # What a crash left half-written under this name is nobody's: the lock is held.
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(_encode(anchor))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.folder / NAME)
        sync_folder(self.folder)


def make_anchor(folder: Path, size: int, root: bytes) -> Anchor:
    """Make the anchor of a log that a person knows to have *root* at *size*; the folder is made (0700), its parent is not.

    Raises ``Conflict`` ``anchor-exists``, ``Malformed`` ``checkpoint-malformed``, ``Halted`` ``anchor-open``, ``Rejected``
    ``folder-parent-missing``, ``OSError``.
    """
    try:
        folder.mkdir(mode=0o700)
        sync_folder(folder.parent)
    except FileExistsError:
        pass
    except FileNotFoundError:
        raise Rejected("folder-parent-missing", f"The folder above {folder} does not exist: make it first.") from None
    with held(folder) as place:
        return place.make(size, root)


def read_anchor(folder: Path, anchor_id: str | None = None) -> Anchor:
    """Raises ``Halted``: ``anchor-missing``, ``anchor-unreadable``, ``anchor-open``; ``anchor-replaced`` if not *anchor_id*."""
    path = folder / NAME
    try:
        _refuse_open_folder(folder)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            _refuse_open_file(path, os.fstat(descriptor))
            raw = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise _missing(folder) from None
    except OSError as error:
        raise _unreadable(f"{path}: {error.strerror}.") from error
    anchor = _decode(raw)
    if anchor_id is not None and anchor.id != anchor_id:
        raise Halted(
            "anchor-replaced",
            f"The anchor in {folder} is {anchor.id}, and this signer started with {anchor_id}: start it anew.",
        )
    return anchor


@contextmanager
def held(folder: Path) -> Iterator[HeldFolder]:
    """Wait for the folder's lock, and hold it. Raises ``Halted`` ``anchor-missing``, ``anchor-open``; ``OSError``."""
    place = HeldFolder(folder, _open_lock(folder))
    try:
        fcntl.flock(place._lock, fcntl.LOCK_EX)  # noqa: SLF001 - one class and its two makers
        yield place
    finally:
        place.release()


def try_hold(folder: Path) -> HeldFolder | None:
    """The folder, until released, unless somebody has it just now. Raises as :func:`held`."""
    lock = _open_lock(folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return HeldFolder(folder, lock)


def sync_folder(folder: Path) -> None:
    """Make the folder's new names durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_lock(folder: Path) -> int:
    try:
        _refuse_open_folder(folder)
    except FileNotFoundError:
        raise _missing(folder) from None
    return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _encode(anchor: Anchor) -> bytes:
    digest = hashlib.sha256(canonical.encode(anchor)).hexdigest()
    return canonical.encode(msgspec.to_builtins(anchor) | {"sha256": digest})


@lru_cache(maxsize=4)
def _decode(raw: bytes) -> Anchor:
    try:
        read = canonical.decode(raw, _DECODER, "anchor-unreadable", "anchor")
    except Malformed as error:
        raise _unreadable(error.sentence) from None
    anchor = Anchor(id=read.id, since=read.since, size=read.size, root=read.root, note=read.note)
    if _encode(anchor) != raw:
        raise _unreadable("Its bytes are not those that were written.")
    return anchor


def _refuse_open_folder(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise _open(f"{folder} is no folder.")
    _refuse_others(folder, found, 0o700)


def _refuse_open_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _open(f"{path} is no file.")
    _refuse_others(path, found, 0o600)


def _refuse_others(path: Path, found: os.stat_result, mode: int) -> None:
    if found.st_uid != os.geteuid():
        raise _open(f"{path} belongs to uid {found.st_uid}, and the signer runs as {os.geteuid()}.")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise _open(f"{path} has mode {stat.S_IMODE(found.st_mode):04o}: chmod {mode:o} {path}")


def _open(sentence: str) -> Halted:
    return Halted("anchor-open", f"Nobody but the signer may come near its anchor. {sentence}")


def _missing(folder: Path) -> Halted:
    return Halted(
        "anchor-missing",
        f"There is no anchor in {folder}, so that the signer cannot know whether the database was rolled back. If this is a "
        "new signer, or you know the log's size and root from elsewhere: attestor log anchor init --size S --root R",
    )


def _unreadable(sentence: str) -> Halted:
    return Halted(
        "anchor-unreadable",
        f"The anchor cannot be read. {sentence} Nothing is signed. Find out why; if you know the log's size and root from "
        "elsewhere, move the file away and make another: attestor log anchor init --size S --root R",
    )
