"""Another policy, or a key's time: what was decided is decided again before it is shown or used."""

import asyncio
from datetime import timedelta
from hashlib import sha256

import pytest

from attestor.app.clock import now
from attestor.core.entries import PolicyEntry
from attestor.core.entrybytes import seal_entry
from attestor.core.errors import Forbidden, Rejected, Unavailable
from attestor.core.tlog.merkle import leaf_hash
from attestor.core.wire import Receipt
from attestor.service import read
from tests.logkeys import seal
from tests.service.makers import (
    BUILDER,
    asking,
    deb,
    iso,
    lines_of,
    make_policy,
    package,
    payload_digest,
    vote,
    withdrawal,
)

GOOD, OTHER = b"the package", b"another package"


async def everything(gate, **filters):
    wanted = {"purl": None, "file_name": None, "digest": None, "tier": None, "state": None}
    lines, cursor = [], None
    while True:
        page = await gate.releases(**(wanted | filters), cursor=cursor, limit=3)
        lines += page.releases
        cursor = page.cursor
        if cursor is None:
            return lines


async def queued(gate):
    await gate.admit(vote(package(), GOOD, "alice", "bob"))
    opened, _ = await gate.ask(BUILDER, asking(package(), GOOD))
    assert opened.state == "queued"
    return opened.id


CHANGES = {
    "a revoked key": ({"revoked": ["alice"]}, "pending", "not-reached"),
    "a suspended operator": ({"suspended": ["bob"]}, "pending", "not-reached"),
    "a higher threshold": ({"threshold": 3}, "pending", "not-reached"),
    "a tier that is gone": ({"without": ["packages"]}, "pending", "no-tier"),
    "a key that ended": ({"valid_until": {"alice": "2026-01-01T00:00:00Z"}}, "pending", "not-reached"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_queued_request_goes_back_to_waiting_under_a_policy_with(ground, change):
    request = await queued(await ground.gate())
    changes, state, reason = CHANGES[change]
    later = await ground.gate(make_policy(serial=2, **changes))
    assert await later.reevaluate(10) == 1
    [row] = await ground.sql("SELECT state, reason FROM signing_requests")
    assert tuple(row) == ("waiting", reason)
    decision = (await later.release(package().id)).decision
    assert (decision.state, decision.reason, decision.policy_serial) == (state, reason, 2)
    assert await later.reevaluate(10) == 0
    assert await ground.sql("SELECT FROM events WHERE request_id::text = $1 AND what = 'waiting'", request)


async def test_the_former_rules_under_a_serial_of_their_own_queue_it_again(ground):
    gate = await ground.gate()
    request = await queued(gate)
    await (await ground.gate(make_policy(serial=2, revoked=["alice"]))).reevaluate(10)
    later = await ground.gate(make_policy(serial=3))
    assert await later.reevaluate(10) == 1
    assert (await later.request(BUILDER, request)).state == "queued"


async def test_a_process_that_has_yet_to_load_the_newer_policy_undoes_nothing_of_it(ground):
    former, newer = await ground.gate(), await ground.gate(make_policy(serial=2, revoked=["alice"]))
    request = await queued(former)
    assert await newer.reevaluate(10) == 1
    assert await former.reevaluate(10) == 0
    # It shows what follows under its own policy, and stores none of that.
    [line] = await everything(former)
    assert (line.decision.state, line.decision.policy_serial) == ("reached", 1)
    assert (await former.request(BUILDER, request)).state == "waiting"
    assert await newer.reevaluate(10) == 0


@pytest.mark.parametrize(
    ("in_force", "state", "reason"), [(2, "waiting", "policy-older"), (1, "refused", "other-digest-signed")]
)
async def test_a_process_that_has_yet_to_load_the_newer_policy_refuses_nothing(ground, in_force, state, reason):
    """What was signed by other bytes is for people to approve where the newer policy says so, and for nobody under the former."""
    gate = await ground.gate()
    for release in (package(), package("other")):
        await gate.admit(vote(release, GOOD, "alice"))
    request = (await gate.ask(BUILDER, asking(package(), GOOD)))[0].id
    for release in (package(), package("other")):
        await ground.sql(
            "INSERT INTO signed_digests VALUES ($1, $2)", bytes.fromhex(release.id), sha256(OTHER).digest()
        )
    entry = PolicyEntry(serial=in_force, digest="ab" * 32, anchor="cd" * 16)
    raw = seal_entry(entry, seal())
    await ground.sql("INSERT INTO log_entries VALUES (99, gen_random_uuid(), 'policy', 0, $1, $2)", leaf_hash(raw), raw)

    await gate.admit(vote(package(), GOOD, "bob"))
    shown = await gate.request(BUILDER, request)
    assert (shown.state, shown.reason) == (state, reason)
    if state == "refused":
        with pytest.raises(Rejected, match=reason):
            await gate.ask(BUILDER, asking(package("other"), GOOD))
    else:
        asked, _ = await gate.ask(BUILDER, asking(package("other"), GOOD))
        assert (asked.state, asked.reason) == (state, reason)


async def test_a_release_without_a_tier_stops_neither_the_list_nor_the_others(ground):
    gate = await ground.gate()
    for release in (package(), package("other"), deb(), deb("zsh")):
        await gate.admit(vote(release, GOOD, "alice", "bob"))
    later = await ground.gate(make_policy(serial=2, without=["packages"]))
    shown = {line.purl: line.decision.reason for line in await everything(later)}
    assert sorted(shown.values()) == ["no-tier", "no-tier", "reached", "reached"]
    assert await later.reevaluate(10) == 0


async def test_a_list_shows_only_evaluations_under_the_policy_in_force(ground):
    gate = await ground.gate()
    await gate.admit(vote(package(), GOOD, "alice", "bob"))
    later = await ground.gate(make_policy(serial=2, suspended=["bob"]))
    [line] = await everything(later)
    assert (line.decision.state, line.decision.policy_serial) == ("pending", 2)


async def test_when_a_keys_time_ends_its_votes_end_with_it(ground):
    soon = now() + timedelta(seconds=1)
    ends = soon.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    gate = await ground.gate(make_policy(valid_until={"bob": ends}))
    request = await queued(gate)
    assert await gate.reevaluate(10) == 0
    await ground.sql("SELECT pg_sleep(1.1)")
    assert await gate.reevaluate(10) == 1
    shown = await gate.request(BUILDER, request)
    assert (shown.state, shown.reason) == ("waiting", "not-reached")
    [line] = await everything(gate)
    assert line.decision.agreeing == ("alice",)


async def test_a_request_that_the_signer_gave_back_in_a_race_is_queued_again(ground):
    """The signer read dissent that was taken back before it wrote: nobody else would ever look at the request."""
    gate = await ground.gate()
    request = await queued(gate)
    assert await gate.reevaluate(10) == 0
    await ground.sql(
        "UPDATE signing_requests SET state = 'waiting', reason = 'disputed', updated_at = now(), not_before = now()"
    )
    assert await gate.reevaluate(10) == 1
    assert (await gate.request(BUILDER, request)).state == "queued"
    assert await gate.reevaluate(10) == 0


async def test_what_waits_for_its_time_goes_on_then_also_when_votes_came_meanwhile(ground):
    """A quota that opens: a signer holds the request, and a vote changes nothing of that."""
    gate = await ground.gate()
    request = await queued(gate)
    await ground.sql(
        "UPDATE signing_requests SET state = 'waiting', reason = 'quota-used', updated_at = now(), not_before = now() + interval '1 hour'"
    )
    await gate.admit(vote(package(), GOOD, "carol"))
    assert await gate.reevaluate(10) == 0
    # Two hours later.
    await ground.sql("UPDATE decisions SET decided_at = decided_at - interval '2 hours'")
    await ground.sql(
        "UPDATE signing_requests SET updated_at = updated_at - interval '2 hours', not_before = not_before - interval '2 hours'"
    )
    assert await gate.reevaluate(10) == 1
    assert (await gate.request(BUILDER, request)).state == "queued"
    assert await gate.reevaluate(10) == 0


DOUBTED = {
    "agreed without it": ([vote(package(), GOOD, "alice", "bob", "carol")], {"dissent_limit": 1}, "reached"),
    "not agreed without it": ([vote(package(), GOOD, "alice", "bob")], {"dissent_limit": 1}, "pending"),
    "a dispute that it had ended": ([vote(package(), OTHER, "alice"), vote(package(), GOOD, "bob", "carol")], {}, "disputed"),
}  # fmt: skip


@pytest.mark.parametrize(("votes", "rules", "state"), DOUBTED.values(), ids=DOUBTED)
async def test_what_a_key_took_back_that_is_revoked_by_now_is_in_doubt_here_as_for_a_signer(
    ground, votes, rules, state
):
    """Else the API would queue again and again what signers cannot sign."""
    gate = await ground.gate(make_policy(**rules))
    for each in votes:
        await gate.admit(each)
    content = OTHER if state == "disputed" else GOOD
    await gate.admit(withdrawal(package(), payload_digest(package(), content), "alice-2"))
    later = await ground.gate(make_policy(serial=2, revoked=["alice-2"], **rules))
    view = (await later.release(package().id)).decision
    assert (view.state, view.equivocating) == (state, ("alice",))


async def test_a_suspended_operators_dissent_no_longer_disputes(ground):
    gate = await ground.gate()
    await gate.admit(vote(package(), GOOD, "alice", "bob"))
    await gate.admit(vote(package(), OTHER, "carol"))
    assert (await gate.release(package().id)).decision.state == "disputed"
    later = await ground.gate(make_policy(serial=2, suspended=["carol"]))
    view = await later.release(package().id)
    assert view.decision.state == "reached"
    assert {v.operator: v.reason for v in view.votes} == {"alice": None, "bob": None, "carol": "operator-suspended"}


async def test_one_suspension_clears_a_thousand_disputes_of_one_operator_and_moves_what_was_asked(ground):
    """Of a stolen key, say: nobody approves anything, and nobody is asked for any of them."""
    gate = await ground.gate()
    await ground.stop_log()
    releases = [package(f"name{number}") for number in range(1000)]
    votes = [vote(release, GOOD, "alice", "bob") for release in releases]
    dissents = [vote(release, OTHER, "carol") for release in releases]
    taken = [answer async for answer in gate.admit_batch(lines_of(*votes, *dissents), "192.0.2.1")]
    assert {type(answer) for answer in taken} == {Receipt}
    asked = [(await gate.ask(BUILDER, asking(release, GOOD)))[0] for release in releases[:20]]
    assert {(request.state, request.reason) for request in asked} == {("waiting", "disputed")}
    gate.load(make_policy(serial=2, suspended=["carol"]))
    evaluated = []
    while evaluated[-1:] != [0]:
        evaluated.append(await gate.reevaluate(500))
    assert sum(evaluated) == len(releases)
    [row] = await ground.sql("SELECT count(*) AS n FROM decisions WHERE state = 'reached'")
    assert row["n"] == len(releases)
    [row] = await ground.sql("SELECT count(*) AS n FROM signing_requests WHERE state = 'queued'")
    assert row["n"] == len(asked)


async def test_what_is_under_way_ends_under_the_policy_that_it_began_with(ground):
    gate = await ground.gate()
    lines = asyncio.Queue()

    async def slowly():
        while (line := await lines.get()) is not None:
            yield line

    batch = gate.admit_batch(slowly(), "192.0.2.1")
    answered = asyncio.ensure_future(anext(batch))
    await lines.put(vote(package(), GOOD, "alice"))
    await asyncio.sleep(0)
    gate.load(make_policy(serial=2, revoked=["alice"]))
    await lines.put(None)
    receipt = await answered
    assert [line.decision.policy_serial for line in receipt.releases] == [1]
    with pytest.raises(Forbidden, match="key-revoked"):
        await gate.admit(vote(package("later"), GOOD, "alice"), "192.0.2.1")
    # What was taken in under the former policy is evaluated under the one in force.
    assert await gate.reevaluate(10) == 1
    assert (await gate.release(package().id)).decision.agreeing == ()


async def waiting_over(ground, reason):
    await ground.sql(
        "UPDATE signing_requests SET state = 'waiting', reason = $1, updated_at = now(), not_before = now()", reason
    )


async def reports(ground, digest, *, halted=False, ago=0):
    await ground.sql(
        "INSERT INTO signer_status VALUES ('signer-1', now() - $1 * interval '1 second', $2, 'signing', 'It signs.', 0, $3) "
        "ON CONFLICT (instance) DO UPDATE SET at = excluded.at, halted = excluded.halted, policy_digest = excluded.policy_digest",
        ago,
        halted,
        digest,
    )


@pytest.mark.parametrize("reason", ["policies-differ", "policy-older", "policy-changed"])
async def test_what_waits_over_a_policy_goes_on_once_a_signer_at_work_has_it_and_nobody_asks(ground, reason):
    gate = await ground.gate()
    request = await queued(gate)
    await waiting_over(ground, reason)
    assert await gate.reevaluate(10) == 0
    for signer in (
        {"digest": "cd" * 32},
        {"digest": gate.policy.digest, "halted": True},
        {"digest": gate.policy.digest, "ago": 31},
    ):
        await reports(ground, **signer)
        assert await gate.reevaluate(10) == 0, signer
    await reports(ground, gate.policy.digest)
    assert await gate.reevaluate(10) == 1
    assert (await gate.request(BUILDER, request)).state == "queued"
    assert await gate.reevaluate(10) == 0


@pytest.mark.parametrize("spoilt", ["one", "two", "three"])
@pytest.mark.parametrize("together", [50, 1])
async def test_a_release_that_cannot_be_evaluated_holds_up_no_other(ground, monkeypatch, together, spoilt):
    monkeypatch.setattr(read, "_TOGETHER", together)
    gate = await ground.gate()
    for name in ("one", "two", "three"):
        await gate.admit(vote(package(name), GOOD, "alice", "bob"), "192.0.2.1")
    await ground.sql(
        "INSERT INTO signing_requests (id, release_id, requester, tier, size, sha256, sha512, content, content_present, state, reason, sentence) "
        "VALUES (gen_random_uuid(), $1, 'build-service', 'packages', 1, $2, $3, '{}', true, 'waiting', 'x', 'x')",
        bytes.fromhex(package(spoilt).id),
        bytes(32),
        bytes(64),
    )
    gate.load(make_policy(serial=2))
    with pytest.raises(Unavailable, match="row-unreadable"):
        await gate.reevaluate(10)
    rows = await ground.sql(
        "SELECT policy_digest = $1 AS new, count(*) AS n FROM decisions GROUP BY 1 ORDER BY 1", gate.policy.digest
    )
    assert [tuple(row) for row in rows] == [(False, 1), (True, 2)]


async def test_lists_filter_and_page_in_a_stable_order(gate):
    releases = [package(f"name{number}") for number in range(8)]
    for number, release in enumerate(releases):
        await gate.admit(vote(release, GOOD if number % 2 else OTHER, "alice", "bob", *(["carol"] * (number > 5))))
    await gate.admit(vote(iso(), GOOD, "carol"))
    await gate.admit(vote(package("lonely"), GOOD, "alice"))
    ids = [line.id for line in await everything(gate)]
    assert ids == sorted({release.id for release in [*releases, iso(), package("lonely")]})
    assert [line.purl for line in await everything(gate, purl=package("name3").purl)] == [package("name3").purl]
    assert [line.id for line in await everything(gate, file_name=iso().file_name)] == [iso().id]
    assert [line.id for line in await everything(gate, tier="isos")] == [iso().id]
    assert [line.id for line in await everything(gate, state="pending")] == [package("lonely").id]
    assert len(await everything(gate, state="reached", tier="packages")) == 8
    digest = (await gate.release(package("name0").id)).decision.sha256
    assert {line.id for line in await everything(gate, digest=digest)} == {r.id for r in releases[::2]}
    assert await everything(gate, state="disputed") == []


async def test_the_explanation_tells_the_whole_life_in_order(gate):
    opened, _ = await gate.ask(BUILDER, asking(package(), GOOD))
    await gate.admit(vote(package(), GOOD, "alice", "bob"))
    await gate.admit(vote(package(), OTHER, "carol"))
    await gate.admit(withdrawal(package(), payload_digest(package(), OTHER), "carol"))
    await gate.withdraw(BUILDER, opened.id)
    told = await gate.explain(package().id)
    assert [event.what for event in told.events] == ["waiting", "queued", "waiting", "withdrawn", "queued", "withdrawn"]
    assert told.release.requests == (opened.id,)
    assert {v.operator: v.reason for v in told.release.votes} == {"alice": None, "bob": None, "carol": "withdrawn"}
