"""Keeps one server alive exactly as long as the process that started it.

Run by :mod:`attestor.embedded.postgres` as ``python -I -S keeper.py [--uid N --gid N] [--remove DIR] -- COMMAND``: a
program of its own that imports nothing of attestor. Its standard input is a pipe whose other end the parent holds;
when that closes (or SIGTERM comes), the server gets SIGINT, which to PostgreSQL is a fast shutdown: transactions roll
back, a checkpoint is written. If the keeper itself is killed, the kernel sends the same SIGINT. All descriptors that it
was given pass on to the server.
"""

import argparse
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Final

_FAST_SECONDS: Final = 25
_IMMEDIATE_SECONDS: Final = 5
_PR_SET_PDEATHSIG: Final = 1


def main() -> int:
    """Run the command until it or the parent ends; the exit code is the command's (128 + signal if one ended it)."""
    options = _options()
    wakeup = _wakeup_pipe()
    try:
        code = _keep(options, wakeup)
    finally:
        for folder in options.remove:
            shutil.rmtree(folder, ignore_errors=True)
    return code if code >= 0 else 128 - code


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("--remove", action="append", default=[])
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


def _wakeup_pipe() -> int:
    """The read end of a pipe that gets one byte, the number, for each SIGTERM and SIGCHLD."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return reading


def _keep(options: argparse.Namespace, wakeup: int) -> int:
    server = subprocess.Popen(
        options.command,
        stdin=subprocess.DEVNULL,
        close_fds=False,
        user=options.uid,
        group=options.gid,
        extra_groups=None if options.uid is None else [],
        preexec_fn=_end_with_keeper(),  # noqa: PLW1509 - this program has one thread
    )
    while server.poll() is None:
        readable, _, _ = select.select([sys.stdin, wakeup], [], [])
        if sys.stdin in readable or signal.SIGTERM in os.read(wakeup, 512):
            return _shut_down(server)
    return server.returncode


def _shut_down(server: "subprocess.Popen[bytes]") -> int:
    for number, seconds in ((signal.SIGINT, _FAST_SECONDS), (signal.SIGQUIT, _IMMEDIATE_SECONDS)):
        server.send_signal(number)
        try:
            return server.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    server.kill()
    return server.wait()


def _end_with_keeper() -> Callable[[], None] | None:
    """To run in the new child after it changed user (which would clear the wish): prctl(2), known to Linux alone."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
