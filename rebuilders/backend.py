"""Backends: the contract with an executable that builds (README.md), and the limits that it runs in.

The limits keep accidents small and leave nothing running; they are no wall against a program that wants to harm its own
account. Build foreign code in a container or a virtual machine, and start that from the backend.
"""

import asyncio
import hashlib
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from attestor.core.errors import Missing

_SUPERVISE: Final = Path(__file__).with_name("supervise.py")
_READ: Final = 1 << 16
_GRACE_SECONDS: Final = 10
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one build may use."""

    wall_seconds: int = 3600
    log_bytes: int = 64 << 20
    cpu_seconds: int = 3600
    """Of each process."""
    file_bytes: int = 16 << 30
    """Of each file."""
    processes: int = 4096
    """Of the account, as RLIMIT_NPROC counts; root is exempt."""
    memory_bytes: int | None = None
    """Address space of each process; some compilers reserve far more than they use."""


@dataclass(frozen=True, slots=True)
class Backend:
    """An executable that keeps the contract, and how it is called."""

    command: Path
    arguments: tuple[str, ...] = ()
    source_date_epoch: int | None = None
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Build:
    """How a build ended."""

    artifact: Path | None
    """The file, not yet looked at beyond its name; ``None`` where the build failed."""
    why: str
    """A sentence for people where it failed."""
    log_digest: bytes
    """SHA-256 of the log's bytes, as far as they were taken."""


def find_command(command: Path) -> Path:
    """The absolute path of an executable. Raises Missing ``no-backend``."""
    path = command.absolute()
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise Missing("no-backend", f"{path} is not an executable file.")
    return path


async def build(backend: Backend, folder: Path, file_name: str, log: BinaryIO) -> Build:
    """Run a backend in ``folder``, which holds ``source/``; makes ``output/`` there.

    No process of the build is alive when this returns. Raises Missing ``no-backend``.
    """
    command = find_command(backend.command)
    output = folder / "output"
    output.mkdir()
    child = await _start(command, backend, folder, file_name)
    taken = _Log(log, backend.limits.log_bytes)
    why = ""
    try:
        async with asyncio.timeout(backend.limits.wall_seconds):
            if not await taken.drain(child):
                why = f"the log is over {backend.limits.log_bytes} bytes"
            elif code := await child.wait():
                why = f"the backend ended with exit code {code}" if code > 0 else "the build's supervisor was killed"
    except TimeoutError:
        why = f"the build took more than {backend.limits.wall_seconds} s"
    finally:
        await _end(child)
    why = why or _fault_of(output, file_name)
    return Build(None if why else output / file_name, why, taken.digest.digest())


class _Log:
    """Takes a process's output, up to a limit."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file = file
        self._left = limit
        self.digest = hashlib.sha256()

    async def drain(self, child: Process) -> bool:
        """Read to the end; False as soon as there is more than the limit."""
        assert child.stdout is not None  # noqa: S101 - asked for with stdout=PIPE; tells the type checker
        while block := await child.stdout.read(_READ):
            taken = block[: self._left]
            self._file.write(taken)
            self.digest.update(taken)
            self._left -= len(taken)
            if len(taken) < len(block):
                return False
        return True


async def _start(command: Path, backend: Backend, folder: Path, file_name: str) -> Process:
    limits = backend.limits
    told = {"cpu_seconds": limits.cpu_seconds, "file_bytes": limits.file_bytes, "processes": limits.processes}
    if limits.memory_bytes is not None:
        told["memory_bytes"] = limits.memory_bytes
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", str(_SUPERVISE), json.dumps(told), str(command), *backend.arguments),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        cwd=folder,
        env=environment(folder, file_name, backend.source_date_epoch),
        start_new_session=True,
    )


def environment(folder: Path, file_name: str, source_date_epoch: int | None) -> dict[str, str]:
    """Everything that a backend finds in its environment."""
    variables = {
        "ATTESTOR_SOURCE": str(folder / "source"),
        "ATTESTOR_OUTPUT": str(folder / "output"),
        "ATTESTOR_RELEASE": file_name,
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PATH": PATH,
        "TZ": "UTC",
    }
    if source_date_epoch is not None:
        variables["SOURCE_DATE_EPOCH"] = str(source_date_epoch)
    return variables


async def _end(child: Process) -> None:
    """Ask the supervisor to end everything; if it cannot, end at least its session."""
    if child.returncode is None:
        with suppress(ProcessLookupError):
            child.terminate()
    try:
        await asyncio.wait_for(_drop_output(child), _GRACE_SECONDS)
    except TimeoutError:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()


async def _drop_output(child: Process) -> None:
    assert child.stdout is not None  # noqa: S101 - as above
    while await child.stdout.read(_READ):
        pass
    await child.wait()


def _fault_of(output: Path, file_name: str) -> str:
    """What is wrong with the output folder, which the backend may have filled with anything; empty where nothing is."""
    if output.is_symlink() or not output.is_dir():
        return "the output folder was replaced"
    names = [entry.name for entry in islice(output.iterdir(), 3)]
    if names != [file_name]:
        found = ", ".join(ascii(name[:64]) for name in sorted(names)) or "nothing"
        return f"the output folder must hold exactly {file_name}; it holds {found}"
    artifact = output / file_name
    if artifact.is_symlink() or not artifact.is_file():
        return "the output is no plain file"
    return "" if artifact.stat().st_size else "the output is empty"
