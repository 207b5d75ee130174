"""A child program that ends when its standard input closes: by :meth:`Child.stop`, or because its parent died.

The write end of that pipe is held by this process alone (descriptors are not inheritable by default), so the kernel
closes it however the process ends, SIGKILL included. Nothing here is bound to an event loop: a child that was started
in one loop may be stopped in another.
"""

import asyncio
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from attestor.embedded.files import open_log

TAIL_BYTES: Final = 2000
"""How much of a log stands in an error: enough for the last few lines."""
_POLL_SECONDS: Final = 0.01
_STOP_SECONDS: Final = 40

T = TypeVar("T")


class Child:
    """One running program; its standard output and error go to ``log``, which starts anew."""

    def __init__(  # noqa: PLR0913 - the shape of subprocess.Popen, and only what is used of it
        self,
        command: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        uid: int | None = None,
        gid: int | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._log = log
        with open_log(log) as output:
            # A session of its own: Ctrl-C in a terminal reaches the parent, which then stops its parts in its own order.
            self._running = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd="/",
                user=uid,
                group=gid,
                extra_groups=None if uid is None else [],
                pass_fds=pass_fds,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._running.poll()

    async def answer(self, look: Callable[[], T | None], seconds: float) -> T | None:
        """What ``look`` finds first; None if the child ends or ``seconds`` pass before it finds anything."""
        for _ in range(int(seconds / _POLL_SECONDS)):
            found = look()
            if found is not None or self.exit_code is not None:
                return found
            await asyncio.sleep(_POLL_SECONDS)
        return None

    async def ready(self, look: Callable[[], T | None], seconds: float) -> T | None:
        """As :meth:`answer`, and a child without an answer is stopped."""
        try:
            found = await self.answer(look, seconds)
        except BaseException:
            await self.stop()
            raise
        if found is None:
            await self.stop()
        return found

    async def stop(self) -> None:
        """End it in order by closing its standard input, and wait; killed only if that takes 40 s. May be repeated."""
        self._close_input()
        if await self.answer(lambda: self.exit_code, _STOP_SECONDS) is None:
            self.kill()

    def kill(self) -> None:
        """End it at once, if it still runs."""
        self._close_input()
        self._running.kill()
        self._running.wait()

    def _close_input(self) -> None:
        if self._running.stdin:
            self._running.stdin.close()

    def last_words(self) -> str:
        """The end of its log, for an error's sentence."""
        with self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - TAIL_BYTES))
            return file.read(TAIL_BYTES).decode(errors="replace").strip() or "(it wrote nothing)"
