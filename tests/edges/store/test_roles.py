"""The three database roles: what the schema itself keeps each from doing, whatever its process was talked into."""

# ruff: noqa: S608 - the statements are made of constants

import asyncpg
import pytest
import pytest_asyncio

from attestor.core.entries import CanaryEntry, RevocationEntry
from attestor.core.entrybytes import outgoing_of
from attestor.store.migrate import applied, migrate, pending
from tests.edges.store.logmakers import decision, dissent, request_id, signature

RELEASE, DIGEST = b"\1" * 32, b"\2" * 32


def _approval(document):
    return f"""INSERT INTO approvals (document_sha256, approver, key, action, tier, document, signature, reason, manifest, until)
        VALUES (sha256('{document}'), 'dora', 'k', 'quota', 't', '{document}', 's', 'r', sha256('m'), now())"""


def _withdrawal(body):
    return f"INSERT INTO withdrawals VALUES ('alice', '\\x{DIGEST.hex()}', '\\x{RELEASE.hex()}', 'r', '{body}', now())"


_ID = "00000000-0000-0000-0000-000000000001"
SEED = f"""
INSERT INTO releases (id, kind, purl, file_name) VALUES ('\\x{RELEASE.hex()}', 'package', 'p', 'f');
INSERT INTO envelopes VALUES ('alice', '\\x{DIGEST.hex()}', 'body', now());
INSERT INTO claims VALUES ('\\x{RELEASE.hex()}', 'alice', '\\x{DIGEST.hex()}', 'rebuild', '{{k}}', 'built',
    '\\x{DIGEST.hex()}', NULL, 1, now());
{_withdrawal("first")};
INSERT INTO decisions VALUES ('\\x{RELEASE.hex()}', 'reached', 't', 'p', now(), '{{}}', now());
INSERT INTO signing_requests (id, release_id, requester, tier, size, sha256, sha512, content, content_present, state,
    reason, sentence) VALUES ('{_ID}', '\\x{RELEASE.hex()}', 'r', 't', 1, '\\x{DIGEST.hex()}',
    '\\x{(DIGEST * 2).hex()}', '{{}}', true, 'queued', 'queued', '');
INSERT INTO approval_manifests VALUES (sha256('m'), 'm');
{_approval("d")};
INSERT INTO approval_pairs VALUES (sha256('d'), '\\x{RELEASE.hex()}', '\\x{DIGEST.hex()}');
INSERT INTO quota_places VALUES ('t', 'k', '2026-11', '\\x{RELEASE.hex()}', '\\x{DIGEST.hex()}');
INSERT INTO paused_tiers VALUES ('paused', 'r', 'somebody');
INSERT INTO release_keys VALUES ('k', repeat('A', 40), 'certificate', 1, 1, false);
INSERT INTO canary_signatures VALUES (repeat('A', 40), 1, now(), 'sig');
INSERT INTO canary_wanted VALUES (1, now());
"""
LEAF = "sha256('leaf')"
REVOCATION = outgoing_of(RevocationEntry(approval="06" * 32))
CANARY = outgoing_of(CanaryEntry(instance="one", key="A" * 40, created="2026-01-01T00:00:00Z", anchor="0" * 32))


def _outbox(told, *, kind=None):
    entry = f"'\\x{told.entry.hex()}'"
    return f"""INSERT INTO log_outbox (subject, kind, number, entry)
        VALUES ('{told.subject}', '{kind or told.kind}', {told.number}, {entry})"""


def _logged(index, told):
    return f"""INSERT INTO log_entries (idx, subject, kind, number, leaf, entry)
        VALUES ({index}, '{told.subject}', '{told.kind}', {told.number}, {LEAF}, '\\x{told.entry.hex()}')"""


LOG_SEED = f"""
{_outbox(dissent(1))};
{_logged(0, dissent(2))};
INSERT INTO log_nodes VALUES (1, 0, {LEAF});
INSERT INTO log_checkpoints (size, root, note) VALUES (1, {LEAF}, 'note');
INSERT INTO log_cosignatures (size, witness, line) VALUES (1, 'w', 'line');
INSERT INTO log_witnesses VALUES ('w', 1);
INSERT INTO log_refused (entry) VALUES ('junk');
INSERT INTO log_documents VALUES (sha256('body'), 'body');
INSERT INTO signer_status (instance, halted, code, sentence, anchor_size, policy_digest) VALUES ('s', false, '', '', 0, '');
UPDATE log_state SET size = 1, root = {LEAF}, frontier = {LEAF}, published = 1;
"""
LOG_TABLES = ("log_entries", "log_nodes", "log_checkpoints", "log_state", "log_refused")
REWRITE = [
    *(f"DELETE FROM {table}" for table in LOG_TABLES),
    *(f"TRUNCATE {table} CASCADE" for table in LOG_TABLES),
    "UPDATE log_entries SET entry = entry",
    "UPDATE log_nodes SET hash = hash",
    "UPDATE log_checkpoints SET note = note",
    "UPDATE log_refused SET entry = entry",
    "UPDATE log_state SET size = 0, published = 0",
    "UPDATE log_state SET published = 0",
    "UPDATE log_state SET root = sha256('other')",
]
APPEND = [
    _logged(1, dissent(3)),
    f"INSERT INTO log_nodes VALUES (1, 1, {LEAF})",
    f"INSERT INTO log_checkpoints (size, root, note) VALUES (2, {LEAF}, 'note')",
    "INSERT INTO log_cosignatures (size, witness, line) VALUES (1, 'x', 'line')",
    "INSERT INTO log_refused (entry) VALUES ('junk')",
    f"UPDATE log_state SET size = 2, root = {LEAF}, frontier = {LEAF}",
]
OTHER_LOG_WRITES = [
    "INSERT INTO log_witnesses VALUES ('x', 1)",
    "UPDATE log_cosignatures SET line = line",
    "DELETE FROM log_cosignatures",
    "UPDATE log_documents SET body = body",
    "DELETE FROM log_documents",
    "UPDATE log_outbox SET entry = entry",
    "DELETE FROM log_outbox",
    "ALTER TABLE log_entries DISABLE TRIGGER ALL",
    "SET session_replication_role = replica",
    _outbox(decision(request_id(8), verdict="refuse"))
    .replace("(subject", "(id, subject")
    .replace("VALUES (", "OVERRIDING SYSTEM VALUE VALUES (0, "),
]
KEEP_DOCUMENT = "INSERT INTO log_documents VALUES (sha256('x'), 'x')"
REPORT = """INSERT INTO signer_status (instance, halted, code, sentence, anchor_size, policy_digest)
    VALUES ('t', false, '', '', 0, '')"""
COPY_REQUEST = """INSERT INTO signing_requests (id, release_id, requester, tier, size, sha256, sha512, content,
    content_present, state, reason, sentence, lease_until) SELECT gen_random_uuid(), release_id, requester, tier, size,
    sha256 || '' , sha512, content, true, {state}, '', '', {lease} FROM signing_requests"""
SIGN = [
    f"INSERT INTO signed_digests VALUES ('\\x{RELEASE.hex()}', '\\x{DIGEST.hex()}')",
    f"""INSERT INTO signatures (release_id, key_fingerprint, request_id, sha256, signature)
        VALUES ('\\x{RELEASE.hex()}', 'F', '{_ID}', '\\x{DIGEST.hex()}', 'sig')""",
]
TAKE_APPROVAL_IN = [
    "INSERT INTO approval_manifests VALUES (sha256('n'), 'n')",
    _approval("e"),
    f"INSERT INTO approval_pairs VALUES (sha256('d'), '\\x{RELEASE.hex()}', '\\x{RELEASE.hex()}')",
]
TAKE_APPROVAL_BACK = "UPDATE approvals SET revoked_at = now(), revocation = 'r'"
SPEND_APPROVAL = "UPDATE approval_pairs SET spent_at = now()"
OF_PLACES = [
    f"INSERT INTO quota_places VALUES ('t', 'k', '2026-12', '\\x{RELEASE.hex()}', '\\x{DIGEST.hex()}')",
    "UPDATE quota_places SET spent = true",
    "DELETE FROM quota_places",
]
OTHER_RULES_WRITES = [
    "UPDATE approvals SET document = document",
    "UPDATE approvals SET signature = signature",
    "UPDATE approvals SET key = key",
    "UPDATE approvals SET until = until",
    "DELETE FROM approvals",
    "UPDATE approval_manifests SET body = body",
    "DELETE FROM approval_manifests",
    "UPDATE approval_pairs SET sha256 = sha256",
    "DELETE FROM approval_pairs",
    "UPDATE quota_places SET period = period",
    "UPDATE quota_places SET tier = tier",
    "DELETE FROM paused_tiers",
    "INSERT INTO paused_tiers VALUES ('t', 'r', 'somebody')",
]
OF_KEYS = [
    "INSERT INTO release_keys VALUES ('l', repeat('B', 40), 'certificate', 1, 1, false)",
    "UPDATE release_keys SET stopped = false",
    "INSERT INTO canary_signatures VALUES (repeat('A', 40), 2, now(), 'sig')",
    "DELETE FROM canary_signatures",
]
OTHER_KEY_WRITES = [
    "DELETE FROM release_keys",
    "UPDATE canary_signatures SET signature = signature",
    "UPDATE canary_wanted SET at = at",
    "DELETE FROM canary_wanted",
]
API_CANNOT = [
    *OF_KEYS,
    *OTHER_KEY_WRITES,
    "SELECT * FROM canary_wanted",
    *OTHER_RULES_WRITES,
    *OF_PLACES,
    SPEND_APPROVAL,
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
    "SET ROLE attestor_sequencer",
    *REWRITE,
    *APPEND,
    *OTHER_LOG_WRITES,
    KEEP_DOCUMENT,
    REPORT,
    "UPDATE signer_status SET halted = false",
    "UPDATE signing_requests SET decided_at = now()",
    "UPDATE signing_requests SET decided_under = 'p'",
    "SELECT * FROM log_outbox",
    "SELECT * FROM log_refused",
    "SELECT * FROM log_witnesses",
    "ALTER TABLE signatures DISABLE ROW LEVEL SECURITY",
    _outbox(decision(request_id(8))),
    _outbox(signature(request_id(8))),
    _outbox(CANARY),
]
API_CAN = [
    _withdrawal("second"),
    "SELECT * FROM release_keys, canary_signatures",
    _outbox(REVOCATION),
    *TAKE_APPROVAL_IN,
    TAKE_APPROVAL_BACK,
    "SELECT * FROM approvals, approval_manifests, approval_pairs, quota_places, paused_tiers",
    _outbox(dissent(4)),
    _outbox(decision(request_id(8), verdict="refuse")),
    "SELECT * FROM log_entries, log_nodes, log_checkpoints, log_cosignatures, log_state, log_documents, signer_status",
    "SELECT * FROM shown_requests",
]
SIGNER_CANNOT = [
    *OTHER_KEY_WRITES,
    *OTHER_RULES_WRITES,
    *TAKE_APPROVAL_IN,
    TAKE_APPROVAL_BACK,
    f"INSERT INTO claims SELECT release_id, 'bob', payload_digest, form, keys, outcome, sha256, sha512, size, received_at FROM claims -- {_ID}",
    "INSERT INTO envelopes SELECT 'bob', payload_digest, body, received_at FROM envelopes",
    _withdrawal("second"),
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
    *REWRITE,
    *APPEND,
    *OTHER_LOG_WRITES,
    "DELETE FROM signer_status",
    "UPDATE signing_requests SET signing_time = now()",
    "SELECT * FROM log_refused",
    "SELECT * FROM log_witnesses",
    _outbox(dissent(4)),
    _outbox(REVOCATION),
]
SIGNER_CAN = [
    *OF_KEYS,
    "SELECT * FROM release_keys, canary_signatures, canary_wanted",
    _outbox(CANARY),
    *OF_PLACES,
    SPEND_APPROVAL,
    "SELECT document_sha256 FROM approvals FOR SHARE",
    "SELECT * FROM approvals, approval_manifests, approval_pairs, quota_places, paused_tiers",
    _outbox(decision(request_id(8))),
    _outbox(decision(request_id(8), verdict="refuse")),
    _outbox(signature(request_id(8))),
    "SELECT * FROM log_outbox",
    "SELECT * FROM log_entries, log_nodes, log_checkpoints, log_cosignatures, log_state, log_documents, signer_status",
    KEEP_DOCUMENT,
    REPORT,
    "UPDATE signer_status SET halted = true",
    "UPDATE signing_requests SET decided_at = now()",
    "UPDATE signing_requests SET decided_under = 'p'",
    "; ".join(SIGN),
]
_OF_OTHERS = (
    "releases", "envelopes", "claims", "withdrawals", "decisions", "events", "signing_requests", "signed_digests",
    "signatures", "log_documents", "signer_status", "approvals", "approval_manifests", "approval_pairs", "quota_places",
    "paused_tiers", "release_keys", "canary_signatures", "canary_wanted",
)  # fmt: skip
SEQUENCER_CANNOT = [
    *REWRITE,
    *(f"SELECT * FROM {table}" for table in _OF_OTHERS),
    *(f"DELETE FROM {table}" for table in _OF_OTHERS),
    "SELECT * FROM shown_requests",
    *SIGN,
    "UPDATE signing_requests SET state = 'signed'",
    COPY_REQUEST.format(state="'queued'", lease="NULL"),
    "UPDATE log_cosignatures SET line = line",
    "DELETE FROM log_cosignatures",
    "DELETE FROM log_witnesses",
    "UPDATE log_outbox SET entry = entry",
    _outbox(dissent(4)),
    _outbox(decision(request_id(8))),
    KEEP_DOCUMENT,
    REPORT,
    "CREATE TABLE mine ()",
    "SET ROLE attestor_api",
    "SET session_replication_role = replica",
]
SEQUENCER_CAN = [
    *APPEND,
    "SELECT * FROM log_outbox, log_entries, log_nodes, log_checkpoints, log_cosignatures, log_state, log_refused",
    "DELETE FROM log_outbox",
    "SELECT * FROM log_state FOR UPDATE",
    "UPDATE log_state SET published = 1",
    "INSERT INTO log_witnesses VALUES ('x', 1)",
    "UPDATE log_witnesses SET size = 2",
]
OWNER_CANNOT = REWRITE


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seeded(postgres):
    owner = await asyncpg.connect(postgres.dsn())
    await owner.execute("CREATE DATABASE roles TEMPLATE template0")
    await owner.close()
    await migrate(postgres.dsn(database="roles"))
    owner = await asyncpg.connect(postgres.dsn(database="roles"))
    await owner.execute(SEED)
    await owner.execute(LOG_SEED)
    await owner.close()
    return lambda role: postgres.dsn(role, "roles")


async def _works(dsn, statement):
    connection = await asyncpg.connect(dsn)
    transaction = connection.transaction()
    await transaction.start()
    try:
        done = await connection.execute(statement)
        assert not done.endswith(" 0")
    finally:
        await transaction.rollback()
        await connection.close()


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


@pytest.mark.parametrize("statement", SEQUENCER_CANNOT)
async def test_the_sequencer_cannot(seeded, statement):
    await _refused(seeded("attestor_sequencer"), statement)


@pytest.mark.parametrize("statement", OWNER_CANNOT)
async def test_not_even_the_owner_rewrites_the_log_by_a_slip(postgres, seeded, statement):
    await _refused(postgres.dsn(database="roles"), statement)


@pytest.mark.parametrize("statement", API_CAN)
async def test_the_api_can(seeded, statement):
    await _works(seeded("attestor_api"), statement)


@pytest.mark.parametrize("statement", SIGNER_CAN)
async def test_the_signer_can(seeded, statement):
    await _works(seeded("attestor_signer"), statement)


@pytest.mark.parametrize("statement", SEQUENCER_CAN)
async def test_the_sequencer_can(seeded, statement):
    await _works(seeded("attestor_sequencer"), statement)


@pytest.mark.parametrize(
    "statement",
    [
        _outbox(decision(request_id(8)), kind="received"),
        _outbox(signature(request_id(8)), kind="late-dissent"),
        "INSERT INTO log_outbox (subject, kind, number, entry) VALUES (gen_random_uuid(), 'received', 0, '{}')",
        "INSERT INTO log_outbox (subject, kind, number, entry) VALUES (gen_random_uuid(), 'other', 0, '{\"type\":\"other\"}')",
    ],
    ids=["decision as received", "signature as late dissent", "no type", "unknown kind"],
)
async def test_an_entry_is_told_under_no_other_kind_than_its_own(seeded, statement):
    connection = await asyncpg.connect(seeded("attestor_api"))
    try:
        with pytest.raises((asyncpg.CheckViolationError, asyncpg.InsufficientPrivilegeError)):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_sealed_signature_is_no_row_to_the_api_by_any_way_to_it(seeded, postgres):
    owner, api = await asyncpg.connect(postgres.dsn(database="roles")), await asyncpg.connect(seeded("attestor_api"))
    try:
        for statement in (*SIGN, "UPDATE signing_requests SET state = 'signed'"):
            await owner.execute(statement)
        assert await owner.fetchval("SELECT count(*) FROM signatures") == 1
        for statement in (
            "SELECT signature FROM signatures",
            "SELECT count(*) FROM signatures HAVING count(*) > 0",
            "TABLE signatures",
            "SELECT s.signature FROM signing_requests q LEFT JOIN signatures s ON s.request_id = q.id WHERE s.signature <> ''",
            "SELECT 1 FROM shown_requests WHERE state = 'signed'",
        ):
            assert await api.fetch(statement) == []
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await api.execute("COPY signatures TO PROGRAM 'cat'")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await api.execute("SET row_security = off; SELECT * FROM signatures")
    finally:
        await owner.execute("DELETE FROM signatures; DELETE FROM signed_digests")
        await owner.execute("UPDATE signing_requests SET state = 'queued'")
        await api.close()
        await owner.close()


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


@pytest.mark.parametrize(
    ("change", "violation"),
    [
        (SIGN[0], asyncpg.UniqueViolationError),
        (SIGN[1].replace(DIGEST.hex(), "05" * 32), asyncpg.ForeignKeyViolationError),
        (_withdrawal("first"), asyncpg.UniqueViolationError),
        (_approval("d"), asyncpg.UniqueViolationError),
        (_approval("e").replace("sha256('e')", "sha256('f')"), asyncpg.CheckViolationError),
        ("UPDATE approvals SET revoked_at = now()", asyncpg.CheckViolationError),
        (OF_PLACES[0].replace("2026-12", "2026-11"), asyncpg.UniqueViolationError),
    ],
    ids=[
        "a digest stands twice as signed",
        "a signature is of a digest that does not stand as signed",
        "a withdrawal stands twice",
        "an approval stands twice",
        "an approval stands under another digest than its own",
        "an approval is revoked without the revocation",
        "a place of a quota is taken twice for the same bytes",
    ],
)
async def test_not_even_for_the_owner_is_it_so_that(seeded, postgres, change, violation):
    owner = await asyncpg.connect(postgres.dsn(database="roles"))
    transaction = owner.transaction()
    await transaction.start()
    try:
        await owner.execute(SIGN[0])
        with pytest.raises(violation):
            await owner.execute(change)
    finally:
        await transaction.rollback()
        await owner.close()


async def test_a_migrated_database_lacks_nothing_and_migrating_again_does_nothing(seeded, postgres):
    dsn = postgres.dsn(database="roles")
    assert await pending(dsn) == []
    assert await migrate(dsn) == []
    for role in ("attestor_api", "attestor_signer", "attestor_sequencer"):
        assert await pending(seeded(role)) == []
    owner = await asyncpg.connect(dsn)
    assert await applied(owner) == {"0001_ground", "0002_log", "0003_rules"}
    await owner.close()
