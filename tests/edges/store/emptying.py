"""Empties a migrated database between tests, as the owner: nobody else can take anything out of the log."""

_TRUNCATED = (
    "releases, envelopes, claims, withdrawals, decisions, events, signing_requests, approvals, approval_manifests"
)
# Few rows each: to delete them is cheaper than to truncate that many files.
_LOG = """
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM log_outbox; DELETE FROM log_refused; DELETE FROM log_entries; DELETE FROM log_nodes;
DELETE FROM log_cosignatures; DELETE FROM log_checkpoints; DELETE FROM log_witnesses; DELETE FROM log_documents;
DELETE FROM signer_status; DELETE FROM paused_tiers;
DELETE FROM release_keys; DELETE FROM canary_signatures; DELETE FROM canary_wanted;
UPDATE log_state SET size = 0, root = sha256(''), frontier = '', published = 0;
COMMIT;
"""


async def empty(owner):
    await owner.execute(f"TRUNCATE {_TRUNCATED} CASCADE")
    await owner.execute(_LOG)


async def tamper(owner, statement, *values):
    """Run a statement past the triggers, as whoever has the database in hand can."""
    async with owner.transaction():
        await owner.execute("SET LOCAL session_replication_role = replica")
        await owner.execute(statement, *values)
