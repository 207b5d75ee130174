"""`attestor audit` as who trusts nobody runs it: a process of its own, over HTTPS, against the real service."""

import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager

import asyncpg
import pytest

from attestor.app.embedded import resolved
from attestor.cli.output import Exit
from attestor.config import load_config
from tests.edges.store.emptying import tamper
from tests.system.houses import package


@pytest.fixture
def audit(house, tmp_path):
    """`audit("state", ...)` runs it with its book in that folder; exit code, what it printed as JSON, and its errors."""

    def call(state, *more):
        program = [
            sys.executable, "-m", "attestor", "audit", "--server", house.public, "--ca", house.ca, "--json",
            "--policy", house.folder / "policy.toml", "--state", tmp_path / state, *more,
        ]  # fmt: skip
        done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr

    return call


@asynccontextmanager
async def owner(house):
    connection = await asyncpg.connect(resolved(load_config(house.folder / "attestor.toml")).database.dsn_owner)
    try:
        yield connection
    finally:
        await connection.close()


@contextmanager
def asleep(process):
    """A signer looks again at old entries by itself, and would halt."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


async def test_an_audit_of_the_service_is_clean_goes_on_and_finds_what_was_tampered_with(house, sign, audit):
    name, content = package("audited"), b"bytes that two agree on"
    await house.attest(name, content, "alice", "bob")
    await sign(name, content)

    code, first, said = audit("state")
    assert (code, first["findings"], first["clean"], said) == (Exit.YES, [], True, "")
    assert first["judged"] >= 5
    assert audit("state") == (code, first, "")

    later = package("audited-later")
    await house.attest(later, content, "alice", "bob")
    await sign(later, content)
    code, second, _ = audit("state")
    assert (code, second["findings"]) == (Exit.YES, [])
    assert second["judged"] == first["judged"] + 4

    async with owner(house) as connection:
        # The database itself gives out no signature but the one that was logged, so that the bundle is gone.
        release = "(SELECT id FROM releases WHERE file_name = $1)"
        change = f"UPDATE signatures SET signature = signature || '\\x00' WHERE release_id = {release}"  # noqa: S608 - constant
        await tamper(connection, change, name.file_name)
        code, found, _ = audit("anew")
        assert (code, [one["code"] for one in found["findings"]]) == (Exit.REFUSED, ["bundle-withheld"])
        undo = f"UPDATE signatures SET signature = substring(signature FOR octet_length(signature) - 1) WHERE release_id = {release}"  # noqa: S608 - constant
        await tamper(connection, undo, name.file_name)

        with asleep(house.roles()["signer"]):
            entry = await connection.fetchval("SELECT entry FROM log_entries WHERE idx = 1")
            await tamper(connection, "UPDATE log_entries SET entry = $1 WHERE idx = 1", b"{}")
            code, found, said = audit("state")
            await tamper(connection, "UPDATE log_entries SET entry = $1 WHERE idx = 1", entry)
    assert (code, found) == (Exit.HALTED, None)
    assert "[log-rewritten]" in said
    # It went away again, and was seen all the same.
    code, found, _ = audit("state")
    assert (code, [one["code"] for one in found["findings"]]) == (Exit.REFUSED, ["log-rewritten"])
