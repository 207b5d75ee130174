"""The emulated NetHSM as a process of its own, on a free port of this host: ``python -m attestor.emulator``."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from attestor.core.errors import Unavailable
from attestor.embedded.child import Child
from attestor.embedded.files import own_folder

_START_SECONDS: Final = 20


class _Ready(msgspec.Struct, forbid_unknown_fields=True):
    url: str
    fingerprint: str
    certificate: str


@dataclass(frozen=True, slots=True)
class Emulator:
    """A device that answers at ``url`` with the certificate whose SHA-256 is ``fingerprint`` (lower-case hex)."""

    url: str
    fingerprint: str
    certificate_path: Path
    process: Child = field(repr=False)

    async def stop(self) -> None:
        """End it in order. May be repeated, in any event loop."""
        await self.process.stop()


@asynccontextmanager
async def emulator(folder: Path, *, flags: Sequence[str] = ()) -> AsyncIterator[Emulator]:
    """:func:`start_emulator`, stopped at the end of the block."""
    device = await start_emulator(folder, flags=flags)
    try:
        yield device
    finally:
        await device.stop()


async def start_emulator(folder: Path, *, flags: Sequence[str] = ()) -> Emulator:
    """Start the device with its state in ``folder``/state (made, or kept from before); it ends with this process.

    ``flags`` go to the program as they are (see its ``--help``); a later ``--listen`` wins over the free port. Raises
    Unavailable ``emulator-start-failed`` with the end of its output, and those of :func:`own_folder`.
    """
    path = own_folder(folder)
    ready_file = path / "ready.json"
    ready_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "attestor.emulator", "--state", str(path / "state"), "--listen", "127.0.0.1:0"]
    command += ["--ready-file", str(ready_file), "--exit-with-parent", *flags]
    child = Child(command, path / "emulator.log")
    ready = await child.ready(lambda: _announced(ready_file), _START_SECONDS)
    if ready is None:
        raise Unavailable("emulator-start-failed", f"The emulator did not start: {child.last_words()}")
    return Emulator(ready.url, ready.fingerprint, Path(ready.certificate), child)


def _announced(ready_file: Path) -> _Ready | None:
    try:
        return msgspec.json.decode(ready_file.read_bytes(), type=_Ready)
    except FileNotFoundError:
        return None
