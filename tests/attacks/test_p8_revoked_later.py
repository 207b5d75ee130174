"""P8, P10: a key turns out to have been stolen after releases were signed on its votes: they are all found, and named."""

from datetime import timedelta

import pytest

from attestor.core.errors import Malformed, Missing
from attestor.core.policyfile import parse_policy
from attestor.core.suspects import Chosen
from tests.attacks.conftest import GOOD
from tests.service.makers import make_policy, package, vote

ALL = Chosen()


def names(count):
    return sorted((package(f"name{number}") for number in range(count)), key=lambda release: release.id)


async def signed(scene, *releases):
    for release in releases:
        await scene.queued(release)
        await scene.sign()
    await scene.caught_up()
    await scene.ground.settled()
    assert await scene.signatures() == len(releases)


async def listed(gate, chosen=ALL, limit=500):
    lines, cursor, pages = [], None, 0
    while True:
        page = await gate.suspects(chosen, cursor=cursor, limit=limit)
        lines += page.releases
        cursor, pages = page.cursor, pages + 1
        if cursor is None:
            return lines, pages


async def test_every_signed_release_that_counts_its_vote_is_listed_page_by_page(scene):
    releases = names(5)
    await signed(scene, *releases)
    # Agreed and not signed, so nothing rests on it.
    await scene.gate.admit(vote(package("unsigned"), GOOD, "alice", "bob"))
    assert (await listed(scene.gate)) == ([], 1)
    later = await scene.ground.gate(make_policy(serial=2, revoked=["alice"]))
    for limit, pages in ((500, 1), (5, 2), (2, 3), (1, 6)):
        lines, asked = await listed(later, limit=limit)
        assert [line.id for line in lines] == [release.id for release in releases]
        assert asked == pages
    line = lines[0]
    [vote_] = line.votes
    assert (line.counted, vote_.operator, line.remaining, line.reached) == (("alice", "bob"), "alice", ("bob",), False)
    [row] = await scene.ground.sql(
        "SELECT count(*) AS n FROM log_entries WHERE idx = $1 AND kind = 'decision'", line.decision
    )
    assert row["n"] == 1
    assert (await listed(later, Chosen(operator="bob"))) == ([], 1)


async def test_an_operator_that_attests_the_bytes_anew_with_a_sound_key_makes_it_stand(scene):
    [release] = names(1)
    await signed(scene, release)
    later = await scene.ground.gate(make_policy(serial=2, revoked=["alice"]))
    await later.admit(vote(release, GOOD, "alice-2", log=b"rebuilt"))
    [line] = (await listed(later))[0]
    assert (line.remaining, line.reached) == (("alice", "bob"), True)


async def test_an_operator_that_was_not_asked_before_and_comes_to_the_same_bytes_makes_it_stand(scene):
    [release] = names(1)
    await signed(scene, release)
    later = await scene.ground.gate(make_policy(serial=2, revoked=["alice"]))
    await later.admit(vote(release, GOOD, "carol"))
    [line] = (await listed(later))[0]
    assert (line.counted, line.remaining, line.reached) == (("alice", "bob"), ("bob", "carol"), True)


async def test_what_it_signed_before_it_was_compromised_is_not_suspect(scene):
    first, second = names(2)
    await signed(scene, first, second)
    [row] = await scene.ground.sql(
        "SELECT received_at FROM claims WHERE release_id = $1 AND operator = 'alice'", bytes.fromhex(first.id)
    )
    moment = row["received_at"] + timedelta(microseconds=1)
    text = make_policy(serial=2, revoked=["alice"]).raw.decode()
    text = text.replace(
        "revoked = 2026-01-01T00:00:00Z",
        f"revoked = 2036-01-01T00:00:00Z\ncompromised_since = {moment:%Y-%m-%dT%H:%M:%S.%fZ}",
    )
    later = await scene.ground.gate(parse_policy(text.encode(), "policy.toml"))
    assert [line.id for line in (await listed(later))[0]] == [second.id]
    all_of_it = await scene.ground.gate(make_policy(serial=3, revoked=["alice"]))
    assert [line.id for line in (await listed(all_of_it, Chosen(since=moment)))[0]] == [second.id]
    assert len((await listed(all_of_it))[0]) == 2


@pytest.mark.parametrize(
    ("call", "error", "code"),
    [
        ({"chosen": Chosen(operator="nobody"), "cursor": None, "limit": 1}, Missing, "operator-unknown"),
        ({"chosen": ALL, "cursor": None, "limit": 0}, Malformed, "limit-invalid"),
        ({"chosen": ALL, "cursor": "x", "limit": 1}, Missing, "cursor-unknown"),
    ],
    ids=["an operator that is not there", "no releases at all", "a cursor of somebody else's"],
)
async def test_what_cannot_be_asked(gate, call, error, code):
    with pytest.raises(error) as raised:
        await gate.suspects(call.pop("chosen"), **call)
    assert raised.value.code == code
