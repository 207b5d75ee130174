from contextlib import asynccontextmanager

import pytest

from attestor.anchor.anchorfile import make_anchor
from attestor.anchor.memory import FileMemory
from tests.edges.anchor.logged import ORIGIN, tree
from tests.plainmemory import PlainMemory


@pytest.fixture
def folder(tmp_path):
    """Where an anchor may be made."""
    return tmp_path / "anchor"


@asynccontextmanager
async def in_files(folder, size=0):
    make_anchor(folder, size, tree(size).root)
    async with FileMemory.opened(folder, ORIGIN) as memory:
        yield memory


@asynccontextmanager
async def in_plain(folder, size=0):
    yield PlainMemory(ORIGIN, "a" * 32, size, tree(size).root)


@pytest.fixture(params=[in_files, in_plain], ids=["files", "plain"])
def remembering(request, folder):
    """`remembering(size=0)` is a context with a new memory, whose anchor is made at that size."""
    return lambda size=0: request.param(folder, size)
