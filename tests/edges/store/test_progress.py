"""What keeps requests from their signatures, counted by reason."""

import pytest

from attestor.store.progress import held_requests
from tests.edges.store.logmakers import request_id
from tests.edges.store.seeds import P, Q, add_release, add_request

_REASON = "UPDATE signing_requests SET reason = $2, updated_at = now() - $3 * interval '1 hour' WHERE id = $1"


@pytest.fixture
async def pool(stand):
    return await stand.pool("api")


async def request(stand, number, state, reason, *, hours=0, release=P):
    await add_request(stand.owner, number, release, state=state, sha256=number.to_bytes(32))
    await stand.owner.execute(_REASON, request_id(number), reason, hours)


async def test_they_are_counted_by_state_and_reason_and_refusals_of_the_last_day_apart(stand, pool):
    assert await held_requests(pool) == []
    for release in (P, Q):
        await add_release(stand.owner, release)
    for number in range(1, 4):
        await request(stand, number, "waiting", "quota-used", hours=100, release=Q)
    await request(stand, 4, "waiting", "disputed")
    await request(stand, 5, "aside", "device-refused", hours=100)
    await request(stand, 6, "refused", "other-digest-signed", hours=23)
    await request(stand, 7, "refused", "other-digest-signed", hours=25)
    await request(stand, 8, "refused", "content-differs", hours=25)
    for number, state in enumerate(("queued", "withdrawn"), 9):
        await request(stand, number, state, state)
    held = {(each.state, each.reason): (each.count, each.ever) for each in await held_requests(pool)}
    assert held == {
        ("waiting", "quota-used"): (3, 0),
        ("waiting", "disputed"): (1, 0),
        ("aside", "device-refused"): (1, 0),
        ("refused", "other-digest-signed"): (1, 2),
        ("refused", "content-differs"): (0, 1),
    }
    first = (await held_requests(pool))[0]
    assert first.reason == "quota-used", "the most frequent come first"
