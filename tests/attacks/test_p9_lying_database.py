"""P9: the database is the attacker's, superuser and triggers and all, while log and memory name what it must show."""

import dataclasses
import hashlib

import pytest

from attestor.core.entrybytes import outgoing_of, received_entries
from attestor.core.envelope import Signature, encode_envelope, pae
from attestor.core.statement import parse_attestation
from attestor.store.queue import PostgresQueue
from tests.attacks.conftest import GOOD
from tests.edges.store.emptying import tamper
from tests.service.makers import BUILDER, asking, make_policy, package, payload_digest, secret_key, vote, withdrawal
from tests.service.rollback import LOG, ORDINARY, saved
from tests.service.signers import sign_next, under

OTHER = b"other bytes"
KEEP_ENVELOPE = "INSERT INTO envelopes VALUES ($1, $2, $3, now())"
KEEP_CLAIM = """INSERT INTO claims (release_id, operator, payload_digest, form, keys, outcome, sha256, sha512, size, received_at)
    SELECT release_id, $1, $2, form, keys, outcome, sha256, sha512, size, now() FROM claims LIMIT 1"""
FORCE = "UPDATE signing_requests SET state = 'queued', not_before = now()"

CHANGED = {
    "SHA-256": ("claim-changed", "UPDATE claims SET sha256 = sha256('other') WHERE operator = 'bob'"),
    "SHA-512": ("claim-changed", "UPDATE claims SET sha512 = sha512('other') WHERE operator = 'bob'"),
    "size": ("claim-changed", "UPDATE claims SET size = 5 WHERE operator = 'bob'"),
    "size, which is not stated any more": ("claim-changed", "UPDATE claims SET size = NULL WHERE operator = 'bob'"),
    "outcome": ("claim-changed", "UPDATE claims SET outcome = 'failed', sha256 = NULL WHERE operator = 'bob'"),
    "form": ("claim-changed", "UPDATE claims SET form = 'link' WHERE operator = 'bob'"),
    "operator": ("vote-withheld", "UPDATE claims SET operator = 'carol' WHERE operator = 'bob'"),
    "payload": ("vote-withheld", "UPDATE claims SET payload_digest = sha256('x') WHERE operator = 'bob'"),
    "release": ("vote-withheld", "UPDATE claims SET release_id = sha256('x') WHERE operator = 'bob'"),
}


@pytest.mark.parametrize(("code", "statement"), CHANGED.values(), ids=CHANGED)
async def test_a_stored_claim_halts_the_signer_when_somebody_changed_its(scene, code, statement):
    await scene.queued()
    await scene.aware()
    await tamper(scene.ground.owner, statement)
    await scene.halts(code)


def _rewrapped(raw, *names):
    """The same payload in another envelope, signed by these."""
    payload = parse_attestation(raw).payload
    kind = parse_attestation(raw).payload_type
    signatures = [Signature("", secret_key(name).sign(pae(kind, payload))) for name in names]
    return encode_envelope(kind, payload, signatures)


ENVELOPES = {
    "nothing that can be read": lambda _: b"x",
    "one bit more": lambda raw: raw + b"\n",
    "another operator's key over the same payload": lambda raw: _rewrapped(raw, "carol"),
    "its own signature twice": lambda raw: _rewrapped(raw, "bob", "bob"),
    "a second operator's signature beside its own": lambda raw: _rewrapped(raw, "bob", "carol"),
    "a payload for other bytes": lambda _: vote(package(), OTHER, "bob"),
    "a payload for the same bytes": lambda _: vote(package(), GOOD, "bob", log=b"another log"),
}


@pytest.mark.parametrize("changed", ENVELOPES.values(), ids=ENVELOPES)
async def test_an_envelope_halts_the_signer_when_in_its_place_stands(scene, changed):
    scene.place(package())
    await scene.gate.admit(vote(package(), GOOD, "alice"))
    await scene.gate.admit(vote(package(), GOOD, "bob", log=b"bob's"))
    await scene.gate.ask(BUILDER, asking(package(), GOOD))
    await scene.aware()
    [row] = await scene.ground.sql("SELECT body FROM envelopes WHERE operator = 'bob'")
    await scene.ground.sql("UPDATE envelopes SET body = $1 WHERE operator = 'bob'", changed(row["body"]))
    await scene.halts("vote-withheld")


async def asked_for_by_alice_alone(scene):
    scene.place(package())
    await scene.gate.admit(vote(package(), GOOD, "alice"))
    await scene.gate.ask(BUILDER, asking(package(), GOOD))
    await scene.aware()


PLANTED = {
    # (operator that the row names, payload digest that the row names, envelope)
    "as its own": ("bob", payload_digest(package(), GOOD, b"2"), vote(package(), GOOD, "bob", log=b"2")),
    "as its own, of the payload that another operator stated": (
        "bob",
        payload_digest(package(), GOOD),
        vote(package(), GOOD, "bob"),
    ),
    "under another operator's name": (
        "alice",
        payload_digest(package(), GOOD, b"2"),
        vote(package(), GOOD, "bob", log=b"2"),
    ),
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
async def test_a_valid_vote_that_never_came_in_through_the_api_counts_for_nothing(scene, impatient, planted):
    operator, digest, envelope = planted
    await asked_for_by_alice_alone(scene)
    await scene.as_api(KEEP_ENVELOPE, operator, digest, envelope)
    await scene.as_api(KEEP_CLAIM, operator, digest)
    await scene.as_api(FORCE)
    async with scene.untouched():
        await scene.sign()
    assert await scene.standing() == ("waiting", "votes-not-logged")


@pytest.mark.parametrize("place", [b"\0" * 32, b"\xff" * 32], ids=["before it", "after it"])
async def test_a_vote_hung_beside_a_logged_one_of_the_same_payload_counts_for_nothing(scene, impatient, place):
    """Bob's envelope in a row of Alice's, with the payload that Alice stated: of the two the logged one is read, or none."""
    await asked_for_by_alice_alone(scene)
    await scene.as_api(KEEP_ENVELOPE, "alice", place, vote(package(), GOOD, "bob"))
    await scene.as_api(KEEP_CLAIM, "alice", place)
    await scene.as_api(FORCE)
    async with scene.untouched():
        if place < payload_digest(package(), GOOD):
            await scene.sign()
            assert await scene.standing() == ("waiting", "not-reached")
        else:
            await scene.halts("vote-withheld")


async def test_the_second_signature_of_an_envelope_counts_only_where_the_log_names_its_operator(scene, impatient):
    """The API keeps an envelope of two operators, and tells the log of one."""
    scene.place(package())
    both = vote(package(), GOOD, "alice", "bob")
    await scene.gate.ask(BUILDER, asking(package(), GOOD))
    await scene.gate.admit(vote(package("other"), GOOD, "alice"))
    digest = payload_digest(package(), GOOD)
    told = outgoing_of(received_entries([("alice", digest, hashlib.sha256(both).digest(), package().id)])[0])
    await scene.as_api(KEEP_ENVELOPE, "alice", digest, both)
    await scene.as_api(
        KEEP_CLAIM.replace("SELECT release_id", "SELECT $3"), "alice", digest, bytes.fromhex(package().id)
    )
    await scene.as_api(
        "INSERT INTO log_outbox (subject, kind, number, entry) VALUES ($1, $2, $3, $4)",
        told.subject,
        told.kind,
        told.number,
        told.entry,
    )
    await scene.aware()
    await scene.as_api(FORCE)
    async with scene.untouched():
        await scene.sign()
    assert await scene.standing() == ("waiting", "votes-not-logged")


async def test_a_hidden_dissent_halts_the_signer(scene):
    await scene.queued()
    await scene.gate.admit(vote(package(), OTHER, "carol"))
    await scene.aware()
    for table in ("claims", "envelopes"):
        await scene.ground.sql(f"DELETE FROM {table} WHERE operator = 'carol'")  # noqa: S608 - constant names
    await scene.as_api(FORCE)
    await scene.halts("vote-withheld")


async def test_a_hidden_withdrawal_halts_the_signer(scene):
    await scene.queued()
    await scene.gate.admit(withdrawal(package(), payload_digest(package(), GOOD), "alice"))
    await scene.aware()
    await scene.ground.sql("DELETE FROM withdrawals")
    await scene.as_api(FORCE)
    await scene.halts("withdrawal-withheld")


async def test_a_withdrawal_in_another_wrapping_halts_the_signer(scene):
    await scene.queued()
    await scene.gate.admit(withdrawal(package(), payload_digest(package(), GOOD), "alice"))
    await scene.aware()
    await scene.ground.sql("UPDATE withdrawals SET body = body || sha256('')")
    await scene.as_api(FORCE)
    await scene.halts("withdrawal-withheld")


async def meanwhile(scene, happens):
    """Sign, with *happens* while the bytes are measured."""

    class Measuring(type(scene.signing.content)):
        async def measure(self, *asked, **how):
            seen = await super().measure(*asked, **how)
            await happens()
            await scene.caught_up()
            return seen

    content = Measuring(scene.signing.content._roots, scene.signing.content._scratch)
    await sign_next(dataclasses.replace(scene.signing, content=content))


MEANWHILE = {
    "a dissent": (vote(package(), OTHER, "carol"), ("waiting", "disputed")),
    "a third vote for it": (vote(package(), GOOD, "carol"), ("signed", "signed")),
    "a vote taken back": (withdrawal(package(), payload_digest(package(), GOOD), "bob"), ("waiting", "not-reached")),
}


@pytest.mark.parametrize(("comes", "standing"), MEANWHILE.values(), ids=MEANWHILE)
async def test_what_an_honest_database_takes_in_while_the_bytes_are_measured_halts_nobody(scene, comes, standing):
    await scene.queued()
    await meanwhile(scene, lambda: scene.gate.admit(comes))
    assert await scene.standing() == standing


@pytest.mark.parametrize(("comes", "standing"), MEANWHILE.values(), ids=MEANWHILE)
async def test_what_it_takes_in_right_behind_a_look_at_it_halts_nobody_either(scene, comes, standing):
    await scene.queued()

    class Looking(PostgresQueue):
        looked = False

        async def evidence(self, job):
            seen = await super().evidence(job)
            if not self.looked:
                self.looked = True
                await scene.gate.admit(comes)
                await scene.caught_up()
            return seen

    queue = Looking(scene.signing.queue._pool, scene.signing.queue._listener)
    await sign_next(dataclasses.replace(scene.signing, queue=queue))
    assert await scene.standing() == standing


async def test_a_policy_that_the_api_does_not_have_signs_nothing(scene):
    await scene.queued()
    await scene.aware()
    scene.signing = under(scene.signing, make_policy(serial=2))
    await scene.aware()
    async with scene.untouched():
        await scene.sign()
    assert await scene.standing() == ("waiting", "policies-differ")


async def newer_in_force(scene):
    newest = under(scene.signing, make_policy(serial=2))
    await newest.conclusions.refuse_other_policy()
    await scene.caught_up()


async def test_an_older_policy_file_signs_nothing_and_the_request_waits_for_the_newer(scene):
    await scene.queued()
    await newer_in_force(scene)
    await scene.loads(make_policy(serial=1))
    async with scene.untouched():
        await scene.sign()
    assert await scene.standing() == ("waiting", "policy-older")


async def test_a_policy_file_of_the_same_serial_with_other_words_halts_the_signer(scene):
    await scene.queued()
    await newer_in_force(scene)
    await scene.loads(make_policy(serial=2, dissent_limit=1))
    await scene.halts("policy-differs")


async def test_every_table_but_the_logs_restored_halts_the_signer(scene):
    """The request stands in the queue as it did, and nothing in those tables knows that it was signed."""
    request = await scene.queued()
    put_back = await saved(scene.ground.owner, ORDINARY)
    await scene.sign()
    await scene.caught_up()
    await put_back()
    assert await scene.standing() == ("queued", "queued")
    await scene.halts("signature-lost", request)


async def test_every_table_but_the_logs_restored_from_before_a_dissent_halts_the_signer(scene):
    await scene.queued()
    put_back = await saved(scene.ground.owner, ORDINARY)
    await scene.gate.admit(vote(package(), OTHER, "carol"))
    await scene.aware()
    await put_back()
    await scene.halts("vote-withheld")


@pytest.mark.parametrize(("more", "code"), [(0, "log-rolled-back"), (5, "log-rewritten")])
async def test_the_whole_database_of_yesterday_halts_the_signer(scene, more, code):
    """Also where others went on with it, and the log has come to be longer than it was."""
    await scene.queued()
    put_back = await saved(scene.ground.owner, LOG + ORDINARY)
    await scene.sign()
    await scene.caught_up()
    # While the restore goes on, this signer is down.
    scene.follower.cancel()
    await scene.ground.stop_log()
    await put_back()
    await scene.ground.log()
    for number in range(more):
        await scene.gate.admit(vote(package(f"p{number}"), GOOD, "alice"))
        await scene.ground.settled()
    with pytest.raises(Exception, match=code):
        await scene.signing.past.follow()
    calls = (await scene._touched())[0]
    with pytest.raises(Exception, match="signature-lost"):
        await scene.sign()
    assert (await scene._touched())[0] == calls
    assert await scene.signatures() == 0
