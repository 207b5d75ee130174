"""The last time of day that a signer believed, kept in the anchor's folder: a restart does not make a wrong clock right."""

import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from attestor.anchor.anchorfile import sync_folder
from attestor.core.errors import Halted
from attestor.core.steady import ClockMark, refuse_jump

NAME: Final = "clock"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_DECODER: Final = msgspec.json.Decoder(ClockMark)


class SteadyClock:
    """A clock that halts whoever asks it once the time of day has jumped; for one process, beside others on the folder."""

    def __init__(self, folder: Path, wall: Callable[[], datetime]) -> None:
        """*wall* is the time of day. Raises ``Halted`` ``clock-jumped``, ``clock-unreadable``; ``OSError``."""
        self._folder = folder
        self._wall = wall
        self._boot = _BOOT.read_text("ascii").strip()
        # Of this process's beginning for as long as it runs: many small steps are one large one.
        self._known = _read(folder / NAME) or self._mark()
        self.now()

    def now(self) -> datetime:
        """The time of day. Raises ``Halted`` ``clock-jumped``."""
        mark = self._mark()
        refuse_jump(self._known, mark)
        return mark.moment

    def keep(self) -> None:
        """Write down how late it is; to be called now and then. Raises ``Halted`` ``clock-jumped``, ``OSError``."""
        mark = self._mark()
        refuse_jump(self._known, mark)
        new = self._folder / f"{NAME}.{os.getpid()}"
        with new.open("wb") as file:
            file.write(msgspec.json.encode(mark))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._folder / NAME)
        sync_folder(self._folder)

    def _mark(self) -> ClockMark:
        return ClockMark(self._boot, time.clock_gettime(time.CLOCK_BOOTTIME), self._wall())


def _read(path: Path) -> ClockMark | None:
    try:
        return _DECODER.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise Halted(
            "clock-unreadable",
            f"{path} cannot be read: {error}. Nothing is signed. Look at the clock (date --utc), then remove the file.",
        ) from error
