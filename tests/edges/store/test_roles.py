"""The two database roles: what the schema itself keeps each from doing, whatever its process was talked into."""

# ruff: noqa: S608 - the statements are made of constants

import asyncpg
import pytest
import pytest_asyncio

from attestor.store.migrate import applied, migrate, pending

RELEASE, DIGEST = b"\1" * 32, b"\2" * 32
_ID = "00000000-0000-0000-0000-000000000001"
SEED = f"""
INSERT INTO releases (id, kind, purl, file_name) VALUES ('\\x{RELEASE.hex()}', 'package', 'p', 'f');
INSERT INTO envelopes VALUES ('alice', '\\x{DIGEST.hex()}', 'body', now());
INSERT INTO claims VALUES ('\\x{RELEASE.hex()}', 'alice', '\\x{DIGEST.hex()}', 'rebuild', '{{k}}', 'built',
    '\\x{DIGEST.hex()}', NULL, 1, now());
INSERT INTO decisions VALUES ('\\x{RELEASE.hex()}', 'reached', 't', 'p', now(), '{{}}', now());
INSERT INTO signing_requests (id, release_id, requester, tier, size, sha256, sha512, content, content_present, state,
    reason, sentence) VALUES ('{_ID}', '\\x{RELEASE.hex()}', 'r', 't', 1, '\\x{DIGEST.hex()}',
    '\\x{(DIGEST * 2).hex()}', '{{}}', true, 'queued', 'queued', '');
"""
COPY_REQUEST = """INSERT INTO signing_requests (id, release_id, requester, tier, size, sha256, sha512, content,
    content_present, state, reason, sentence, lease_until) SELECT gen_random_uuid(), release_id, requester, tier, size,
    sha256 || '' , sha512, content, true, {state}, '', '', {lease} FROM signing_requests"""
SIGN = [
    f"INSERT INTO signed_digests VALUES ('\\x{RELEASE.hex()}', '\\x{DIGEST.hex()}')",
    f"""INSERT INTO signatures (release_id, key_fingerprint, request_id, sha256, signature)
        VALUES ('\\x{RELEASE.hex()}', 'F', '{_ID}', '\\x{DIGEST.hex()}', 'sig')""",
]
API_CANNOT = [
    *SIGN,
    "UPDATE signing_requests SET state = 'claimed', lease_until = now()",
    "UPDATE signing_requests SET state = 'signed'",
    "UPDATE signing_requests SET fence = 9",
    "UPDATE signing_requests SET signing_time = now()",
    "UPDATE signing_requests SET sha256 = sha256",
    "UPDATE signing_requests SET content = content",
    "UPDATE signing_requests SET requester = requester",
    "DELETE FROM signing_requests",
    COPY_REQUEST.format(state="'signed'", lease="NULL"),
    COPY_REQUEST.format(state="'claimed'", lease="now()"),
    "UPDATE claims SET sha256 = sha256",
    "UPDATE claims SET operator = operator",
    "DELETE FROM claims",
    "UPDATE envelopes SET body = body",
    "DELETE FROM envelopes",
    "UPDATE withdrawals SET reason = reason",
    "DELETE FROM withdrawals",
    "UPDATE events SET detail = detail",
    "DELETE FROM events",
    "DELETE FROM decisions",
    "UPDATE releases SET kind = kind",
    "UPDATE releases SET purl = purl",
    "DELETE FROM releases",
    "UPDATE signed_digests SET sha256 = sha256",
    "DELETE FROM signed_digests",
    "UPDATE signatures SET signature = signature",
    "DELETE FROM signatures",
    "TRUNCATE events",
    "CREATE TABLE mine ()",
    "ALTER TABLE signing_requests DISABLE ROW LEVEL SECURITY",
    "SET ROLE attestor_signer",
]
SIGNER_CANNOT = [
    f"INSERT INTO claims SELECT release_id, 'bob', payload_digest, form, keys, outcome, sha256, sha512, size, received_at FROM claims -- {_ID}",
    "INSERT INTO envelopes SELECT 'bob', payload_digest, body, received_at FROM envelopes",
    f"INSERT INTO withdrawals VALUES ('alice', '\\x{DIGEST.hex()}', '\\x{RELEASE.hex()}', 'r', 'b', now())",
    "INSERT INTO releases (id, kind, purl, file_name) VALUES ('\\x" + "03" * 32 + "', 'package', 'p', 'f')",
    COPY_REQUEST.format(state="'queued'", lease="NULL"),
    "UPDATE claims SET sha256 = sha256",
    "DELETE FROM claims",
    "UPDATE envelopes SET body = body",
    "UPDATE decisions SET state = 'reached'",
    "DELETE FROM decisions",
    "UPDATE signing_requests SET sha256 = sha256",
    "UPDATE signing_requests SET content_present = true",
    "UPDATE signing_requests SET release_id = release_id",
    "DELETE FROM signing_requests",
    "UPDATE signatures SET signature = signature",
    "DELETE FROM signatures",
    "UPDATE signed_digests SET sha256 = sha256",
    "DELETE FROM signed_digests",
    "UPDATE events SET detail = detail",
    "DELETE FROM events",
    "UPDATE releases SET kind = kind",
    "SET ROLE attestor_api",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seeded(postgres):
    owner = await asyncpg.connect(postgres.dsn())
    await owner.execute("CREATE DATABASE roles TEMPLATE template0")
    await owner.close()
    await migrate(postgres.dsn(database="roles"))
    owner = await asyncpg.connect(postgres.dsn(database="roles"))
    await owner.execute(SEED)
    await owner.close()
    return lambda role: postgres.dsn(role, "roles")


async def _refused(dsn, statement):
    connection = await asyncpg.connect(dsn)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with connection.transaction():
                await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("statement", API_CANNOT)
async def test_the_api_cannot(seeded, statement):
    await _refused(seeded("attestor_api"), statement)


@pytest.mark.parametrize("statement", SIGNER_CANNOT)
async def test_the_signer_cannot(seeded, statement):
    await _refused(seeded("attestor_signer"), statement)


@pytest.mark.parametrize("state", ["claimed", "signed"])
async def test_the_api_moves_no_request_that_the_signer_holds_or_has_signed(seeded, postgres, state):
    owner = await asyncpg.connect(postgres.dsn(database="roles"))
    api = await asyncpg.connect(seeded("attestor_api"))
    change = "UPDATE signing_requests SET state = $1, lease_until = CASE WHEN $1 = 'claimed' THEN now() END"
    try:
        await owner.execute(change, state)
        moved = await api.execute("UPDATE signing_requests SET state = 'waiting', lease_until = NULL")
        assert moved == "UPDATE 0"
        assert await api.fetchval("SELECT state FROM signing_requests") == state
    finally:
        await owner.execute(change, "queued")
        await api.close()
        await owner.close()


async def test_a_release_has_one_signed_digest_even_for_the_owner(seeded, postgres):
    owner = await asyncpg.connect(postgres.dsn(database="roles"))
    transaction = owner.transaction()
    await transaction.start()
    try:
        await owner.execute(SIGN[0])
        with pytest.raises(asyncpg.UniqueViolationError):
            async with owner.transaction():
                await owner.execute(SIGN[0].replace(DIGEST.hex(), "05" * 32))
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            async with owner.transaction():
                await owner.execute(SIGN[1].replace(DIGEST.hex(), "05" * 32))
    finally:
        await transaction.rollback()
        await owner.close()


async def test_a_migrated_database_lacks_nothing_and_migrating_again_does_nothing(seeded, postgres):
    dsn = postgres.dsn(database="roles")
    assert await pending(dsn) == []
    assert await migrate(dsn) == []
    assert await pending(seeded("attestor_api")) == []
    owner = await asyncpg.connect(dsn)
    assert await applied(owner) == {"0001_ground"}
    await owner.close()
