"""Several API processes on one database: the same decisions as one after the other, and no vote lost."""

import asyncio
import random

import asyncpg
import pytest

from attestor.core.errors import Unavailable
from attestor.store.ledger import PostgresLedger
from tests.service.makers import BUILDER, asking, make_policy, package, payload_digest, vote, withdrawal

GOOD, OTHER = b"the package", b"another package"


async def test_two_processes_that_admit_at_once_lose_no_vote_and_decide_as_one_would(ground):
    gates = [await ground.gate(), await ground.gate()]
    releases = [package(f"name{number}") for number in range(40)]
    raw = [
        vote(release, OTHER if (number, name) == (7, "carol") else GOOD, name, log=b"%d" % copy)
        for number, release in enumerate(releases)
        for name in ("alice", "bob", "carol")
        for copy in range(2)
    ]
    random.Random(7).shuffle(raw)  # noqa: S311 - an order for a test
    # Every envelope goes to both, so that each races with itself as well.
    await asyncio.gather(*[gate.admit(each) for each in raw for gate in gates])
    assert (await ground.rows())["claims"] == 240
    assert (await ground.rows())["envelopes"] == 240
    for number, release in enumerate(releases):
        shown = await gates[0].release(release.id)
        expected = ("disputed", 6) if number == 7 else ("reached", 6)
        assert (shown.decision.state, len(shown.votes)) == expected
    stored = await ground.sql("SELECT state, count(*) AS n FROM decisions GROUP BY state ORDER BY state")
    assert [tuple(row) for row in stored] == [("disputed", 1), ("reached", 39)]


@pytest.mark.parametrize("seed", range(5))
async def test_votes_withdrawals_and_requests_in_any_order_end_where_the_rule_says(ground, seed):
    gates = [await ground.gate(make_policy(dissent_limit=1)) for _ in range(2)]
    chance = random.Random(seed)  # noqa: S311 - an order for a test
    await gates[0].admit(vote(package(), OTHER, "carol"))
    work = [
        lambda gate: gate.admit(vote(package(), GOOD, "alice")),
        lambda gate: gate.admit(vote(package(), GOOD, "bob")),
        lambda gate: gate.admit(vote(package(), GOOD, "carol")),
        lambda gate: gate.admit(withdrawal(package(), payload_digest(package(), OTHER), "carol")),
        lambda gate: gate.ask(BUILDER, asking(package(), GOOD)),
    ]
    chance.shuffle(work)
    await asyncio.gather(*[step(chance.choice(gates)) for step in work])
    decision = (await gates[1].release(package().id)).decision
    assert (decision.state, decision.agreeing, decision.equivocating) == ("reached", ("alice", "bob", "carol"), ())
    [row] = await ground.sql("SELECT state FROM signing_requests")
    assert row["state"] == "queued"


async def test_the_limit_of_payloads_holds_between_processes(ground):
    gates = [await ground.gate(), await ground.gate()]
    raw = [vote(package(), GOOD, "alice", log=b"%d" % number) for number in range(20)]
    answers = await asyncio.gather(
        *[gates[number % 2].admit(each) for number, each in enumerate(raw)], return_exceptions=True
    )
    assert sum(getattr(answer, "code", None) == "too-many-payloads" for answer in answers) == 12
    assert (await ground.rows())["claims"] == 8


async def test_a_deadlock_is_no_answer_the_whole_is_done_again(gate, ground):
    """Another client locks the two releases against the order, and PostgreSQL ends one of the two."""
    first, second = sorted((package("one"), package("two")), key=lambda release: release.id)
    for release in (first, second):
        await gate.admit(vote(release, GOOD, "alice"))
    other = await asyncpg.connect(ground.dsn, server_settings={"deadlock_timeout": "10s"})
    lock = "SELECT FROM releases WHERE id = $1 FOR UPDATE"
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute(lock, bytes.fromhex(second.id))
        admitted = asyncio.gather(*[gate.admit(vote(release, GOOD, "bob")) for release in (first, second)])
        await asyncio.sleep(0.3)
        await other.execute(lock, bytes.fromhex(first.id))
        await transaction.rollback()
        assert [receipt.releases[0].decision.state for receipt in await admitted] == ["reached", "reached"]
    finally:
        await other.close()
    assert (await ground.rows())["claims"] == 4


async def test_the_clock_of_a_transaction_is_read_after_its_locks(ground):
    """Else a vote could be dated before the votes that its decision saw."""
    ledger = PostgresLedger(await ground.pool())
    async with ledger.transaction() as first:
        await first.lock([package()])
        second = asyncio.create_task(_locked_at(ledger))
        await asyncio.sleep(0.3)
        released = await ground.owner.fetchval("SELECT clock_timestamp()")
    assert await second > released


async def _locked_at(ledger):
    async with ledger.transaction() as transaction:
        return await transaction.lock([package()])


async def test_one_locked_release_delays_only_its_own_submission_and_answers_busy(gate, ground):
    await gate.admit(vote(package("held"), GOOD, "alice"))
    other = await asyncpg.connect(ground.dsn)
    try:
        async with other.transaction():
            await other.execute("SELECT FROM releases WHERE id = $1 FOR UPDATE", bytes.fromhex(package("held").id))
            names = ("one", "held", "three")
            answers = await asyncio.gather(
                *[gate.admit(vote(package(name), GOOD, "bob")) for name in names], return_exceptions=True
            )
    finally:
        await other.close()
    assert [getattr(answer, "code", "kept") for answer in answers] == ["kept", "database-busy", "kept"]


async def test_a_caller_that_goes_away_takes_nobodys_transaction_with_it(gate, ground):
    raw = [vote(package(f"name{number}"), GOOD, "alice") for number in range(10)]
    tasks = [asyncio.create_task(gate.admit(each)) for each in raw]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(answer, asyncio.CancelledError) for answer in answers) == 5
    await gate.drain()
    assert (await ground.rows())["claims"] >= 5


async def test_without_a_database_every_submission_is_told_so_at_once(ground):
    gate = await ground.gate()
    await ground.sql("ALTER ROLE attestor_api NOLOGIN")
    try:
        await ground.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'attestor_api'")
        raw = [vote(package(f"name{number}"), GOOD, "alice") for number in range(50)]
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*[gate.admit(each) for each in raw], return_exceptions=True)
        assert {type(answer) for answer in answers} == {Unavailable}
    finally:
        await ground.sql("ALTER ROLE attestor_api LOGIN")
    assert (await gate.admit(raw[0])).replay is False
