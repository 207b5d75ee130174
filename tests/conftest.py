"""What many tests stand on: programs of the system, and real inputs that are not copied into the repository."""

import asyncio
import os
import secrets
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says what else runs on the machine; pytest's own time is watched instead.
settings.register_profile("attestor", deadline=None)
settings.load_profile("attestor")


@pytest.fixture(scope="session")
def tool():
    """`tool("gpg")` is the program's path. Without it the test is skipped, or fails where CI is set."""

    def find(name):
        path = shutil.which(name)
        if path is None and os.environ.get("CI"):
            pytest.fail(f"{name} is required in CI and is not on PATH")
        if path is None:
            pytest.skip(f"{name} is not on PATH")
        return path

    return find


@pytest.fixture(scope="session")
def real_input():
    """`real_input("signstar/sample-request.json")` is a file or folder of the real data, or the test is skipped."""
    root = Path(os.environ.get("ATTESTOR_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")

    def find(name):
        path = root / name
        if not path.exists():
            pytest.skip(f"no real input {name}: set ATTESTOR_DATA to a folder that has it")
        return path

    return find


def _run(coroutine):
    # A loop factory keeps the runner from touching the event loop that pytest-asyncio has set.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(coroutine)


class GivenPostgres:
    """A server that somebody else started, such as a container; asked as an EmbeddedPostgres is."""

    def __init__(self, address):
        self.address = address

    def dsn(self, user="postgres", database="postgres"):
        return f"postgresql://{user}@{self.address}/{database}"


@pytest.fixture(scope="session")
def postgres():
    """The EmbeddedPostgres of this run of tests, started by the first test that asks for it.

    `ATTESTOR_TEST_POSTGRES=HOST:PORT` names another server, whose superuser `postgres` needs no password.
    """
    from attestor.embedded.postgres import start_postgres

    if given := os.environ.get("ATTESTOR_TEST_POSTGRES"):
        yield GivenPostgres(given)
        return
    with tempfile.TemporaryDirectory(prefix="attestor-") as folder:
        server = _run(start_postgres(Path(folder), say=print))
        yield server
        _run(server.stop())


@pytest.fixture
def database(postgres):
    """The superuser's DSN of a fresh, empty database, dropped after the test with whatever is still connected."""
    name = f"test_{secrets.token_hex(8)}"
    _run(_execute(postgres.dsn(), f"CREATE DATABASE {name} TEMPLATE template0"))
    yield postgres.dsn(database=name)
    _run(_execute(postgres.dsn(), f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(dsn, statement):
    import asyncpg

    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
