"""Signs request after request in children of its own, and kills each with SIGKILL at another await.

Started by test_crash.py as a program: `python -m tests.system.crash_driver PLAN`, with the plan as JSON. The whole of
`sign_next` is driven step by step, so that every place where it, the store, the content's or the device's room really
waits is one: `suspends` kills when the wait has begun (what was asked is on its way), `resumes` when it is over and nothing
has followed. Prints, for each mode, after how many awaits a child came through.
"""

import asyncio
import importlib
import json
import os
import signal
import sys
from base64 import b64decode
from contextlib import AsyncExitStack
from pathlib import Path

from attestor.hsm.connection import NodeSettings
from attestor.service.sign import sign_next
from attestor.store.listen import Listener
from attestor.store.pool import Settings, connect
from tests.service.signers import device_of, make_signing

_MOST = 500


class Stepped:
    """Awaits a coroutine, and ends this process at its *fatal*-th await."""

    def __init__(self, coroutine, mode, fatal):
        self._coroutine = coroutine
        self._mode = mode
        self._fatal = fatal
        self._steps = 0

    def __await__(self):
        inner = self._coroutine.__await__()
        resume = lambda: next(inner)
        while True:
            try:
                waited = resume()
            except StopIteration as end:
                return end.value
            self._steps += 1
            self._die_if("suspends")
            try:
                yield waited
            except BaseException as error:  # noqa: BLE001 - handed on, as the interpreter would
                resume = lambda raised=error: inner.throw(raised)
            else:
                resume = lambda: next(inner)
            self._die_if("resumes")

    def _die_if(self, mode):
        if (mode, self._steps) == (self._mode, self._fatal):
            os.kill(os.getpid(), signal.SIGKILL)


async def sign_one(plan, mode, fatal):
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(connect(Settings(plan["dsn"])))
        device = device_of(NodeSettings(plan["url"], fingerprint=plan["fingerprint"]))
        stack.callback(device.close)
        certificates = {name: b64decode(raw) for name, raw in plan["certificates"].items()}
        parts = {"lease_seconds": 600.0}  # longer than all children together: each takes a request of its own
        signing = make_signing(pool, Listener(), device, certificates, Path(plan["folder"]), **parts)
        await Stepped(sign_next(signing), mode, fatal)


def lives(plan, mode, fatal):
    """Whether a child that is to die at this await came through, because there was no such await any more."""
    child = os.fork()
    if child == 0:
        asyncio.run(sign_one(plan, mode, fatal))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if status != 0:
        sys.exit(f"a child failed at await {fatal}, where it {mode}")
    return True


def load_what_signing_loads(plan):
    """The SDK imports as it is called, which would cost every child a second; found out by a child that signs."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        before = set(sys.modules)
        asyncio.run(sign_one(plan, "lives", 0))
        os.write(writer, "\n".join(set(sys.modules) - before).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as names:
        for name in names.read().split():
            importlib.import_module(name)
    os.waitpid(child, 0)


def main():
    plan = json.loads(Path(sys.argv[1]).read_text())
    load_what_signing_loads(plan)
    came_through = {
        mode: next(fatal for fatal in range(1, _MOST) if lives(plan, mode, fatal)) for mode in ("suspends", "resumes")
    }
    sys.stdout.write(json.dumps(came_through))


if __name__ == "__main__":
    main()
