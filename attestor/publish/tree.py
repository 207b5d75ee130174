"""A static tree as C2SP tlog-tiles lays it out: any web server serves it, any mirror copies it (ports ``LogSource``, ``LogTree``)."""

import asyncio
import fcntl
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import Final

from attestor.core.errors import Conflict, Halted, Missing, Unavailable
from attestor.core.tlog.note import MAX_NOTE_BYTES
from attestor.core.tlog.tiles import TILE, Tile
from attestor.service.tilewise import entries_of, narrowed

_CHECKPOINT: Final = "checkpoint"
_INCOMING: Final = ".incoming"


class StaticTree:
    """The folder's ``checkpoint`` and ``tile/…``; see the ports for its promises. Made where it is missing, by the first writer."""

    def __init__(self, folder: Path) -> None:
        self._root = folder
        self._unsettled: set[Path] = set()
        """Folders with names that are not durable yet."""

    async def checkpoint(self) -> bytes | None:
        try:
            return await asyncio.to_thread(_read, self._root / _CHECKPOINT, MAX_NOTE_BYTES)
        except FileNotFoundError:
            return None

    async def tile(self, tile: Tile) -> bytes:
        return await asyncio.to_thread(self._tile, tile)

    async def entries(self, start: int, end: int) -> list[bytes]:
        return await entries_of(self.tile, start, end)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        descriptor = await asyncio.to_thread(self._lock)
        try:
            yield
        finally:
            shutil.rmtree(self._root / _INCOMING, ignore_errors=True)
            os.close(descriptor)

    async def put(self, tile: Tile, raw: bytes) -> None:
        await asyncio.to_thread(self._put, tile, raw)

    async def put_checkpoint(self, note: bytes) -> None:
        await asyncio.to_thread(self._put_checkpoint, note)

    def _tile(self, tile: Tile) -> bytes:
        for wider in self._at_least(tile):
            try:
                raw = _read(self._root / wider.path)
            except FileNotFoundError:
                continue
            return raw if wider == tile else narrowed(raw, wider, tile.width)
        raise Missing("tile-unknown", f"There is no {tile.path} in {self._root}.")

    def _at_least(self, tile: Tile) -> "chain[Tile]":
        """Itself, then what it is a prefix of: exports keep the widths of their own checkpoints only."""
        full = Tile(tile.level, tile.index)
        partials = self._root / f"{full.path}.p"
        names = [path.name for path in partials.iterdir()] if tile.width < TILE and partials.is_dir() else []
        widths = sorted(int(name) for name in names if name.isascii() and name.isdecimal())
        wider = (Tile(tile.level, tile.index, width) for width in widths if tile.width < width < TILE)
        return chain([tile], wider, [full] if tile.width < TILE else [])

    def _lock(self) -> int:
        self._root.mkdir(exist_ok=True)
        self._unsettled.add(self._root.parent)
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # What a writer that died has left half written.
            shutil.rmtree(self._root / _INCOMING, ignore_errors=True)
        except BlockingIOError:
            os.close(descriptor)
            raise Conflict("tree-busy", f"Another process is writing to {self._root}; let it finish.") from None
        return descriptor

    def _put(self, tile: Tile, raw: bytes) -> None:
        target = self._root / tile.path
        try:
            held = _read(target)
        except FileNotFoundError:
            self._write(target, raw)
        else:
            if held != raw:
                raise Halted(
                    "tile-differs",
                    f"{target} holds other bytes than the log's checkpoint stands for: the file was damaged, or the folder is of "
                    "another log. Nothing was overwritten. Move the file away to have it written anew, or give another folder.",
                )
        # A file that is there may come from a run that died before its name was durable.
        self._unsettled.update([target.parent, *target.parent.parents][: len(Path(tile.path).parts)])

    def _put_checkpoint(self, note: bytes) -> None:
        for folder in sorted(self._unsettled):
            _sync(folder)
        self._unsettled.clear()
        self._write(self._root / _CHECKPOINT, note)
        _sync(self._root)

    def _write(self, target: Path, raw: bytes) -> None:
        """There whole or not at all; its name is durable once its folder is."""
        incoming = self._root / _INCOMING / "-".join(target.relative_to(self._root).parts)
        try:
            incoming.parent.mkdir(exist_ok=True)
            with incoming.open("wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            incoming.replace(target)
        except OSError as error:
            raise Unavailable("tree-unwritable", f"{target} cannot be written: {error.strerror}.") from error


def _read(path: Path, limit: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except NotADirectoryError:
        raise FileNotFoundError(path) from None
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unavailable("tree-unreadable", f"{path} cannot be read: {error.strerror}.") from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
