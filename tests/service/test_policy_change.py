"""Another policy, or a key's time: what was decided is decided again before it is shown or used."""

from datetime import timedelta

import pytest

from attestor.app.clock import now
from tests.service.makers import BUILDER, asking, deb, iso, make_policy, package, payload_digest, vote, withdrawal

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


async def test_a_suspended_operators_dissent_no_longer_disputes(ground):
    gate = await ground.gate()
    await gate.admit(vote(package(), GOOD, "alice", "bob"))
    await gate.admit(vote(package(), OTHER, "carol"))
    assert (await gate.release(package().id)).decision.state == "disputed"
    later = await ground.gate(make_policy(serial=2, suspended=["carol"]))
    view = await later.release(package().id)
    assert view.decision.state == "reached"
    assert {v.operator: v.reason for v in view.votes} == {"alice": None, "bob": None, "carol": "operator-suspended"}


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
