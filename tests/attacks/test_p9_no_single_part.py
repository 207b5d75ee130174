"""P9: no single part can forge; here the API's process is the attacker's, with its database role and its code."""

import uuid

import asyncpg
import pytest

from tests.attacks.conftest import GOOD
from tests.service.makers import BUILDER, ORIGIN, asking, package, payload_digest, vote, withdrawal
from tests.service.signers import verified

COPY = """INSERT INTO signing_requests (id, release_id, requester, tier, size, sha256, sha512, content, content_present,
    state, reason, sentence, {column}) SELECT gen_random_uuid(), release_id, requester, tier, size, substr(sha512, 1, 32), sha512,
    content, true, 'queued', 'queued', '', {value} FROM signing_requests"""


@pytest.mark.parametrize(
    ("column", "value"),
    [("signing_time", "'2001-01-01'"), ("fence", "9223372036854775807"), ("tries", "2147483647")],
    ids=["to backdate its signature", "to make the next claim overflow", "to make the count of tries overflow"],
)
async def test_the_api_opens_no_request_with_a_column_of_the_signer(scene, column, value):
    await scene.queued()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await scene.as_api(COPY.format(column=column, value=value))


async def test_the_api_cannot_make_the_count_of_tries_overflow_and_so_stop_the_queue(scene):
    await scene.queued()
    with pytest.raises(asyncpg.CheckViolationError):
        await scene.as_api("UPDATE signing_requests SET tries = 2147483647")


async def test_the_api_cannot_store_a_time_that_no_clock_shows(scene):
    await scene.queued()
    with pytest.raises(asyncpg.CheckViolationError):
        await scene.as_api("INSERT INTO envelopes VALUES ('carol', $1, 'x', 'infinity')", b"\1" * 32)


@pytest.mark.parametrize("content", ["{}", "x", '{"type":"pull","root":1,"path":""}'])
async def test_one_unreadable_request_at_the_head_of_the_queue_stops_no_other(scene, content):
    bad = await scene.queued(package("bad"))
    await scene.ground.sql("UPDATE signing_requests SET content = $1", content)
    good = await scene.queued(package("good"))
    await scene.sign()
    assert await scene.standing(bad) == ("aside", "row-unreadable")
    assert await scene.standing(good) == ("signed", "signed")
    events = await scene.ground.sql("SELECT what, detail FROM events WHERE request_id = $1", uuid.UUID(bad))
    assert [event["what"] for event in events] == ["queued", "aside"]


async def test_a_request_for_a_release_whose_names_are_forged_stops_no_other(scene):
    forged = b"\7" * 32
    await scene.as_api("INSERT INTO releases VALUES ($1, 'package', 'pkg:x', 'f', now())", forged)
    await scene.queued(package("good"))
    await scene.as_api(
        """INSERT INTO signing_requests (id, release_id, requester, tier, size, sha256, sha512, content, content_present,
        state, reason, sentence, created_at) SELECT gen_random_uuid(), $1, requester, tier, size, sha256, sha512, content,
        true, 'queued', 'queued', '', '2001-01-01' FROM signing_requests""",
        forged,
    )
    await scene.sign()
    states = await scene.ground.sql("SELECT state FROM signing_requests ORDER BY created_at")
    assert [row["state"] for row in states] == ["aside", "signed"]


async def test_a_request_that_the_api_invented_gets_no_signature_without_agreement(scene):
    scene.place(package())
    await scene.gate.admit(vote(package(), GOOD, "alice"))
    await scene.gate.ask(BUILDER, asking(package(), GOOD))
    await scene.as_api("UPDATE signing_requests SET state = 'queued'")
    await scene.as_api("UPDATE decisions SET state = 'reached', view = replace(view, 'pending', 'reached')")
    await scene.sign()
    assert await scene.standing() == ("waiting", "not-reached")
    assert await scene.signatures() == 0


async def test_a_withdrawal_of_another_release_hung_on_a_dissent_by_the_api_ends_no_dispute(scene):
    await scene.queued()
    await scene.gate.admit(vote(package(), b"other", "carol"))
    taken = payload_digest(package(), b"other")
    elsewhere = withdrawal(package("elsewhere"), taken, "carol")
    await scene.as_api(
        "INSERT INTO withdrawals VALUES ('carol', $1, $2, 'r', $3, now())",
        taken,
        bytes.fromhex(package().id),
        elsewhere,
    )
    await scene.as_api("UPDATE signing_requests SET state = 'queued'")
    await scene.sign()
    assert await scene.standing() == ("waiting", "disputed")


@pytest.mark.parametrize(("by", "origin"), [("alice", ORIGIN), ("carol", "other.example")])
async def test_a_withdrawal_by_another_operator_or_for_another_origin_ends_no_dispute(scene, by, origin):
    await scene.queued()
    await scene.gate.admit(vote(package(), b"other", "carol"))
    taken = payload_digest(package(), b"other")
    await scene.as_api(
        "INSERT INTO withdrawals VALUES ('carol', $1, $2, 'r', $3, now())",
        taken,
        bytes.fromhex(package().id),
        withdrawal(package(), taken, by, origin=origin),
    )
    await scene.as_api("UPDATE signing_requests SET state = 'queued'")
    await scene.sign()
    assert await scene.standing() == ("waiting", "disputed")
    assert await scene.signatures() == 0


async def test_a_release_renamed_in_the_database_is_not_signed_under_its_new_name(scene, device):
    """The superuser gives the agreed release another id: the names no longer make the id, and nothing is decided."""
    await scene.queued()
    await scene.ground.sql(
        "UPDATE releases SET purl = replace(purl, '@1-1', '@2-1'), file_name = replace(file_name, '-1-1-', '-2-1-')"
    )
    await scene.sign()
    assert await scene.standing() == ("aside", "row-unreadable")
    assert await scene.signatures() == 0


async def test_votes_moved_to_another_release_do_not_count_there(scene):
    await scene.gate.admit(vote(package("old"), GOOD, "alice", "bob"))
    scene.place(package())
    await scene.gate.ask(BUILDER, asking(package(), GOOD))
    await scene.ground.sql("UPDATE claims SET release_id = $1", bytes.fromhex(package().id))
    await scene.ground.sql("UPDATE signing_requests SET state = 'queued'")
    await scene.sign()
    assert await scene.standing() == ("waiting", "no-claims")
    assert await scene.signatures() == 0


async def test_a_request_is_not_served_by_the_key_of_the_tier_that_its_row_names(scene, device):
    request = await scene.queued()
    await scene.ground.sql("UPDATE signing_requests SET tier = 'isos'")
    await scene.sign()
    await scene.caught_up()
    _, signature = await scene.gate.signature(BUILDER, request)
    assert verified(device[1], "packages", signature, GOOD)
