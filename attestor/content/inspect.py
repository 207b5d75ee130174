"""Look into the content from a safe distance: a confined child reads it, this side reads the child's one line.

Whatever the child does other than answer in time is a refusal or an outage, never an acceptance.
"""

import asyncio
import functools
import importlib.util
import json
import math
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from ctypes.util import find_library
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import msgspec

from attestor.core.contents import Facts
from attestor.core.errors import Rejected, Unavailable

_INSPECTOR: Final = Path(__file__).with_name("inspector.py")
_NO_LIBRARY: Final = 3
_READ: Final = 1 << 16
_decode = msgspec.json.Decoder(Facts).decode


@dataclass(frozen=True, slots=True)
class Limits:
    """What the child may use. The defaults fit the largest databases and images in the field several times over."""

    cpu_seconds: int = 120
    memory_bytes: int = 1 << 30
    """Address space: zstd's window of at most 128 MiB and xz's largest dictionary fit, a memory bomb does not."""
    entries: int = 250_000
    unpacked_bytes: int = 16 << 30
    answer_bytes: int = 64 << 20


LIMITS: Final = Limits()


async def inspect(path: Path, *, deadline_seconds: float, limits: Limits = LIMITS, library: str | None = None) -> Facts:
    """Report what libarchive sees in the file at ``path``, which must lie where nobody else can change it.

    ``library`` names the libarchive to load (default: the system's, else the wheel's). Raises ``Rejected``
    (``content-unreadable``) where the bytes break the reader, ``Unavailable`` (``inspection-slow``,
    ``inspector-unavailable``) where the machine did.
    """
    child = await _start(path, deadline_seconds, limits, library or libarchive())
    try:
        async with asyncio.timeout(deadline_seconds):
            answer = await _answer(child, limits.answer_bytes)
            status = await child.wait()
    except TimeoutError:
        raise _slow() from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.communicate()
    _refuse_failure(status, limits)
    try:
        return _decode(answer)
    except msgspec.MsgspecError:
        raise Rejected("content-unreadable", "The inspector's answer about the artifact cannot be read.") from None


@functools.cache
def libarchive() -> str:
    """Find the system's libarchive as pacman would, else the one in the wheel ``extractcode-libarchive``."""
    found = find_library("archive")
    if found:
        return found
    wheel = wheel_libarchive()
    if wheel is None:
        raise Unavailable("inspector-unavailable", "There is no libarchive; install it, or attestor[demo].")
    return wheel


def wheel_libarchive() -> str | None:
    """Find the library inside the wheel, without importing what else the wheel brings."""
    spec = importlib.util.find_spec("extractcode_libarchive")
    if spec is None or spec.origin is None:
        return None
    return str(Path(spec.origin).parent / "lib" / "libarchive.so")


async def _start(path: Path, deadline_seconds: float, limits: Limits, library: str) -> Process:
    # Its own alarm, a little later than ours: the child ends even if this process is gone.
    told = json.dumps(asdict(limits) | {"deadline_seconds": math.ceil(deadline_seconds) + 1})
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Unavailable("inspector-unavailable", f"The private copy cannot be opened: {error.strerror}.") from error
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(_INSPECTOR), str(fd), told),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=DEVNULL,
            pass_fds=(fd,),
            cwd="/",
            env={"LIBARCHIVE": library, "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable("inspector-unavailable", f"The inspector cannot be started: {error.strerror}.") from error
    finally:
        os.close(fd)


async def _answer(child: Process, limit: int) -> bytes:
    assert child.stdout is not None  # noqa: S101 - asked for with stdout=PIPE; tells the type checker
    answer = bytearray()
    while got := await child.stdout.read(_READ):
        answer += got
        if len(answer) > limit:
            raise Rejected("content-unreadable", f"The artifact's listing is over {limit} bytes.")
    return bytes(answer)


def _refuse_failure(status: int, limits: Limits) -> None:
    if status == 0:
        return
    if status == _NO_LIBRARY:
        raise Unavailable("inspector-unavailable", "The inspector cannot load libarchive; see `attestor check`.")
    if status == -signal.SIGALRM:
        raise _slow()
    if status == -signal.SIGKILL:
        raise Unavailable("inspector-unavailable", "The inspector was killed, perhaps for want of memory on this host.")
    if status == -signal.SIGXCPU:
        raise Rejected(
            "content-unreadable", f"Reading the artifact takes more than {limits.cpu_seconds} s of CPU time."
        )
    raise Rejected("content-unreadable", f"The artifact broke the inspector (status {status}).")


def _slow() -> Unavailable:
    return Unavailable("inspection-slow", "The inspection of the artifact did not end within its deadline.")
