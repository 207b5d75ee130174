"""Signing requests: who may ask, what joins what, and how a request moves."""

import asyncio
import hashlib
import struct

import pytest

from attestor.core.errors import Conflict, Forbidden, Missing, Rejected
from attestor.core.wire import Artifact, HashState, Upload
from attestor.service.ask import Client
from tests.service.makers import (
    BUILDER,
    CLIENT,
    asking,
    base64_of,
    iso,
    lines_of,
    make_policy,
    package,
    vote,
)

GOOD, OTHER = b"the package", b"another package"
_START = (
    0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
    0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
)  # fmt: skip


def hash_state(content):
    """sha2 0.11's layout for fewer than 128 bytes: the start value, no whole block, the buffer with its position last."""
    raw = struct.pack("<8Q", *_START) + bytes(16) + bytes([len(content)]) + content.ljust(127, b"\0")
    return HashState(base64_of(raw))


async def test_asking_again_joins_the_live_request(gate, ground):
    first, new = await gate.ask(BUILDER, asking(package(), GOOD))
    again, also_new = await gate.ask(BUILDER, asking(package(), GOOD))
    assert (new, also_new, again.id) == (True, False, first.id)
    assert (await ground.rows())["signing_requests"] == 1


async def test_fifty_that_ask_at_once_get_one_request(gate, ground):
    answers = await asyncio.gather(*[gate.ask(BUILDER, asking(package(), GOOD)) for _ in range(50)])
    assert len({view.id for view, _ in answers}) == 1
    assert sum(new for _, new in answers) == 1


async def test_asking_for_a_signed_one_joins_it_and_shows_it_as_claimed_while_it_is_sealed(gate, ground):
    opened, _ = await gate.ask(BUILDER, asking(package(), GOOD))
    await ground.sql("UPDATE signing_requests SET state = 'signed'")
    again, new = await gate.ask(BUILDER, asking(package(), GOOD))
    assert (again.id, again.state, again.reason, new) == (opened.id, "claimed", "sealed", False)


@pytest.mark.parametrize("state", ["refused", "withdrawn"])
async def test_asking_after_an_end_opens_a_new_request(gate, ground, state):
    opened, _ = await gate.ask(BUILDER, asking(package(), GOOD))
    await ground.sql("UPDATE signing_requests SET state = $1", state)
    again, new = await gate.ask(BUILDER, asking(package(), GOOD))
    assert new
    assert again.id != opened.id


async def test_the_same_sha256_with_another_sha512_is_a_conflict(gate):
    await gate.ask(BUILDER, asking(package(), GOOD))
    lying = asking(package(), GOOD)
    lying = type(lying)(lying.release, Artifact(lying.artifact.size, lying.artifact.sha256, "00" * 64), lying.content)
    with pytest.raises(Conflict) as refused:
        await gate.ask(BUILDER, lying)
    assert refused.value.code == "request-differs"


NO_RIGHT = {
    "no certificate": (Client(None, "192.0.2.7"), "client-unknown"),
    "an unknown certificate": (Client("ef" * 32, "192.0.2.7"), "client-unknown"),
    "a requester that the tier does not name": (Client("cd" * 32, "192.0.2.7"), "requester-not-allowed"),
    "another network": (Client(CLIENT, "198.51.100.7"), "network-not-allowed"),
    "another network in IPv6": (Client(CLIENT, "2001:db8::7"), "network-not-allowed"),
}


@pytest.mark.parametrize("case", NO_RIGHT)
async def test_no_right_to_ask_leaves_nothing_for(gate, ground, case):
    client, code = NO_RIGHT[case]
    before = await ground.rows()
    with pytest.raises(Forbidden) as refused:
        await gate.ask(client, asking(package(), GOOD))
    assert refused.value.code == code
    assert await ground.rows() == before


@pytest.mark.parametrize("case", NO_RIGHT)
async def test_no_right_to_ask_is_no_right_to_see_either_for(gate, ground, case):
    opened, _ = await gate.ask(BUILDER, asking(package(), GOOD))
    client, code = NO_RIGHT[case]
    before = await ground.sql("SELECT * FROM signing_requests")
    for step in (gate.request, gate.withdraw, gate.retry, gate.signature):
        with pytest.raises(Forbidden) as refused:
            await step(client, opened.id)
        assert refused.value.code == code
    with pytest.raises(Forbidden):
        await gate.upload(client, opened.id, lines_of(GOOD))
    assert await ground.sql("SELECT * FROM signing_requests") == before


STATES = {
    "of other bytes": (package(), GOOD, hash_state(OTHER), "hash-state-differs"),
    "that is none": (package(), GOOD, HashState(base64_of(b"short")), "hash-state-malformed"),
    "for a tier with a single builder": (iso(), GOOD, hash_state(GOOD), "hash-state-not-allowed"),
}


@pytest.mark.parametrize("case", STATES)
async def test_nothing_is_kept_of_a_hash_state(gate, ground, case):
    release, content, state, code = STATES[case]
    before = await ground.rows()
    with pytest.raises(Rejected) as refused:
        await gate.ask(BUILDER, asking(release, content, state))
    assert refused.value.code == code
    assert await ground.rows() == before


async def test_a_hash_state_of_agreed_bytes_is_queued(gate):
    await gate.admit(vote(package(), GOOD, "alice", "bob"))
    opened, _ = await gate.ask(BUILDER, asking(package(), GOOD, hash_state(GOOD)))
    assert opened.state == "queued"


async def test_a_release_that_no_tier_governs_is_refused_and_nothing_kept(ground):
    gate = await ground.gate(make_policy(without=["isos"]))
    before = await ground.rows()
    with pytest.raises(Missing) as refused:
        await gate.ask(BUILDER, asking(iso(), GOOD))
    assert refused.value.code == "no-tier"
    assert await ground.rows() == before


async def test_a_request_for_other_bytes_than_were_signed_is_refused_and_not_kept(gate, ground):
    await gate.admit(vote(package(), GOOD, "alice", "bob"))
    release = bytes.fromhex(package().id)
    await ground.sql("INSERT INTO signed_digests VALUES ($1, $2)", release, hashlib.sha256(OTHER).digest())
    before = await ground.rows()
    with pytest.raises(Rejected) as refused:
        await gate.ask(BUILDER, asking(package(), GOOD))
    assert refused.value.code == "other-digest-signed"
    assert await ground.rows() == before


async def test_an_uploaded_request_waits_for_its_bytes_and_is_queued_by_them(gate):
    await gate.admit(vote(package(), GOOD, "alice", "bob"))
    opened, _ = await gate.ask(BUILDER, asking(package(), GOOD, Upload()))
    assert (opened.state, opened.reason) == ("waiting", "content-missing")
    uploaded = await gate.upload(BUILDER, opened.id, lines_of(GOOD[:4], GOOD[4:]))
    assert (uploaded.state, uploaded.content_present) == ("queued", True)


@pytest.mark.parametrize("sent", [OTHER, b"x" * len(GOOD), GOOD + b"!", GOOD[:-1], b""])
async def test_wrong_bytes_are_refused_and_the_request_still_waits_for_the_right_ones(gate, sent):
    await gate.admit(vote(package(), GOOD, "alice", "bob"))
    opened, _ = await gate.ask(BUILDER, asking(package(), GOOD, Upload()))
    with pytest.raises(Rejected):
        await gate.upload(BUILDER, opened.id, lines_of(sent))
    shown = await gate.request(BUILDER, opened.id)
    assert (shown.state, shown.content_present) == ("waiting", False)
    assert (await gate.upload(BUILDER, opened.id, lines_of(GOOD))).state == "queued"


async def test_bytes_that_are_there_already_need_no_second_upload(gate):
    await gate.admit(vote(package(), GOOD, "alice", "bob"))
    opened, _ = await gate.ask(BUILDER, asking(package(), GOOD, Upload()))
    await gate.upload(BUILDER, opened.id, lines_of(GOOD))
    await gate.withdraw(BUILDER, opened.id)
    again, new = await gate.ask(BUILDER, asking(package(), GOOD, Upload()))
    assert (again.state, new) == ("queued", True)


async def test_bytes_for_a_pulled_request_are_refused(gate):
    opened, _ = await gate.ask(BUILDER, asking(package(), GOOD))
    with pytest.raises(Rejected) as refused:
        await gate.upload(BUILDER, opened.id, lines_of(GOOD))
    assert refused.value.code == "upload-not-asked"


STEPS = {
    ("withdraw", "waiting"): "withdrawn",
    ("withdraw", "queued"): "withdrawn",
    ("withdraw", "claimed"): None,
    ("withdraw", "signed"): None,
    ("withdraw", "refused"): None,
    ("withdraw", "aside"): None,
    ("withdraw", "withdrawn"): None,
    ("retry", "waiting"): None,
    ("retry", "queued"): None,
    ("retry", "claimed"): None,
    ("retry", "signed"): None,
    ("retry", "refused"): None,
    ("retry", "aside"): "queued",
    ("retry", "withdrawn"): None,
}


@pytest.mark.parametrize(("step", "state"), STEPS)
async def test_a_step_is_taken_only_where_the_table_has_it(gate, ground, step, state):
    opened, _ = await gate.ask(BUILDER, asking(package(), GOOD))
    await ground.sql(
        "UPDATE signing_requests SET state = $1, tries = 5, lease_until = CASE WHEN $1 = 'claimed' THEN now() END",
        state,
    )
    if STEPS[step, state] is None:
        with pytest.raises(Conflict):
            await getattr(gate, step)(BUILDER, opened.id)
        [row] = await ground.sql("SELECT state FROM signing_requests")
        assert row["state"] == state
    else:
        view = await getattr(gate, step)(BUILDER, opened.id)
        assert (view.state, view.tries) == (STEPS[step, state], 0 if step == "retry" else 5)


async def test_waiting_ends_as_soon_as_the_request_waits_for_something_else(gate):
    opened, _ = await gate.ask(BUILDER, asking(package(), GOOD))
    waiting = asyncio.create_task(gate.wait(BUILDER, opened.id, 20))
    await asyncio.sleep(0.1)
    await gate.admit(vote(package(), GOOD, "alice"))
    shown = await asyncio.wait_for(waiting, 5)
    assert (opened.reason, shown.state, shown.reason) == ("no-claims", "waiting", "not-reached")


async def test_that_the_signer_takes_it_next_is_no_news_to_who_waits(gate):
    opened, _ = await gate.ask(BUILDER, asking(package(), GOOD))
    waiting = asyncio.create_task(gate.wait(BUILDER, opened.id, 20))
    await asyncio.sleep(0.1)
    await gate.admit(vote(package(), GOOD, "alice", "bob"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await gate.withdraw(BUILDER, opened.id)
    assert (await asyncio.wait_for(waiting, 5)).state == "withdrawn"


async def test_waiting_lasts_as_long_as_was_asked_when_nothing_moves(gate):
    opened, _ = await gate.ask(BUILDER, asking(package(), GOOD))
    clock = asyncio.get_running_loop().time
    begun = clock()
    assert (await gate.wait(BUILDER, opened.id, 6)).state == "waiting"
    assert 5.9 < clock() - begun < 8


async def test_a_list_shows_what_this_requester_asked_for(gate):
    opened = {(await gate.ask(BUILDER, asking(package(f"n{number}"), GOOD)))[0].id for number in range(5)}
    seen, cursor = [], None
    while True:
        page = await gate.requests(BUILDER, state="waiting", cursor=cursor, limit=2)
        seen += [request.id for request in page.requests]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == sorted(opened)
    assert (await gate.requests(Client("cd" * 32, "192.0.2.7"), state=None, cursor=None, limit=10)).requests == ()
    assert (await gate.requests(BUILDER, state="signed", cursor=None, limit=10)).requests == ()


async def test_there_is_no_signature_before_there_is_one(gate):
    opened, _ = await gate.ask(BUILDER, asking(package(), GOOD))
    with pytest.raises(Missing) as refused:
        await gate.signature(BUILDER, opened.id)
    assert refused.value.code == "not-signed"


async def test_a_list_and_a_page_number_that_cannot_be_are_refused(gate):
    for wrong in ({"limit": 0, "state": None}, {"limit": 1001, "state": None}, {"limit": 1, "state": "signd"}):
        with pytest.raises(Rejected):
            await gate.requests(BUILDER, cursor=None, **wrong)
