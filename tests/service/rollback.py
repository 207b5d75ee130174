"""The whole database or parts of it put back to how they were, as restores, clones and failovers do."""

from tests.edges.store.emptying import tamper

ORDINARY = (
    "releases",
    "envelopes",
    "claims",
    "withdrawals",
    "decisions",
    "events",
    "signing_requests",
    "signed_digests",
    "signatures",
)
LOG = (
    "log_outbox",
    "log_refused",
    "log_entries",
    "log_nodes",
    "log_checkpoints",
    "log_cosignatures",
    "log_witnesses",
    "log_state",
    "log_documents",
)


async def saved(owner, tables):
    """Copy the tables aside as they are at one moment; returns what puts them back at one stroke."""
    async with owner.transaction(isolation="repeatable_read"):
        for table in tables:
            await owner.execute(f"CREATE TEMP TABLE saved_{table} AS TABLE {table}")

    async def put_back():
        async with owner.transaction():
            for table in tables:
                await tamper(owner, f"DELETE FROM {table}")  # noqa: S608 - constant names
                await tamper(owner, f"INSERT INTO {table} OVERRIDING SYSTEM VALUE TABLE saved_{table}")

    return put_back
