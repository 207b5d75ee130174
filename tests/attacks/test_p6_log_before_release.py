"""P6: what is signed stands in the log before anybody can read it, and a signature says which entry that is."""

import asyncio
import dataclasses
import hashlib
import json

import asyncpg
import msgspec
import pytest

from attestor.core.algorithm import Algorithm
from attestor.core.authorisation import named_release
from attestor.core.entries import DecisionEntry, NamedArtifact, NamedPolicy, PolicyEntry, SignatureEntry
from attestor.core.entrybytes import encode_entry, outgoing, read_entry, seal_entry
from attestor.core.errors import Missing
from attestor.core.tlog.checkpoint import open_checkpoint
from attestor.openpgp.signature import Notation
from attestor.store.listen import Listener
from attestor.store.log import PostgresLog, PostgresLogBook
from attestor.store.queue import PostgresQueue
from tests.attacks.conftest import GOOD
from tests.logkeys import seal
from tests.service.makers import BUILDER, ORIGIN, make_policy, package
from tests.service.signers import sign_next, verified

TELL = "INSERT INTO log_outbox (subject, kind, number, entry) VALUES ($1, $2, $3, $4)"
SEEN_AT_ONCE = """SELECT
    ARRAY(SELECT encode(sha256(signature), 'hex') FROM signatures) AS readable,
    ARRAY(SELECT ROW (idx, convert_from(entry, 'UTF8')) FROM log_entries WHERE kind = 'signature') AS entries,
    (SELECT published FROM log_state) AS published"""


async def entries(scene, kind):
    """(index, entry) of what the log includes of this kind."""
    rows = await scene.ground.sql("SELECT idx, entry FROM log_entries WHERE kind = $1 ORDER BY idx", kind)
    return [(row["idx"], read_entry(row["entry"])) for row in rows]


async def tell(scene, raw):
    told = outgoing(raw)
    await scene.ground.sql(TELL, told.subject, told.kind, told.number, told.entry)


async def test_a_signature_has_its_two_entries_and_names_the_first(scene, device):
    request = await scene.queued()
    await scene.sign()
    await scene.caught_up()
    _, signature = await scene.gate.signature(BUILDER, request)
    [(decided, decision)] = await entries(scene, "decision")
    [(signed, entry)] = await entries(scene, "signature")
    facts = verified(device[1], "packages", signature, GOOD)
    assert decided < signed
    assert (entry.request, entry.decision, entry.signature) == (request, decided, hashlib.sha256(signature).hexdigest())
    assert (decision.request, decision.artifact.sha256) == (request, hashlib.sha256(GOOD).hexdigest())
    assert facts.created.strftime("%Y-%m-%dT%H:%M:%SZ") == decision.created
    assert facts.notations == (Notation(f"log-entry@{ORIGIN}", f"{ORIGIN}/log {decided}"),)


async def test_whoever_reads_while_it_is_signed_never_reads_a_signature_that_no_checkpoint_includes(scene):
    for number in range(4):
        await scene.queued(package(f"p{number}"))
    reading = await asyncpg.connect(scene.ground.dsn_of("attestor_api"))
    seen = []

    async def read():
        while True:
            seen.append(await reading.fetchrow(SEEN_AT_ONCE))
            await asyncio.sleep(0)

    task = asyncio.create_task(read())
    while await scene.sign():
        pass
    await scene.ground.settled()
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await reading.close()
    for row in seen:
        named = {json.loads(entry)["signature"] for index, entry in row["entries"] if index < row["published"]}
        assert set(row["readable"]) <= named
    assert {len(row["readable"]) for row in seen} >= {0, 4}


async def test_a_signature_stays_sealed_until_the_checkpoint_that_includes_it_is_published(scene):
    """A quorum of witnesses may take its time: the sequencer signs, and publishes nothing by itself."""
    request = await scene.queued()
    await scene.aware()
    await scene.ground.log(publish=False)
    book = PostgresLogBook(await scene.ground.pool("attestor_sequencer"), Listener())
    signing = asyncio.create_task(scene.sign())
    while not signing.done():
        # Asked first, so that a signature that comes in between is beyond it.
        size = (await book.newest())[0].frontier.size
        if not await entries(scene, "signature"):
            await book.publish(size)
        await asyncio.sleep(0.005)
    await signing
    await scene.ground.settled()
    state, _ = await book.newest()
    assert await scene.standing() == ("signed", "signed")
    assert (state.published, await scene.signatures()) == (state.frontier.size - 1, 1)
    shown = await scene.gate.request(BUILDER, request)
    assert (shown.state, shown.reason) == ("claimed", "sealed")
    with pytest.raises(Missing, match="not-signed"):
        await scene.gate.signature(BUILDER, request)
    assert (await scene.as_api("SELECT FROM signatures")) == "SELECT 0"
    await book.publish(state.frontier.size)
    assert await scene.gate.signature(BUILDER, request)
    assert (await scene.gate.request(BUILDER, request)).state == "signed"


async def test_without_a_sequencer_nothing_is_asked_of_the_device(scene, impatient):
    await scene.queued()
    await scene.aware()
    await scene.ground.stop_log()
    calls = scene.running.operations(Algorithm.ED25519)
    await scene.sign()
    assert await scene.standing() == ("queued", "log-behind")
    assert (scene.running.operations(Algorithm.ED25519), await scene.signatures()) == (calls, 0)


async def test_a_taken_over_api_tells_the_log_nothing_that_is_a_signers_to_say(scene):
    request = await scene.queued()
    await scene.sign()
    [(_, decision)] = await entries(scene, "decision")
    for entry in (decision, _claimed_signature(request), PolicyEntry(serial=99, digest="0" * 64, anchor="0" * 32)):
        told = outgoing(encode_entry(entry))
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await scene.as_api(TELL, told.subject, told.kind, 1, told.entry)


def _claimed_signature(request, content=b"other"):
    return SignatureEntry(
        request=request,
        release=package().id,
        sha256=hashlib.sha256(content).hexdigest(),
        decision=0,
        signature="0" * 64,
        key="A" * 40,
        summary="0" * 64,
        anchor="0" * 32,
    )


def _claimed_decision(request, content=b"other"):
    decided = _claimed_signature(request, content)
    return DecisionEntry(
        verdict="sign",
        request=request,
        number=0,
        release=named_release(package()),
        artifact=NamedArtifact(size=len(content), sha256=decided.sha256, sha512="0" * 128),
        tier="packages",
        policy=NamedPolicy(serial=1, digest="0" * 64),
        reason="reached",
        signing_key="packages",
        key="A" * 40,
        created="2001-01-01T00:00:00Z",
    )


OTHER_REQUEST = "00000000-0000-4000-8000-000000000001"
FORGED = {
    "a signature of other bytes": _claimed_signature(OTHER_REQUEST),
    "a decision for other bytes, made long ago": _claimed_decision(OTHER_REQUEST),
    "a policy with a higher serial": PolicyEntry(serial=99, digest="0" * 64, anchor="0" * 32),
    "another policy of the same serial": PolicyEntry(serial=1, digest="0" * 64, anchor="0" * 32),
}


SEALED_BY = [
    *((forged, "nobody") for forged in FORGED),
    ("a signature of other bytes", "a key that the policy does not name"),
    ("a decision for other bytes, made long ago", "the signer's key over other words"),
]


@pytest.mark.parametrize(("forged", "seals"), SEALED_BY, ids=" sealed by ".join)
async def test_what_only_a_signer_may_say_says_nothing_in_the_log_when_it_is(scene, device, forged, seals):
    request = await scene.queued()
    await tell(scene, _sealed(FORGED[forged], seals))
    await scene.aware()
    begun = await scene.ground.owner.fetchval("SELECT date_trunc('second', now())")
    await scene.sign()
    await scene.caught_up()
    assert await scene.signing.past._memory.forged() == 1
    _, signature = await scene.gate.signature(BUILDER, request)
    assert verified(device[1], "packages", signature, GOOD).created >= begun


def _sealed(entry, by):
    if by == "nobody":
        return encode_entry(entry)
    if by == "a key that the policy does not name":
        return seal_entry(entry, seal("intruder"))
    taken = read_entry(seal_entry(_claimed_signature(OTHER_REQUEST, b"words"), seal())).seal
    return encode_entry(msgspec.structs.replace(entry, seal=taken))


async def test_a_decision_planted_in_the_place_of_the_signers_own_backdates_nothing(scene, impatient):
    """Who has the database in hand can stop the request, and that is all."""
    request = await scene.queued()
    await tell(scene, encode_entry(_claimed_decision(request, GOOD)))
    await scene.aware()
    async with scene.untouched():
        await scene.sign()
    assert await scene.standing() == ("queued", "log-behind")


async def test_a_decision_whose_time_is_rewritten_on_its_way_into_the_log_is_not_signed_under(scene, impatient):
    await scene.queued()
    await scene.aware()
    calls = scene.running.operations(Algorithm.ED25519)
    await scene.ground.sql(
        """CREATE FUNCTION backdate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            NEW.entry := convert_to(regexp_replace(convert_from(NEW.entry, 'UTF8'), '"created":"....', '"created":"2001'), 'UTF8');
            RETURN NEW; END $$"""
    )
    await scene.ground.sql(
        """CREATE TRIGGER backdate BEFORE INSERT ON log_outbox FOR EACH ROW WHEN (NEW.kind = 'decision')
            EXECUTE FUNCTION backdate()"""
    )
    try:
        for _ in range(2):
            await scene.sign()
            await scene.ground.sql("UPDATE signing_requests SET not_before = now()")
    finally:
        await scene.ground.sql("DROP FUNCTION backdate CASCADE")
    await scene.caught_up()
    assert await scene.standing() == ("queued", "log-behind")
    assert scene.running.operations(Algorithm.ED25519) == calls
    assert await scene.signatures() == 0
    assert (await entries(scene, "decision"))[0][1].created.startswith("2001-")
    assert await scene.signing.past._memory.forged() == 1


async def test_the_signature_entry_lost_on_its_way_leaves_the_signature_unread(scene):
    """The signature is stored, and somebody takes its entry out of the outbox: nobody ever reads the signature."""
    request = await scene.queued()
    await scene.aware()

    class Losing(PostgresQueue):
        async def signed(self, *made):
            await scene.ground.stop_log()
            await super().signed(*made)
            await scene.ground.sql("DELETE FROM log_outbox WHERE kind = 'signature'")

    queue = Losing(scene.signing.queue._pool, scene.signing.queue._listener)
    await sign_next(dataclasses.replace(scene.signing, queue=queue))
    await scene.ground.log()
    await scene.caught_up()
    assert await scene.signatures() == 1
    with pytest.raises(Missing, match="not-signed"):
        await scene.gate.signature(BUILDER, request)


async def test_a_signature_put_in_the_place_of_the_logged_one_is_not_shown(scene):
    request = await scene.queued()
    await scene.sign()
    await scene.caught_up()
    assert await scene.gate.signature(BUILDER, request)
    await scene.ground.sql("UPDATE signatures SET signature = 'another'")
    with pytest.raises(Missing, match="not-signed"):
        await scene.gate.signature(BUILDER, request)


async def test_the_log_that_anybody_reads_has_both_entries_under_its_key(scene):
    await scene.queued()
    await scene.sign()
    await scene.caught_up()
    log = PostgresLog(await scene.ground.pool())
    checkpoint = open_checkpoint(await log.checkpoint(), make_policy().log.key)
    read = [read_entry(raw) for raw in await log.entries(0, checkpoint.size)]
    assert [type(entry).__name__ for entry in read] == ["Received", "PolicyEntry", "DecisionEntry", "SignatureEntry"]
