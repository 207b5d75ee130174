"""What a bundle is made of: all of a release that is signed and unsealed, and nothing of one that is not."""

import hashlib
from types import SimpleNamespace

import pytest

from attestor.core.approvaldocuments import ApprovalDocument, encode_approval
from attestor.core.approvals import Given
from attestor.core.dossier import dossier
from attestor.core.entries import SpentApproval
from attestor.core.errors import Unavailable
from attestor.store.archive import PostgresArchive
from attestor.store.queue import PostgresQueue
from tests.approvers import manifest_of
from tests.edges.store.emptying import tamper
from tests.edges.store.logmakers import decision, request_id, signature
from tests.edges.store.seeds import (
    BYTES,
    SHA256,
    P,
    add_release,
    add_request,
    add_vote,
    add_withdrawal,
    concluded,
    document,
    made,
)

SAID = {
    "origin": "attestor.example.org",
    "action": "release",
    "tier": "packages",
    "rules": "0a" * 32,
    "reason": "0b" * 32,
    "not_before": "2026-03-01T00:00:00Z",
    "until": "2026-03-02T00:00:00Z",
}
EVIDENCE, SUMMARY, POLICY = document(b"evidence"), document(b"summary"), document(b"policy")
ONE = request_id(1)
MANIFEST = document(manifest_of((P.id, SHA256.hex())))
APPROVALS = [
    Given("key", encode_approval(ApprovalDocument(**SAID, nonce=f"{number:032x}", **what)), b"signature")
    for number, what in enumerate(
        (
            {"manifest": MANIFEST.sha256.hex()},
            {"manifest": MANIFEST.sha256.hex()},
            {"request": str(ONE), "release": P.id, "digest": SHA256.hex()},
        )
    )
]
APPROVED = document(dossier((), (), SimpleNamespace(tally=SimpleNamespace(uncounted=())), APPROVALS).raw)
SPENT = tuple(SpentApproval(action="release", approver="anna", document=each.digest.hex()) for each in APPROVALS)


@pytest.fixture
async def archive(stand):
    return PostgresArchive(await stand.pool("api"))


async def signed(stand, sequencer, evidence, *others, **more):
    """Sign P; its decision is entry 0, and its signature's entry waits in the outbox."""
    await add_release(stand.owner)
    await add_vote(stand.owner, "alice", b"a", b"alice's envelope")
    await add_vote(stand.owner, "bob", b"b", b"bob's envelope")
    for body in (b"bob's withdrawal", b"bob's second withdrawal"):
        await add_withdrawal(stand.owner, "bob", b"b", body)
    await add_request(stand.owner)
    queue = PostgresQueue(await stand.pool("signer"), await stand.listener("signer"))
    job = await queue.claim(60)
    decided = decision(ONE, evidence=evidence.sha256.hex(), **more)
    await queue.decide(job, concluded(decided, [evidence, POLICY, *others], await queue.evidence(job), 0))
    await sequencer(await stand.book()).sequence()
    told = signature(ONE, release=P.id, summary=SUMMARY.sha256.hex())
    await queue.signed(job, made(), told, [SUMMARY])
    return decided.entry, told.entry


@pytest.fixture
async def entries(stand, sequencer):
    return await signed(stand, sequencer, EVIDENCE)


async def test_a_release_is_archived_once_it_is_unsealed(stand, archive, entries, sequencer):
    assert await archive.signed(P.id, None) is None
    await sequencer(await stand.book()).sequence()
    archived = await archive.signed(P.id, None)
    assert (archived.signature, archived.size) == (b"sig", 11)
    assert (archived.sha256, archived.sha512) == (SHA256, hashlib.sha512(BYTES).digest())
    assert (archived.decision, archived.signed) == ((0, entries[0]), (1, entries[1]))
    assert archived.documents == {one.sha256: one.body for one in (EVIDENCE, SUMMARY, POLICY)}
    assert archived.envelopes == (b"alice's envelope", b"bob's envelope")
    assert sorted(archived.withdrawals) == [b"bob's second withdrawal", b"bob's withdrawal"]
    assert await archive.signed(P.id, SHA256) == archived
    assert await archive.signed(P.id, bytes(32)) is None


async def test_manifests_that_approvals_name_are_archived_too(stand, archive, sequencer):
    await signed(stand, sequencer, APPROVED, MANIFEST, approvals=SPENT)
    await sequencer(await stand.book()).sequence()
    archived = await archive.signed(P.id, None)
    assert archived.documents == {one.sha256: one.body for one in (APPROVED, SUMMARY, POLICY, MANIFEST)}


async def test_evidence_that_cannot_be_read_names_no_manifest(stand, archive, sequencer):
    await signed(stand, sequencer, EVIDENCE, approvals=SPENT)
    await sequencer(await stand.book()).sequence()
    archived = await archive.signed(P.id, None)
    assert archived.documents == {one.sha256: one.body for one in (EVIDENCE, SUMMARY, POLICY)}


async def test_nobody_knows_of_another_release(archive, entries):
    assert await archive.signed("09" * 32, None) is None


async def test_an_entry_that_names_none_is_no_bundle(stand, archive, entries, sequencer):
    await sequencer(await stand.book()).sequence()
    await tamper(stand.owner, "DELETE FROM log_entries WHERE idx = 0")
    with pytest.raises(Unavailable) as caught:
        await archive.signed(P.id, None)
    assert caught.value.code == "row-unreadable"
