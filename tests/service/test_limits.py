"""The three limits over the real database: whom each counts, what it leaves untouched, and that waiting is enough."""

import asyncio
import json

import pytest

from attestor.core.envelope import verify
from attestor.core.errors import Conflict, Exhausted, Forbidden, Missing, OverRate, Rejected, Unavailable
from attestor.core.limits import Rate
from attestor.core.wire import Receipt
from attestor.service import admit as admission
from tests.service.makers import BUILDER, asking, iso, lines_of, make_policy, package, payload_digest, vote, withdrawal

GOOD = b"the package"
TWO = Rate(per_minute=60, burst=2)
SECOND = 10**9


class Ticks:
    def __init__(self):
        self.now = 5 * SECOND

    def __call__(self):
        return self.now

    def pass_by(self, refused):
        self.now += refused.value.retry_after * SECOND


@pytest.fixture
def ticks():
    return Ticks()


def nameless(envelope):
    """The envelope without a hint at who signed it, or by a stranger."""
    document = json.loads(envelope)
    for signature in document["signatures"]:
        signature["keyid"] = ""
    return json.dumps(document).encode()


async def refused_of(call, code):
    with pytest.raises(Exhausted) as refused:
        await call
    assert refused.value.code == code
    return refused


async def codes(answers):
    return ["receipt" if isinstance(answer, Receipt) else answer.code async for answer in answers]


# --- new signing requests, per requester ------------------------------------------------------------------------------


async def test_a_requester_opens_as_many_as_it_may_and_the_rest_succeeds_later(ground, ticks):
    gate = await ground.gate(requests=TWO, ticks=ticks)
    for name in ("one", "two"):
        await gate.ask(BUILDER, asking(package(name), GOOD))
    before = await ground.rows()
    refused = await refused_of(gate.ask(BUILDER, asking(package("three"), GOOD)), "requester-limit")
    assert "build-service" in refused.value.sentence
    assert await ground.rows() == before
    ticks.pass_by(refused)
    _, opened = await gate.ask(BUILDER, asking(package("three"), GOOD))
    assert opened


async def test_joining_and_reading_a_request_uses_nothing_up(ground, ticks):
    gate = await ground.gate(requests=TWO, ticks=ticks)
    for _ in range(5):
        view, _ = await gate.ask(BUILDER, asking(package(), GOOD))
        await gate.request(BUILDER, view.id)
    assert (await gate.ask(BUILDER, asking(package("two"), GOOD)))[1]
    await refused_of(gate.ask(BUILDER, asking(package("three"), GOOD)), "requester-limit")
    assert not (await gate.ask(BUILDER, asking(package(), GOOD)))[1]


async def test_what_is_refused_uses_nothing_up(ground, ticks):
    gate = await ground.gate(make_policy(without=["isos"]), requests=TWO, ticks=ticks)
    for _ in range(5):
        with pytest.raises(Missing):
            await gate.ask(BUILDER, asking(iso(), GOOD))
    for name in ("one", "two"):
        assert (await gate.ask(BUILDER, asking(package(name), GOOD)))[1]


async def test_fifty_that_ask_at_once_open_no_more_than_the_burst(ground, ticks):
    gate = await ground.gate(requests=Rate(per_minute=60, burst=7), ticks=ticks)
    asked = [gate.ask(BUILDER, asking(package(f"p{number}"), GOOD)) for number in range(50)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(answer, tuple) for answer in answers) == 7
    assert (await ground.rows())["signing_requests"] == 7


async def test_a_request_that_the_database_did_not_keep_uses_nothing_up(ground, ticks, monkeypatch):
    gate = await ground.gate(requests=TWO, ticks=ticks)
    ledger = gate._desk._ledger

    class Failing:
        """The transaction's end fails."""

        def __init__(self, inner):
            self.inner = inner

        async def __aenter__(self):
            return await self.inner.__aenter__()

        async def __aexit__(self, *_):
            await self.inner.__aexit__(Conflict, Conflict("serialization", "Another was first."), None)
            raise Conflict("serialization", "Another was first.")

    whole = ledger.transaction
    with monkeypatch.context() as patch:
        patch.setattr(type(ledger), "transaction", lambda _: Failing(whole()))
        for _ in range(5):
            with pytest.raises(Conflict):
                await gate.ask(BUILDER, asking(package("failed"), GOOD))
    for name in ("one", "two"):
        assert (await gate.ask(BUILDER, asking(package(name), GOOD)))[1]


# --- replays and refusals, per peer -----------------------------------------------------------------------------------


async def test_a_peer_replays_as_often_as_it_may_and_others_are_untouched(ground, ticks):
    gate = await ground.gate(replays=TWO, ticks=ticks)
    envelope = vote(package(), GOOD, "alice")
    assert not (await gate.admit(envelope)).replay
    assert [(await gate.admit(envelope)).replay for _ in range(2)] == [True, True]
    before = await ground.rows()
    refused = await refused_of(gate.admit(envelope), "peer-limit")
    assert await ground.rows() == before
    assert (await gate.admit(envelope, "198.51.100.9")).replay
    ticks.pass_by(refused)
    assert (await gate.admit(envelope)).replay


async def test_a_peer_with_nothing_left_costs_no_verification(ground, ticks, monkeypatch):
    gate = await ground.gate(replays=TWO, ticks=ticks)
    verified = []
    monkeypatch.setattr(admission, "verify", lambda signed, known: verified.append(signed) or verify(signed, known))
    hostile = nameless(vote(package(), GOOD, "mallory"))
    for _ in range(2):
        with pytest.raises(Forbidden):
            await gate.admit(hostile)
    for _ in range(5):
        await refused_of(gate.admit(hostile), "peer-limit")
        await refused_of(gate.admit(vote(package("new"), GOOD, "alice")), "peer-limit")
    assert len(verified) == 2
    assert not (await gate.admit(vote(package("new"), GOOD, "alice"), "198.51.100.9")).replay


async def test_an_ipv6_peer_is_its_whole_subnet(ground, ticks):
    gate = await ground.gate(replays=TWO, ticks=ticks)
    hostile = nameless(vote(package(), GOOD, "mallory"))
    for host in (1, 2):
        with pytest.raises(Forbidden):
            await gate.admit(hostile, f"2001:db8:0:7::{host}")
    await refused_of(gate.admit(hostile, "2001:db8:0:7:ffff::3"), "peer-limit")
    with pytest.raises(Forbidden):
        await gate.admit(hostile, "2001:db8:0:8::1")


IN_VAIN = {
    "a stranger's": (vote(package(), GOOD, "mallory"), Forbidden),
    "of a revoked key": (vote(package(), GOOD, "bob"), Forbidden),
    "that no tier governs": (vote(iso(), GOOD, "carol"), Missing),
    "of a release that nobody attested": (withdrawal(package(), payload_digest(package(), GOOD), "alice"), Missing),
    "of another instance": (withdrawal(package(), b"\0" * 32, "alice", origin="other.example.org"), Rejected),
}


@pytest.mark.parametrize("case", IN_VAIN)
async def test_what_is_verified_for_nothing_counts_against_the_peer(ground, ticks, case):
    envelope, error = IN_VAIN[case]
    gate = await ground.gate(make_policy(revoked=["bob"], without=["isos"]), replays=TWO, ticks=ticks)
    for _ in range(2):
        with pytest.raises(error) as refused:
            await gate.admit(envelope)
        assert not isinstance(refused.value, Exhausted)
    await refused_of(gate.admit(envelope), "peer-limit")


async def test_what_cannot_be_read_costs_nothing_and_is_not_counted(ground, ticks):
    gate = await ground.gate(replays=TWO, ticks=ticks)
    for _ in range(5):
        with pytest.raises(Rejected) as refused:
            await gate.admit(b"{}")
        assert refused.value.code != "peer-limit"


async def test_new_ones_use_up_nothing_of_the_peer(ground, ticks):
    gate = await ground.gate(replays=TWO, ticks=ticks)
    for number in range(6):
        assert not (await gate.admit(vote(package(f"p{number}"), GOOD, "alice"))).replay


async def test_a_database_that_is_away_is_not_held_against_the_peer(ground, ticks, monkeypatch):
    gate = await ground.gate(replays=TWO, payloads=TWO, ticks=ticks)

    async def away(*_):
        raise Unavailable("database-unavailable", "The database does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(admission, "record", away)
        for _ in range(5):
            with pytest.raises(Unavailable):
                await gate.admit(vote(package(), GOOD, "alice"))
    assert not (await gate.admit(vote(package(), GOOD, "alice"))).replay


async def test_in_a_batch_each_line_is_judged_by_itself(ground, ticks):
    gate = await ground.gate(replays=TWO, ticks=ticks)
    known, stranger = vote(package("known"), GOOD, "alice"), vote(package(), GOOD, "mallory")
    await gate.admit(known, "198.51.100.9")
    lines = [vote(package("a"), GOOD, "alice"), known, vote(package("b"), GOOD, "alice"), stranger, known, b"{}"]
    answers = await codes(gate.admit_batch(lines_of(*lines)))
    assert answers[:5] == ["receipt", "receipt", "receipt", "unknown-key", "receipt"]
    assert answers[5] not in {"receipt", "peer-limit"}
    # Three were in vain, where two may be.
    assert await codes(gate.admit_batch(lines_of(vote(package("c"), GOOD, "alice")))) == ["peer-limit"]
    ticks.now += 2 * SECOND
    assert await codes(gate.admit_batch(lines_of(vote(package("c"), GOOD, "alice")))) == ["receipt"]


async def in_a_batch(gate, envelopes):
    return await codes(gate.admit_batch(lines_of(*envelopes)))


async def each_by_itself(gate, envelopes):
    answers = await asyncio.gather(*map(gate.admit, envelopes), return_exceptions=True)
    return ["receipt" if isinstance(answer, Receipt) else answer.code for answer in answers]


@pytest.mark.parametrize("sent", [in_a_batch, each_by_itself])
async def test_what_is_sent_at_once_is_no_way_round_the_rate(ground, ticks, monkeypatch, sent):
    """What is known only once it was recorded is owed: the next ones are not verified until that is made good."""
    gate = await ground.gate(replays=Rate(per_minute=60, burst=9), ticks=ticks)
    envelope = vote(package(), GOOD, "alice")
    await gate.admit(envelope)
    verified = []
    monkeypatch.setattr(admission, "verify", lambda signed, known: verified.append(signed) or verify(signed, known))
    assert await sent(gate, [envelope] * 100) == ["receipt"] * 100
    for _ in range(91):
        assert await sent(gate, [envelope] * 20) == ["peer-limit"] * 20
        ticks.now += SECOND
    assert len(verified) == 100
    ticks.now += SECOND
    assert await sent(gate, [envelope]) == ["receipt"]


# --- new payloads, per operator ---------------------------------------------------------------------------------------


async def test_an_operator_states_as_many_payloads_as_it_may_with_all_its_keys(ground, ticks):
    gate = await ground.gate(payloads=TWO, ticks=ticks)
    for name, key in (("one", "alice"), ("two", "alice-2")):
        await gate.admit(vote(package(name), GOOD, key))
    before = await ground.rows()
    refused = await refused_of(gate.admit(vote(package("three"), GOOD, "alice")), "operator-limit")
    assert "alice" in refused.value.sentence
    assert await ground.rows() == before
    assert not (await gate.admit(vote(package("three"), GOOD, "bob"))).replay
    ticks.pass_by(refused)
    assert not (await gate.admit(vote(package("three"), GOOD, "alice"))).replay


async def test_nobody_uses_up_what_is_an_operators(ground, ticks):
    """Neither with envelopes that bear its key id, nor with its own that are known, nor with batches of them."""
    gate = await ground.gate(payloads=TWO, ticks=ticks)
    mine = vote(package("one"), GOOD, "alice")
    await gate.admit(mine)
    forged = json.loads(mine)
    forged["signatures"][0]["sig"] = json.loads(vote(package(), GOOD, "mallory"))["signatures"][0]["sig"]
    for _ in range(5):
        assert (await gate.admit(mine)).replay
        with pytest.raises(Forbidden):
            await gate.admit(json.dumps(forged).encode())
    await codes(gate.admit_batch(lines_of(*[mine] * 20)))
    await asyncio.gather(*[gate.admit(mine) for _ in range(20)])
    assert not (await gate.admit(vote(package("two"), GOOD, "alice"))).replay


async def test_of_several_operators_that_signed_one_payload_all_have_it_left_or_none_loses_any(ground, ticks):
    gate = await ground.gate(payloads=TWO, ticks=ticks)
    for name in ("one", "two"):
        await gate.admit(vote(package(name), GOOD, "bob"))
    await refused_of(gate.admit(vote(package("three"), GOOD, "alice", "bob")), "operator-limit")
    for name in ("one", "two"):
        assert not (await gate.admit(vote(package(name), GOOD, "alice"))).replay


async def test_in_a_batch_the_others_go_on_beside_an_operator_with_nothing_left(ground, ticks):
    gate = await ground.gate(payloads=TWO, ticks=ticks)
    lines = [vote(package(f"p{number}"), GOOD, key) for number in range(4) for key in ("alice", "bob")]
    answers = await codes(gate.admit_batch(lines_of(*lines)))
    assert answers == ["receipt"] * 4 + ["operator-limit"] * 4
    assert (await ground.rows())["envelopes"] == 4


async def test_what_an_operator_may_not_state_now_is_not_counted_against_its_peer(ground, ticks):
    gate = await ground.gate(payloads=TWO, replays=TWO, ticks=ticks)
    for name in ("one", "two"):
        await gate.admit(vote(package(name), GOOD, "alice"))
    for _ in range(5):
        await refused_of(gate.admit(vote(package("three"), GOOD, "alice")), "operator-limit")
    assert not (await gate.admit(vote(package("three"), GOOD, "bob"))).replay


async def test_too_many_payloads_on_one_release_is_for_ever_and_says_no_time(ground):
    gate = await ground.gate()
    for number in range(8):
        await gate.admit(vote(package(), GOOD, "alice", log=b"%d" % number))
    refused = await refused_of(gate.admit(vote(package(), GOOD, "alice", log=b"more")), "too-many-payloads")
    assert not isinstance(refused.value, OverRate)
