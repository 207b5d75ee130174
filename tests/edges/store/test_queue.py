"""The signer's side of a request: what it tells the log, it tells with the fence, and together with what it stores."""

import asyncio
from dataclasses import replace

import pytest

from attestor.core.entrybytes import Outgoing, read_entry
from attestor.core.errors import Conflict
from attestor.core.lifecycle import State
from attestor.service.ports import SignerStatus
from attestor.service.tell import MAX_REFUSALS
from attestor.store.queue import PostgresQueue
from tests.edges.store.logmakers import decision, request_id, signature
from tests.edges.store.seeds import (
    KEY,
    P,
    add_release,
    add_request,
    add_vote,
    add_withdrawal,
    concluded,
    document,
    made,
)

ONE = request_id(1)


@pytest.fixture
async def queue(stand):
    await add_release(stand.owner)
    await add_vote(stand.owner, "alice", b"a", b"alice's envelope")
    await add_vote(stand.owner, "bob", b"b", b"bob's envelope")
    await add_withdrawal(stand.owner, "bob", b"b", b"bob's withdrawal")
    await add_request(stand.owner)
    return PostgresQueue(await stand.pool("signer"), await stand.listener("signer"))


async def told(stand):
    rows = await stand.owner.fetch("SELECT entry FROM log_outbox ORDER BY id")
    return [row["entry"] for row in rows]


async def request_row(stand):
    return await stand.owner.fetchrow("SELECT * FROM signing_requests WHERE id = $1", ONE)


async def refused(call, code):
    with pytest.raises(Conflict) as caught:
        await call
    assert caught.value.code == code


async def test_evidence_is_all_votes_and_withdrawals_and_the_policy_of_the_last_decision(stand, queue):
    job = await queue.claim(60)
    evidence = await queue.evidence(job)
    assert [(operator, body) for operator, body, _ in evidence.envelopes] == [
        ("alice", b"alice's envelope"),
        ("bob", b"bob's envelope"),
    ]
    assert (evidence.withdrawals, evidence.signed, evidence.policy_digest) == (
        (b"bob's withdrawal",),
        frozenset(),
        None,
    )
    insert = "INSERT INTO decisions VALUES ($1, 'reached', 'packages', 'the digest', now(), '{}', now())"
    await stand.owner.execute(insert, bytes.fromhex(P.id))
    await add_withdrawal(stand.owner, "bob", b"b", b"bob's second withdrawal")
    evidence = await queue.evidence(job)
    assert evidence.policy_digest == "the digest"
    assert set(evidence.withdrawals) == {b"bob's withdrawal", b"bob's second withdrawal"}


async def test_a_decision_is_told_with_what_it_names_and_its_time(stand, queue):
    job = await queue.claim(60)
    assert job.request.decided_at is None
    hints = await stand.heard("attestor_outbox")
    document_ = document(b"evidence")
    await queue.decide(job, concluded(decision(ONE), [document_, document_], await queue.evidence(job), 0))
    assert await told(stand) == [decision(ONE).entry]
    assert await hints() == [""]
    kept = await stand.owner.fetch("SELECT sha256, body FROM log_documents")
    assert [tuple(row) for row in kept] == [(document_.sha256, document_.body)]
    row = await request_row(stand)
    assert row["decided_at"] is not None
    assert row["decided_under"] == read_entry(decision(ONE).entry).policy.digest
    # A later decision names the same documents, and has the next number.
    await queue.decide(job, concluded(decision(ONE, number=1), [document_], await queue.evidence(job), 0))
    assert len(await told(stand)) == 2


@pytest.mark.parametrize(
    "move",
    [
        lambda owner: add_vote(owner, "carol", b"c", b"carol's envelope"),
        lambda owner: add_withdrawal(owner, "alice", b"a", b"alice's withdrawal"),
        lambda owner: add_withdrawal(owner, "bob", b"b", b"bob's second withdrawal"),
        lambda owner: owner.execute("UPDATE envelopes SET body = 'spoiled' WHERE operator = 'alice'"),
        lambda owner: owner.execute("UPDATE envelopes SET received_at = now() WHERE operator = 'alice'"),
        lambda owner: owner.execute("DELETE FROM claims WHERE operator = 'alice'"),
        lambda owner: owner.execute("DELETE FROM withdrawals"),
        lambda owner: owner.execute("UPDATE withdrawals SET body = 'spoiled'"),
    ],
    ids=[
        "vote came",
        "withdrawal came",
        "second one came",
        "envelope spoiled",
        "time moved",
        "vote gone",
        "withdrawal gone",
        "spoiled",
    ],
)
async def test_a_decision_on_other_evidence_than_there_is_is_not_told(stand, queue, move):
    job = await queue.claim(60)
    evidence = await queue.evidence(job)
    await move(stand.owner)
    await refused(queue.decide(job, concluded(decision(ONE), [document(b"evidence")], evidence, 0)), "evidence-moved")
    assert await told(stand) == []
    assert await stand.owner.fetchval("SELECT count(*) FROM log_documents") == 0
    assert (await request_row(stand))["decided_at"] is None
    await queue.decide(job, concluded(decision(ONE), [], await queue.evidence(job), 0))


async def test_a_vote_that_comes_while_the_decision_is_told_waits_for_it(stand, queue):
    job = await queue.claim(60)
    evidence = await queue.evidence(job)
    api = await stand.connection("api")
    lock = "SELECT id FROM releases WHERE id = $1 FOR NO KEY UPDATE"
    transaction = api.transaction()
    await transaction.start()
    await api.execute(lock, bytes.fromhex(P.id))
    deciding = asyncio.create_task(queue.decide(job, concluded(decision(ONE), [], evidence, 0)))
    await stand.until_blocked()
    await add_vote(api, "carol", b"c", b"carol's envelope")
    await transaction.commit()
    await refused(deciding, "evidence-moved")


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("sequenced", [False, True], ids=["in the outbox", "in the log"])
async def test_a_decision_of_a_number_that_was_used_is_not_told(stand, queue, sequencer, number, sequenced):
    job = await queue.claim(60)
    evidence = await queue.evidence(job)
    await queue.decide(job, concluded(decision(ONE, number=1), [], evidence, 0))
    if sequenced:
        assert await sequencer(await stand.book()).sequence() == 1
    before = await told(stand)
    other = decision(ONE, number=number, reason="other")
    await refused(queue.decide(job, concluded(other, [document(b"x")], evidence, 0)), "log-behind")
    assert (await request_row(stand))["state"] == "claimed"
    assert await told(stand) == before
    await queue.decide(job, concluded(decision(ONE, number=2), [], evidence, 0))


async def test_nothing_is_told_without_the_fence(stand, queue):
    job = await queue.claim(60)
    late, evidence = replace(job, fence=job.fence - 1), await queue.evidence(job)
    await refused(queue.decide(late, concluded(decision(ONE), [document(b"x")], evidence, 0)), "lease-over")
    await refused(queue.signed(late, made(), signature(ONE), [document(b"x")]), "lease-over")
    await queue.give_back(late, State.REFUSED, "r", "s", 0, entry=decision(ONE, verdict="refuse"))
    assert (await told(stand), (await request_row(stand))["state"]) == ([], "claimed")
    await stand.owner.execute("UPDATE signing_requests SET lease_until = now()")
    await refused(queue.decide(job, concluded(decision(ONE), [], evidence, 0)), "lease-over")
    await refused(queue.signed(job, made(), signature(ONE), []), "lease-over")
    assert await told(stand) == []
    for table in ("log_documents", "signatures", "signed_digests"):
        assert await stand.owner.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608 - constant names


async def test_what_belongs_to_no_request_is_told_once(stand, queue, sequencer):
    for _ in range(2):
        await queue.tell(decision(ONE), [document(b"policy")])
        assert await told(stand) == [decision(ONE).entry]
    await sequencer(await stand.book()).sequence()
    await queue.tell(decision(ONE), [document(b"policy")])
    assert await told(stand) == []
    await asyncio.gather(*(queue.tell(decision(request_id(2)), []) for _ in range(4)))
    assert await told(stand) == [decision(request_id(2)).entry]


async def test_a_refusal_is_told_with_the_move(stand, queue):
    job = await queue.claim(60)
    refusal = decision(ONE, verdict="refuse", reason="content-differs")
    await queue.give_back(job, State.REFUSED, "content-differs", "Other bytes.", 0, entry=refusal)
    row = await request_row(stand)
    assert (row["state"], row["reason"], await told(stand)) == ("refused", "content-differs", [refusal.entry])


async def test_a_request_is_refused_also_where_its_number_was_used(stand, queue, sequencer):
    job = await queue.claim(60)
    await queue.tell(decision(ONE), [])
    await queue.give_back(job, State.REFUSED, "r", "s", 0, entry=decision(ONE, verdict="refuse"))
    assert ((await request_row(stand))["state"], await told(stand)) == ("refused", [decision(ONE).entry])


async def test_the_log_is_told_of_a_bounded_number_of_refusals_of_a_release(stand, queue):
    for number in range(1, MAX_REFUSALS + 3):
        if number > 1:
            await add_request(stand.owner, number)
        job = await queue.claim(60)
        refusal = decision(request_id(number), verdict="refuse")
        await queue.give_back(job, State.REFUSED, "r", "s", 0, entry=refusal)
    assert len(await told(stand)) == MAX_REFUSALS


async def test_a_signature_is_stored_sealed_and_told_and_the_request_marked_at_once(stand, queue):
    job = await queue.claim(60)
    await queue.signed(job, made(), signature(ONE), [document(b"summary")])
    assert (await request_row(stand))["state"] == "signed"
    assert await told(stand) == [signature(ONE).entry]
    assert await queue.signature_of(job, KEY) == b"sig"
    api = await stand.connection("api")
    assert await api.fetch("SELECT * FROM signatures") == []
    event = await stand.owner.fetchval("SELECT detail FROM events WHERE what = 'signed'")
    assert "on the word of alice" in event
    assert "log entry 7" in event


async def test_no_signature_is_stored_that_a_logged_entry_of_another_would_unseal(stand, queue, sequencer):
    job = await queue.claim(60)
    await queue.tell(signature(ONE, b"another"), [])
    await sequencer(await stand.book()).sequence()
    await refused(queue.signed(job, made(), signature(ONE), []), "log-behind")
    assert await stand.owner.fetchval("SELECT count(*) FROM signatures") == 0
    assert (await request_row(stand))["state"] == "claimed"


async def test_a_signer_says_how_it_stands_and_the_last_word_stands(stand, queue):
    first = SignerStatus("one", halted=False, code="ready", sentence="Ready.", anchor_size=7, policy_digest="p")
    await queue.report(first)
    before = await stand.owner.fetchval("SELECT at FROM signer_status")
    await queue.report(replace(first, halted=True, code="log-forked", sentence="Two logs.", anchor_size=0))
    rows = await stand.owner.fetch("SELECT * FROM signer_status")
    assert [(row["instance"], row["halted"], row["code"], row["anchor_size"]) for row in rows] == [
        ("one", True, "log-forked", 7)
    ]
    assert rows[0]["at"] > before


async def policy_in(stand, table):
    """A policy entry stands there, at index 7 where it is the log."""
    entry = b'{"type":"policy"}'
    if table == "log_outbox":
        await stand.owner.execute(
            "INSERT INTO log_outbox (subject, kind, number, entry) VALUES (gen_random_uuid(), 'policy', 0, $1)", entry
        )
    else:
        await stand.owner.execute(
            "INSERT INTO log_entries VALUES (7, gen_random_uuid(), 'policy', 0, sha256($1), $1)", entry
        )


@pytest.mark.parametrize(
    ("table", "folded", "code"),
    [
        ("log_outbox", 8, "policy-moved"),
        ("log_entries", 7, "policy-moved"),
        ("log_entries", 0, "policy-moved"),
        ("log_entries", 8, None),
    ],
    ids=["waits for the log", "is the next entry", "is a later entry", "is known to who decides"],
)
async def test_no_decision_is_told_behind_a_policy_entry_that(stand, queue, table, folded, code):
    job = await queue.claim(60)
    await policy_in(stand, table)
    deciding = queue.decide(job, concluded(decision(ONE), [], await queue.evidence(job), folded))
    if code is None:
        await deciding
        return
    await refused(deciding, code)
    assert decision(ONE).entry not in await told(stand)
    assert (await request_row(stand))["decided_at"] is None


async def test_a_policy_entry_waits_for_the_decision_that_is_being_told(stand, queue):
    """Its transaction looked for the policy before it was there, so the log has the policy behind it."""
    job = await queue.claim(60)
    evidence = await queue.evidence(job)
    held = stand.owner.transaction()
    await held.start()
    await stand.owner.execute("LOCK TABLE log_documents IN SHARE MODE")
    deciding = asyncio.create_task(queue.decide(job, concluded(decision(ONE), [document(b"evidence")], evidence, 0)))
    await stand.until_blocked()
    policy = Outgoing(request_id(9), "policy", 0, b'{"type":"policy"}')
    telling = asyncio.create_task(queue.tell(policy, []))
    waits = (
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND NOT granted)"
    )
    while not await stand.owner.fetchval(waits):
        assert not telling.done()
        await asyncio.sleep(0.01)
    await held.rollback()
    await asyncio.gather(deciding, telling)
    assert await told(stand) == [decision(ONE).entry, policy.entry]
