"""Entries as the program tells them, a log key, and a Merkle tree computed the slow way, by its definition."""

import hashlib
from uuid import UUID, uuid4

from attestor.core.entries import (
    CountedVote,
    DecisionEntry,
    LateDissentEntry,
    NamedArtifact,
    NamedPolicy,
    NamedRelease,
    SignatureEntry,
)
from attestor.core.entrybytes import encode_entry, outgoing
from attestor.core.tlog.merkle import leaf_hash
from attestor.core.tlog.note import NoteSigner

KEY = NoteSigner.create("attestor.example.org/log", bytes(range(32)))
RELEASE = "01" * 32
DIGEST = "02" * 32


def dissent(number):
    """The entries of this kind differ by one number; their keys are digests of their bytes."""
    entry = LateDissentEntry(operator="alice", payload=f"{number:064x}", release=RELEASE)
    return outgoing(encode_entry(entry))


def decision(request=None, *, number=0, verdict="sign", reason="reached", **changes):
    entry = DecisionEntry(
        verdict=verdict,
        request=str(request or uuid4()),
        number=number,
        release=NamedRelease(id=RELEASE, kind="package", purl="pkg:alpm/arch/p@1-1?arch=any", file_name="p-1-1-any"),
        artifact=NamedArtifact(size=1, sha256=DIGEST, sha512=DIGEST * 2),
        tier="packages",
        policy=NamedPolicy(serial=1, digest=hashlib.sha256(b"policy").hexdigest()),
        reason=reason,
        counted=(CountedVote(operator="alice", payload=DIGEST),),
        **changes,
    )
    return outgoing(encode_entry(entry))


def signature(request, made=b"sig", *, decision=0, release=RELEASE, summary="05" * 32):
    entry = SignatureEntry(
        request=str(request),
        release=release,
        sha256=DIGEST,
        decision=decision,
        signature=hashlib.sha256(made).hexdigest(),
        key="AB" * 20,
        summary=summary,
        anchor="ef" * 16,
    )
    return outgoing(encode_entry(entry))


async def enqueue(connection, *entries):
    await connection.executemany(
        "INSERT INTO log_outbox (subject, kind, number, entry) VALUES ($1, $2, $3, $4)",
        [(told.subject, told.kind, told.number, told.entry) for told in entries],
    )


def request_id(number):
    return UUID(int=number)


def tree_hash(leaves):
    """MTH of leaf hashes (RFC 6962 §2.1)."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + tree_hash(leaves[:split]) + tree_hash(leaves[split:])).digest()


async def logged(owner):
    """All entries of the log, after a look at every row: no gap, each key once, leaves, subtrees and root as defined."""
    rows = await owner.fetch("SELECT * FROM log_entries ORDER BY idx")
    entries = [row["entry"] for row in rows]
    leaves = [leaf_hash(entry) for entry in entries]
    state = await owner.fetchrow("SELECT * FROM log_state")
    assert [row["idx"] for row in rows] == list(range(len(rows)))
    assert [(row["subject"], row["kind"], row["number"]) for row in rows] == [
        (told.subject, told.kind, told.number) for told in map(outgoing, entries)
    ]
    assert [row["leaf"] for row in rows] == leaves
    assert (state["size"], state["root"]) == (len(rows), tree_hash(leaves))
    nodes = {(row["level"], row["idx"]): row["hash"] for row in await owner.fetch("SELECT * FROM log_nodes")}
    assert nodes == {
        (level, index): tree_hash(leaves[index * 256**level : (index + 1) * 256**level])
        for level in (1, 2)
        for index in range(len(leaves) // 256**level)
    }
    for row in await owner.fetch("SELECT size, root FROM log_checkpoints"):
        assert row["root"] == tree_hash(leaves[: row["size"]])
    return entries
