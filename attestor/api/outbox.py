"""Answers that are ready before anybody reads them."""

import asyncio
import tempfile
from typing import Final

_IN_MEMORY: Final = 1 << 20
_PIECE: Final = 64 << 10


class Outbox:
    """Answers that are ready: in memory up to 1 MiB, beyond that in a file without a name."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by close()
        self._read = self._written = 0
        self._changed = asyncio.Event()
        self._complete = False

    def put(self, text: bytes) -> None:
        self._file.seek(self._written)
        self._file.write(text)
        self._written += len(text)
        self._changed.set()

    def finish(self) -> None:
        """Nothing more will come."""
        self._complete = True
        self._changed.set()

    async def take(self) -> bytes:
        """The next answers, as soon as there are some; empty at the end."""
        while self._read == self._written:
            if self._complete:
                return b""
            self._changed.clear()
            await self._changed.wait()
        self._file.seek(self._read)
        piece = self._file.read(_PIECE)
        self._read += len(piece)
        if self._read == self._written:
            self._file.seek(0)
            self._file.truncate()
            self._read = self._written = 0
        return piece

    def close(self) -> None:
        self._file.close()
