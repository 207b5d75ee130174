"""Two devices for all tests of a file, and devices of ours that sign with them."""

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
