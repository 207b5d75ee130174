"""Children that end themselves by SIGKILL at a step of their own that was chosen before: an await, or a change on disk."""

import os
import signal
import sqlite3
import sys
import threading
from functools import partial, wraps

import uvloop

MOST = 500
"""No work has so many steps."""
_FILE_CALLS = ("open", "fdopen", "fsync", "replace", "unlink", "symlink", "close")


class Doom:
    """Counts steps, and ends this process at the *fatal*-th, in the named moment of it; 0 never comes."""

    def __init__(self, moment, fatal):
        self._moment = moment
        self._fatal = fatal
        self._steps = 0

    @property
    def spared(self):
        return self._fatal == 0

    def step(self):
        self._steps += 1

    def comes(self, moment):
        if (moment, self._steps) == (self._moment, self._fatal):
            os.kill(os.getpid(), signal.SIGKILL)


class Stepped:
    """Awaits a coroutine; each of its awaits is a step with the moments `suspends` and `resumes`."""

    def __init__(self, doom, coroutine):
        self._doom = doom
        self._coroutine = coroutine

    def __await__(self):
        inner = self._coroutine.__await__()
        resume = lambda: next(inner)
        while True:
            try:
                waited = resume()
            except StopIteration as end:
                return end.value
            self._doom.step()
            self._doom.comes("suspends")
            try:
                yield waited
            except BaseException as error:  # noqa: BLE001 - handed on, as the interpreter would
                resume = lambda raised=error: inner.throw(raised)
            else:
                resume = lambda: next(inner)
            self._doom.comes("resumes")


class DiskSteps:
    """While armed, each thing that the memory's writing thread does to files is a step with the moment `before`.

    Those are the statements of SQLite, and the calls that open, write out, rename, link or remove a file.
    """

    def __init__(self, doom):
        self._doom = doom
        self._armed = False

        class Counting(sqlite3.Connection):
            execute = self._counted(sqlite3.Connection.execute)
            executemany = self._counted(sqlite3.Connection.executemany)
            executescript = self._counted(sqlite3.Connection.executescript)

        sqlite3.connect = partial(sqlite3.connect, factory=Counting)
        for name in _FILE_CALLS:
            setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, call):
        @wraps(call)
        def counted(*arguments, **named):
            if self._armed and threading.current_thread().name.startswith("memory-writing"):
                self._doom.step()
                self._doom.comes("before")
            return call(*arguments, **named)

        return counted

    async def during(self, coroutine):
        self._armed = True
        try:
            return await coroutine
        finally:
            self._armed = False


def comes_through(work, moment, fatal):
    """Whether a child that is to die in this step of its *work* did not, because it takes no such step."""
    child = os.fork()
    if child == 0:
        uvloop.run(work(Doom(moment, fatal)))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if status != 0:
        sys.exit(f"a child failed that was to die in step {fatal} ({moment})")
    return True


def deaths(work, moment, *, heir, steps):
    """Let a child die in each of these *steps* of its *work*, in turn, and say which was the last; with *heir*, another goes on."""
    last = 0
    for fatal in steps:
        # One that comes through by chance, because it had to wait less often, is not the last.
        if comes_through(work, moment, fatal) and comes_through(work, moment, fatal + 1):
            return last
        if heir and not comes_through(work, moment, 0):
            sys.exit(f"the heir of step {fatal} died")
        last = fatal
    sys.exit(f"there is no end of steps ({moment})")
