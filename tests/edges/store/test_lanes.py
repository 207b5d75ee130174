"""Who is claimed next: databases before images before packages before bulk, none of a paused tier, places of a quota once each."""

import asyncio

import pytest

from attestor.core.errors import Conflict
from attestor.core.lanes import Lane
from attestor.core.lifecycle import State
from attestor.core.naming import parse_release
from attestor.service.signports import Place
from attestor.store.pauses import Pauses
from attestor.store.pool import Settings, connect
from attestor.store.queue import PostgresQueue
from tests.edges.store.logmakers import request_id
from tests.edges.store.seeds import P, Q, add_release, add_request

DATABASE = parse_release("database", "pkg:generic/arch/extra.db@7?arch=x86_64", "extra.db.tar.gz")
MONTH = Place("isos", "isos", "2026-11", 3)
MANY = 20_000


@pytest.fixture
async def queue(stand):
    return PostgresQueue(await stand.pool("signer"), await stand.listener("signer"))


@pytest.fixture
async def pauses(stand):
    async with connect(Settings(stand.dsn(), connections=1)) as pool:
        yield Pauses(pool)


async def in_lane(stand, number, lane):
    await stand.owner.execute("UPDATE signing_requests SET lane = $2 WHERE id = $1", request_id(number), int(lane))


async def packages(stand, count):
    """A mass rebuild, all older than whatever else is asked."""
    await stand.owner.execute(
        """WITH named AS (
            SELECT 'pkg:alpm/arch/p' || n || '@1-1?arch=any' AS purl, 'p' || n || '-1-1-any.pkg.tar.zst' AS file_name
            FROM generate_series(1, $1::integer) n
        ), many AS (
            INSERT INTO releases (id, kind, purl, file_name)
            SELECT sha256(convert_to(concat_ws(chr(10), 'package', purl, file_name), 'UTF8')), 'package', purl, file_name FROM named
            RETURNING id
        )
        INSERT INTO signing_requests (id, release_id, requester, tier, size, sha256, sha512, content, content_present, state, reason,
            sentence, created_at, lane)
        SELECT gen_random_uuid(), id, 'build-service', 'packages', 1, id, id || id, '{"type":"upload"}', true, 'queued', 'queued', '',
            '2026-01-01', 2 FROM many""",
        count,
    )


async def test_twenty_thousand_waiting_packages_stand_in_no_databases_way(stand, queue):
    await packages(stand, MANY)
    await add_release(stand.owner, DATABASE)
    await add_request(stand.owner, 1, DATABASE)
    await in_lane(stand, 1, Lane.DATABASE)
    assert (await queue.claim(60)).request.release == DATABASE
    assert await queue.claim(60, Lane.DATABASE) is None, "a worker that databases have for themselves takes no package"
    assert (await queue.claim(60)).request.lane is Lane.PACKAGE


async def test_the_first_lane_comes_first_and_within_it_the_oldest(stand, queue):
    for release in (P, Q, DATABASE):
        await add_release(stand.owner, release)
    for number, release in enumerate((P, Q, DATABASE), 1):
        await add_request(stand.owner, number, release)
    for number, lane in ((1, Lane.BULK), (2, Lane.PACKAGE), (3, Lane.IMAGE)):
        await in_lane(stand, number, lane)
    assert await queue.claim(60, Lane.DATABASE) is None
    assert [(await queue.claim(60)).request.release for _ in range(3)] == [DATABASE, Q, P]


async def test_a_lost_claim_is_taken_by_a_worker_of_its_own_lane(stand, queue):
    await add_release(stand.owner)
    await add_request(stand.owner)
    assert await queue.claim(0) is not None
    assert await queue.claim(60, Lane.IMAGE) is None
    assert (await queue.claim(60)).fence == 2


async def test_nothing_of_a_paused_tier_is_claimed_and_its_requests_say_why(stand, queue, pauses):
    await add_release(stand.owner)
    await add_request(stand.owner)
    assert await pauses.pause("packages", "the mirror moves", "jane")
    assert not await pauses.pause("packages", "another reason", "joe"), "the first word stands"
    assert await queue.claim(60) is None
    shown = await stand.owner.fetchrow("SELECT state, reason, sentence FROM shown_requests")
    assert tuple(shown) == ("queued", "tier-paused", "The tier is paused: the mirror moves")
    [line] = await pauses.backlog()
    assert (line.tier, line.queued, line.paused_by, line.reason) == ("packages", 1, "jane", "the mirror moves")
    assert await pauses.resume("packages")
    assert not await pauses.resume("packages")
    assert (await queue.claim(60)).request.tier == "packages"


async def test_what_was_set_aside_is_put_back_with_its_tries_unspent(stand, queue, pauses):
    for number, release in ((1, P), (2, Q)):
        await add_release(stand.owner, release)
        await add_request(stand.owner, number, release, state="aside")
    await stand.owner.execute("UPDATE signing_requests SET tries = 5")
    assert await pauses.retry_aside("isos") == 0
    assert await pauses.retry_aside("packages") == 2
    assert {(await queue.claim(60)).request.tries for _ in range(2)} == {1}


async def iso_jobs(stand, queue, count):
    for number in range(1, count + 1):
        name = f"pkg:generic/arch/archlinux-iso@{number}?arch=x86_64"
        release = parse_release("iso", name, f"archlinux-{number}-x86_64.iso")
        await add_release(stand.owner, release)
        await add_request(stand.owner, number, release)
    return [await queue.claim(60) for _ in range(count)]


async def test_fifty_at_once_get_exactly_the_places_that_there_are(stand, queue):
    jobs = await iso_jobs(stand, queue, 50)
    placed = await asyncio.gather(*(queue.reserve(job, MONTH) for job in jobs))
    assert placed.count(True) == MONTH.limit
    again = await asyncio.gather(*(queue.reserve(job, MONTH) for job in jobs))
    assert again == placed, "who has a place keeps it, and nobody gets a second one"


async def test_a_place_is_free_again_once_its_request_is_given_back(stand, queue):
    one, other = await iso_jobs(stand, queue, 2)
    place = Place("isos", "isos", "2026-11", 1)
    assert await queue.reserve(one, place)
    assert not await queue.reserve(other, place)
    assert await queue.reserve(other, Place("isos", "isos", "2026-12", 1)), "another period"
    assert await queue.reserve(other, Place("isos", "another", "2026-11", 1)), "another key"
    await queue.give_back(one, State.WAITING, "not-reached", "", 0)
    assert await queue.reserve(other, place)


async def test_a_place_that_is_spent_stays(stand, queue):
    one, other = await iso_jobs(stand, queue, 2)
    place = Place("isos", "isos", "2026-11", 1)
    assert await queue.reserve(one, place)
    await stand.owner.execute("UPDATE quota_places SET spent = true")
    await queue.give_back(one, State.QUEUED, "hsm-unreachable", "", 0)
    assert not await queue.reserve(other, place)


async def test_only_who_holds_the_claim_takes_a_place(stand, queue):
    [job] = await iso_jobs(stand, queue, 1)
    await stand.owner.execute("UPDATE signing_requests SET fence = fence + 1")
    with pytest.raises(Conflict, match="lease-over"):
        await queue.reserve(job, MONTH)
    assert await stand.owner.fetchval("SELECT count(*) FROM quota_places") == 0
