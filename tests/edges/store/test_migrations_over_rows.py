"""A migration over what an earlier version of the schema holds."""

import secrets
import shutil

import asyncpg
import pytest

from attestor.store import migrate as migrating
from tests.edges.store.seeds import P, add_release, add_vote, add_withdrawal


@pytest.fixture
async def former(postgres, tmp_path, monkeypatch):
    """A database as 0002 left it; the next one to migrate it has all migrations."""
    name, all_of_them = f"former_{secrets.token_hex(4)}", migrating.folder()
    owner = await asyncpg.connect(postgres.dsn())
    await owner.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    await owner.close()
    for migration in ("0001_ground", "0002_log"):
        shutil.copy(all_of_them / f"{migration}.sql", tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(migrating, "folder", lambda: tmp_path)
        assert await migrating.migrate(postgres.dsn(database=name)) == ["0001_ground", "0002_log"]
    owner = await asyncpg.connect(postgres.dsn(database=name))
    yield postgres.dsn(database=name), owner
    await owner.close()


async def test_what_was_taken_back_stays_so_and_each_withdrawal_stands_once(former):
    dsn, owner = former
    await add_release(owner)
    await add_vote(owner, "alice", b"a", b"alice's envelope")
    await add_withdrawal(owner, "alice", b"a", b"the first")
    with pytest.raises(asyncpg.UniqueViolationError):
        await add_withdrawal(owner, "alice", b"a", b"a second")
    await migrating.migrate(dsn)
    await add_withdrawal(owner, "alice", b"a", b"a second")
    for body in (b"the first", b"a second"):
        with pytest.raises(asyncpg.UniqueViolationError):
            await add_withdrawal(owner, "alice", b"a", body)
    rows = await owner.fetch("SELECT body FROM withdrawals WHERE release_id = $1 ORDER BY body", bytes.fromhex(P.id))
    assert [row["body"] for row in rows] == [b"a second", b"the first"]
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await add_withdrawal(owner, "bob", b"a", b"of what nobody stated")
    with pytest.raises(asyncpg.NotNullViolationError):
        await owner.execute("UPDATE withdrawals SET release_id = NULL")
