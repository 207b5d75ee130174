"""P5: a release has one digest that was signed, and per key one signature that ever leaves."""

import dataclasses
import hashlib
import uuid

import msgspec
import pytest

from attestor.core.algorithm import Algorithm
from attestor.core.entrybytes import outgoing, read_entry, seal_entry
from attestor.store.queue import PostgresQueue
from tests.attacks.conftest import GOOD
from tests.edges.store.emptying import tamper
from tests.logkeys import seal
from tests.service.makers import BUILDER, asking, package, payload_digest, vote, withdrawal
from tests.service.signers import sign_next, verified

PLANT = """INSERT INTO signatures (release_id, key_fingerprint, request_id, sha256, signature)
    SELECT release_id, $1, id, sha256, $2 FROM signing_requests"""
PLANT_DIGEST = "INSERT INTO signed_digests SELECT release_id, sha256 FROM signing_requests"


async def in_the_end(scene):
    """Try until the request is due no more."""
    while await scene.sign():
        await scene.ground.sql("UPDATE signing_requests SET not_before = now()")


@pytest.mark.parametrize("planted", [b"", b"junk", b"\x88" * 119])
async def test_a_signature_planted_in_the_database_is_not_adopted_by_the_signer(scene, planted):
    await scene.queued()
    await scene.ground.sql(PLANT_DIGEST)
    await scene.ground.sql(PLANT, scene.signing.signers["packages"].fingerprint, planted)
    await in_the_end(scene)
    assert await scene.standing() == ("aside", "signature-not-logged")


async def test_a_signature_of_another_release_planted_for_this_one_is_not_adopted(scene):
    other = await scene.queued(package("other"), b"other bytes")
    await scene.sign()
    await scene.caught_up()
    _, real = await scene.gate.signature(BUILDER, other)
    mine = await scene.queued()
    await scene.ground.sql(f"{PLANT_DIGEST} ON CONFLICT DO NOTHING")
    await scene.ground.sql(f"{PLANT} WHERE state = 'queued'", scene.signing.signers["packages"].fingerprint, real)
    await in_the_end(scene)
    assert await scene.standing(mine) == ("aside", "signature-not-logged")


async def test_a_signature_planted_while_the_device_signs_is_not_marked_as_ours(scene):
    await scene.queued()
    fingerprint = scene.signing.signers["packages"].fingerprint

    class Planting(PostgresQueue):
        async def signed(self, *made):
            await scene.ground.sql(PLANT_DIGEST)
            await scene.ground.sql(PLANT, fingerprint, b"junk")
            return await super().signed(*made)

    queue = scene.signing.queue
    planting = Planting(queue._pool, queue._listener)
    calls = scene.running.operations(Algorithm.ED25519)
    await sign_next(dataclasses.replace(scene.signing, queue=planting))
    assert scene.running.operations(Algorithm.ED25519) == calls + 1
    assert await scene.standing() == ("claimed", "claimed")
    await scene.ground.sql("UPDATE signing_requests SET lease_until = now() - interval '1 second'")
    await in_the_end(scene)
    assert await scene.standing() == ("aside", "signature-not-logged")
    assert scene.running.operations(Algorithm.ED25519) == calls + 1


async def test_a_signed_request_reset_in_the_database_gives_the_same_bytes_without_a_call(scene, device):
    request = await scene.queued()
    await scene.sign()
    await scene.caught_up()
    first = await scene.gate.signature(BUILDER, request)
    calls = scene.running.operations(Algorithm.ED25519)
    await scene.ground.sql("UPDATE signing_requests SET state = 'queued'")
    await scene.sign()
    assert await scene.gate.signature(BUILDER, request) == first
    assert verified(device[1], "packages", first[1], GOOD)
    assert scene.running.operations(Algorithm.ED25519) == calls


async def test_other_bytes_of_a_signed_release_are_refused_even_when_all_operators_agree_on_them(scene):
    await scene.queued()
    await scene.sign()
    for name in ("alice", "bob"):
        await scene.gate.admit(withdrawal(package(), payload_digest(package(), GOOD), name))
        await scene.gate.admit(vote(package(), b"other", name))
    with pytest.raises(Exception, match="other-digest-signed"):
        await scene.gate.ask(BUILDER, asking(package(), b"other"))
    [row] = await scene.ground.sql("SELECT sha256 FROM signed_digests")
    assert row["sha256"] == hashlib.sha256(GOOD).digest()
    assert await scene.signatures() == 1


LOST = {
    "the signature": ["DELETE FROM signatures"],
    "the signed digest": ["DELETE FROM signed_digests"],
    "both": ["DELETE FROM signatures", "DELETE FROM signed_digests"],
    "every byte of the signature but its row": ["UPDATE signatures SET signature = ''"],
    "the signature's own key": ["UPDATE signatures SET key_fingerprint = 'F'"],
}


@pytest.mark.parametrize("statements", LOST.values(), ids=LOST)
async def test_a_signed_release_halts_the_signer_when_the_database_lost(scene, statements):
    await scene.queued()
    await scene.sign()
    await scene.caught_up()
    for statement in statements:
        await tamper(scene.ground.owner, statement)
    await scene.ground.sql("UPDATE signing_requests SET state = 'queued'")
    await scene.halts("signature-lost")


@pytest.mark.parametrize("statements", [LOST["the signature"], LOST["both"]], ids=["the signature", "both"])
async def test_the_same_when_the_request_is_gone_too_and_is_made_anew_with(scene, statements):
    await scene.queued()
    await scene.sign()
    await scene.caught_up()
    await tamper(scene.ground.owner, "DELETE FROM signing_requests")
    for statement in statements:
        await tamper(scene.ground.owner, statement)
    again, new = await scene.gate.ask(BUILDER, asking(package(), GOOD))
    assert (new, again.state) == (True, "queued")
    await scene.halts("signature-lost")


async def test_a_request_made_anew_for_a_signed_release_is_given_the_signature_that_there_is(scene, device):
    await scene.queued()
    await scene.sign()
    await scene.caught_up()
    [kept] = await scene.ground.sql("SELECT signature FROM signatures")
    await tamper(scene.ground.owner, "DELETE FROM signing_requests")
    again, _ = await scene.gate.ask(BUILDER, asking(package(), GOOD))
    async with scene.untouched():
        await scene.sign()
    assert (await scene.gate.signature(BUILDER, again.id))[1] == kept["signature"]
    assert verified(device[1], "packages", kept["signature"], GOOD)


async def test_two_digests_of_a_release_signed_by_signers_that_know_nothing_of_each_other_halt_both(scene):
    """The log names both; nothing that either could do makes one of them unsigned."""
    request = await scene.queued()
    await scene.sign()
    await scene.caught_up()
    [row] = await scene.ground.sql("SELECT entry FROM log_entries WHERE kind = 'signature'")
    entry = msgspec.structs.replace(read_entry(row["entry"]), sha256="0" * 64, request=str(uuid.uuid4()))
    told = outgoing(seal_entry(entry, seal()))
    await scene.ground.sql(
        "INSERT INTO log_outbox (subject, kind, number, entry) VALUES ($1, $2, $3, $4)",
        told.subject,
        told.kind,
        told.number,
        told.entry,
    )
    await scene.follower_halts("release-signed-twice")
    assert (await scene.gate.request(BUILDER, request)).state == "signed"
