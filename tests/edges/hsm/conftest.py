"""Two devices for all tests of a file, and devices of ours that sign with them."""

import asyncio
import contextlib

import pytest
import pytest_asyncio

from attestor.embedded.device import emulator
from attestor.hsm.device import Device, DeviceSettings
from tests.edges.hsm.nodes import Running, count_nowhere


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes(tmp_path_factory):
    """Two devices with users and keys of the same names."""
    async with contextlib.AsyncExitStack() as stack:
        running = []
        for name in ("first", "second"):
            folder = tmp_path_factory.mktemp(name)
            started = await stack.enter_async_context(emulator(folder, flags=("--faults",)))
            running.append(Running(started).set_up())
        yield running


class Clock:
    """The loop's clock, by which deadlines and pauses go, in a test's hand."""

    def __init__(self, real):
        self._real = real
        self._stopped = None
        self._later = 0.0

    def time(self):
        return (self._real() if self._stopped is None else self._stopped) + self._later

    def stop(self):
        self._stopped = self._real()

    def pass_by(self, seconds):
        self._later += seconds


@pytest_asyncio.fixture(loop_scope="module")
async def clock(monkeypatch):
    loop = asyncio.get_running_loop()
    clock = Clock(loop.time)
    monkeypatch.setattr(loop, "time", clock.time)
    return clock


@pytest.fixture
def make(nodes):
    """Makes a Device of the first node, or of those given; closed at the end, with all faults forgotten."""
    made = []

    def device(*chosen, slots=4, deadline=5.0, production=False, reserved=None, count=count_nowhere, **times):
        settings = tuple(each.node(**times) if isinstance(each, Running) else each for each in chosen or nodes[:1])
        made.append(Device(DeviceSettings(settings, slots, deadline, production, reserved or {}), count))
        return made[-1]

    yield device
    for each in made:
        each.close()
    for node in nodes:
        node.clear()
