"""The parent of one build: sets its limits, and leaves no process of it behind.

Run by :mod:`rebuilders.backend` as ``python -I supervise.py LIMITS COMMAND ARGUMENT...``: a program of its own that
imports nothing of ours. It is the subreaper (prctl(2)) of everything that the command starts, so a daemon that made a
session of its own is found and killed too. SIGTERM, or the end of whoever started it, ends the build. Linux only.
Exit code: the command's, 128 + signal where one ended it, 127 where it could not be started.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_RESOURCES: Final = {
    "cpu_seconds": resource.RLIMIT_CPU,
    "file_bytes": resource.RLIMIT_FSIZE,
    "memory_bytes": resource.RLIMIT_AS,
    "processes": resource.RLIMIT_NPROC,
}


def main(limits: dict[str, int], command: list[str]) -> int:
    """Run the command to its end, then end whatever it left running."""
    signal.signal(signal.SIGTERM, _end)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    child = os.fork()
    if child == 0:
        _become(limits, command)
    code = 128 + signal.SIGTERM
    with suppress(SystemExit):
        code = _wait_for(child)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _end_all(child)
    return code


def _end(*_: object) -> None:
    raise SystemExit


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _become(limits: dict[str, int], command: list[str]) -> None:
    """In the child: a session of its own, the limits, then the command. Never returns."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        # A build that kills its supervisor ends with it.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _limit(resource.RLIMIT_CORE, 0)
        for name, value in limits.items():
            _limit(_RESOURCES[name], value)
        os.execv(command[0], command)  # noqa: S606 - no shell: that is the point
    except (OSError, ValueError) as error:
        print(f"{command[0]} cannot be started: {error}", file=sys.stderr, flush=True)  # noqa: T201 - the build's log
    finally:
        os._exit(127)


def _limit(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


def _wait_for(child: int) -> int:
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _end_all(child: int) -> None:
    """Kill until nobody is left; what is killed hands its children to us."""
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    while True:
        for pid in _descendants(os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                # proc(5): the name in parentheses may hold anything; state and parent follow the last one.
                parent = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        todo += (born := children.pop(todo.pop(), []))
        found += born
    return found


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1]), sys.argv[2:]))
