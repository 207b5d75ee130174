"""What the API's role keeps and shows with the log: entries beside what they tell of, and no signature before its time."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from attestor.core.claims import Claim, Outcome
from attestor.core.errors import Conflict, Unavailable
from attestor.core.lifecycle import State
from attestor.core.requests import SigningRequest
from attestor.service.ports import Arrival, Changes, SignerStatus, Withdrawal
from attestor.store.ledger import PostgresLedger
from attestor.store.queue import PostgresQueue
from tests.edges.store.emptying import tamper
from tests.edges.store.logmakers import decision, dissent, enqueue, request_id, signature
from tests.edges.store.seeds import SHA256, P, Q, add_release, add_request, add_vote, add_withdrawal, concluded, made

SEALED = "Signed; it can be read once the log includes it."
PAYLOAD = hashlib.sha256(b"a").digest()


@pytest.fixture
async def ledger(stand):
    return PostgresLedger(await stand.pool("api"))


def arrival(operator="alice"):
    claim = Claim(operator, P, PAYLOAD, "rebuild", frozenset({"k"}), Outcome.BUILT, SHA256, None, 1, datetime.now(UTC))  # noqa: TID251 - a row's time
    return Arrival(operator, PAYLOAD, b"envelope", (claim,))


WITHDRAWN = Withdrawal("alice", PAYLOAD, P.id, "mistake", b"withdrawal")


async def write(ledger, changes):
    async with ledger.transaction() as transaction:
        await transaction.lock([P])
        await transaction.write(changes)


async def outbox(stand):
    return [row["entry"] for row in await stand.owner.fetch("SELECT entry FROM log_outbox ORDER BY id")]


@pytest.mark.parametrize(
    "changes",
    [Changes(arrivals=[arrival()]), Changes(withdrawals=[WITHDRAWN]), Changes()],
    ids=["with votes", "with a withdrawal", "alone"],
)
async def test_entries_stand_and_fall_with_what_they_tell_of(stand, ledger, changes):
    await add_release(stand.owner)
    if changes.withdrawals:
        await add_vote(stand.owner, "alice", b"a", b"envelope")
    entries = [dissent(9), dissent(3), decision(verdict="refuse")]
    told = Changes(changes.arrivals, changes.withdrawals, entries=entries)
    with pytest.raises(KeyError):
        await fail(ledger, told)
    assert await outbox(stand) == []
    await write(ledger, told)
    assert await outbox(stand) == [told.entry for told in entries]
    assert await stand.owner.fetchval("SELECT count(*) FROM claims") == bool(changes.arrivals or changes.withdrawals)
    assert await stand.owner.fetchval("SELECT count(*) FROM withdrawals") == bool(changes.withdrawals)


async def test_each_withdrawal_of_a_vote_is_kept_by_its_bytes_and_read_with_it(stand, ledger):
    await write(ledger, Changes(arrivals=[arrival(), arrival("bob")]))
    bodies = [b"withdrawal", b"a second one", b"withdrawal"]
    for body in bodies:
        await write(ledger, Changes(withdrawals=[replace(WITHDRAWN, body=body)]))
    assert {vote.claim.operator: vote.withdrawals for vote in await ledger.votes(P.id)} == {
        "alice": (b"withdrawal", b"a second one"),
        "bob": (),
    }
    async with ledger.transaction() as transaction:
        await transaction.lock([P])
        assert sorted(vote.withdrawals for vote in await transaction.votes([P.id, Q.id])) == [(), tuple(bodies[:2])]


async def fail(ledger, changes):
    async with ledger.transaction() as transaction:
        await transaction.lock([P])
        await transaction.write(changes)
        raise KeyError


async def test_the_same_entry_twice_is_a_lost_race(stand, ledger):
    await write(ledger, Changes(entries=[dissent(1)]))
    with pytest.raises(Conflict):
        await write(ledger, Changes(arrivals=[arrival()], entries=[dissent(1)]))
    assert await stand.owner.fetchval("SELECT count(*) FROM claims") == 0


async def test_arrivals_and_their_entries_are_one_statement(stand, ledger, monkeypatch):
    statements = []
    async with ledger.transaction() as transaction:
        await transaction.lock([P])
        execute = transaction._connection.execute

        async def counted(statement, *values):
            statements.append(statement)
            return await execute(statement, *values)

        monkeypatch.setattr(transaction, "_connection", type("Counting", (), {"execute": staticmethod(counted)}))
        await transaction.write(Changes(arrivals=[arrival()], entries=[dissent(1)]))
    assert len(statements) == 1
    assert await outbox(stand) == [dissent(1).entry]


async def signed(stand, number=1, release=P, payload=b"sig"):
    """A request that the signer has signed; its entry waits in the outbox."""
    await add_release(stand.owner, release)
    await add_request(stand.owner, number, release)
    queue = PostgresQueue(await stand.pool("signer"), await stand.listener("signer"))
    entry = signature(request_id(number), payload, release=release.id)
    await queue.signed(await queue.claim(60), made(payload), entry, [])


async def shown(ledger, number=1, release=P) -> list[SigningRequest]:
    """One request, by each way to read it."""
    async with ledger.transaction() as transaction:
        locked = await transaction.requests([release.id])
    listed = await ledger.list_requests("build-service", None, None, 10)
    read = [
        await ledger.request(request_id(number)),
        *await ledger.requests(release.id),
        *locked,
        *(request for request in listed if request.id == request_id(number)),
    ]
    assert len(read) == 4
    return read


async def listed_by_state(ledger):
    return {
        str(state): [request.id.int for request in await ledger.list_requests("build-service", str(state), None, 10)]
        for state in State
    }


@pytest.mark.parametrize("publish", [True, False], ids=["published at once", "published later"])
async def test_a_signed_request_is_claimed_until_its_entry_is_published(stand, ledger, sequencer, publish):
    book = await stand.book()
    await signed(stand)
    for request in await shown(ledger):
        assert (request.state, request.reason, request.sentence) == (State.CLAIMED, "sealed", SEALED)
    assert await listed_by_state(ledger) == {**{str(state): [] for state in State}, "claimed": [1]}
    assert await ledger.signature(request_id(1)) is None
    hints = await stand.heard("attestor")
    await sequencer(book, publish=publish).sequence()
    if not publish:
        assert (await ledger.request(request_id(1))).reason == "sealed"
        assert (await ledger.signature(request_id(1)), await hints()) == (None, [])
        await book.publish(1)
    assert await hints() == [P.id]
    for request in await shown(ledger):
        assert (request.state, request.reason, request.sentence) == (State.SIGNED, "signed", "Signed.")
    assert await listed_by_state(ledger) == {**{str(state): [] for state in State}, "signed": [1]}
    assert await ledger.signature(request_id(1)) == b"sig"


async def test_a_signature_that_is_not_the_logged_one_stays_sealed(stand, ledger, sequencer):
    await signed(stand)
    await stand.owner.execute("UPDATE signatures SET signature = 'planted'")
    await sequencer(await stand.book()).sequence()
    assert await ledger.signature(request_id(1)) is None
    assert (await ledger.request(request_id(1))).reason == "sealed"


async def test_one_seal_opens_no_other(stand, ledger, sequencer):
    book = await stand.book()
    await signed(stand)
    await sequencer(book).sequence()
    await signed(stand, 2, Q, b"other")
    assert (await ledger.request(request_id(2))).reason == "sealed"
    assert await listed_by_state(ledger) == {**{str(state): [] for state in State}, "signed": [1], "claimed": [2]}
    await add_request(stand.owner, 3, P, state="refused")
    assert [one.id.int for one in await ledger.list_requests("build-service", None, request_id(1), 10)] == [2, 3]
    assert (await ledger.signature(request_id(1)), await ledger.signature(request_id(2))) == (b"sig", None)
    await sequencer(book).sequence()
    assert await ledger.signature(request_id(2)) == b"other"


async def test_when_a_decision_was_told_is_shown(stand, ledger):
    await add_release(stand.owner)
    await add_request(stand.owner)
    assert (await ledger.request(request_id(1))).decided_at is None
    queue = PostgresQueue(await stand.pool("signer"), await stand.listener("signer"))
    job = await queue.claim(60)
    await queue.decide(job, concluded(decision(request_id(1)), [], await queue.evidence(job), 0))
    assert (await ledger.request(request_id(1))).decided_at > job.clock


async def test_how_signers_stand_is_read_with_when_they_said_so(stand, ledger):
    queue = PostgresQueue(await stand.pool("signer"), await stand.listener("signer"))
    said = [
        SignerStatus("b", halted=False, code="ready", sentence="Ready.", anchor_size=1, policy_digest="p"),
        SignerStatus("a", halted=True, code="log-forked", sentence="Two.", anchor_size=2, policy_digest="q"),
    ]
    for status in said:
        await queue.report(status)
    read = await ledger.signers()
    assert [(one.instance, one.halted, one.code, one.anchor_size) for one in read] == [
        ("a", True, "log-forked", 2),
        ("b", False, "ready", 1),
    ]
    assert all(one.at is not None for one in read)


async def test_releases_that_were_signed_on_a_key_are_found_once_their_signature_can_be_read(stand, ledger, sequencer):
    book = await stand.book()
    await enqueue(stand.owner, decision(request_id(1)))
    await sequencer(book).sequence()
    await signed(stand)
    await add_vote(stand.owner, "alice", b"a", b"alice's envelope")
    await add_vote(stand.owner, "bob", b"b", b"bob's envelope")
    await add_withdrawal(stand.owner, "bob", b"b", b"bob's withdrawal")
    assert await ledger.signed_with(["k"], None, 10) == ([], None)
    await sequencer(book).sequence()
    [one], after = await ledger.signed_with(["k", "l"], None, 10)
    assert (one.release, one.sha256, one.index, after) == (P, SHA256, 0, None)
    assert one.decision.request == str(request_id(1))
    assert {claim.operator for claim in one.claims} == {"alice", "bob"}
    assert {operator for operator, _ in one.withdrawn} == {"bob"}
    # Looked through, and nothing found: the page goes on behind it.
    assert await ledger.signed_with(["l"], None, 1) == ([], P.id)
    assert await ledger.signed_with(["k"], P.id, 1) == ([], None)


async def test_a_decision_that_cannot_be_read_is_an_error_and_no_guess(stand, ledger, sequencer):
    book = await stand.book()
    await enqueue(stand.owner, decision(request_id(1)))
    await sequencer(book).sequence()
    await signed(stand)
    await add_vote(stand.owner, "alice", b"a", b"alice's envelope")
    await sequencer(book).sequence()
    await tamper(stand.owner, "UPDATE log_entries SET entry = '{}' WHERE idx = 0")
    with pytest.raises(Unavailable, match="row-unreadable"):
        await ledger.signed_with(["k"], None, 10)
