"""Signing with the real emulated device over the real database: exactly one signature, and none without agreement."""

import asyncio
import dataclasses
import hashlib
from datetime import timedelta

import pytest
import pytest_asyncio

from attestor.app.clock import now
from attestor.core.algorithm import Algorithm
from attestor.core.errors import Halted, Missing
from attestor.core.wire import Upload
from attestor.embedded.device import emulator
from attestor.hsm.connection import NodeSettings
from attestor.service.signports import Concluded
from attestor.store.listen import Listener
from tests.edges.hsm.nodes import Running
from tests.edges.store.logmakers import decision
from tests.service.loghouse import caught_up, following
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
from tests.service.signers import device_of, make_certificates, make_signing, release_keys, sign_next, under, verified
from tests.service.test_ask import hash_state

GOOD, OTHER = b"the package", b"another package"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def emulated(tmp_path_factory):
    async with emulator(tmp_path_factory.mktemp("hsm"), flags=("--faults",)) as started:
        running = Running(started).set_up()
        yield running, await make_certificates(running)


@pytest_asyncio.fixture
async def signing(ground, emulated, folder):
    running, certificates = emulated
    device = device_of(running.node())
    made = make_signing(await ground.pool("attestor_signer"), Listener(), device, certificates, ground.folder)
    async with following(made.past):
        yield made
    device.close()
    running.clear()


async def requested(gate, folder, release=None, content=GOOD):
    release = release or package()
    (folder / release.file_name).write_bytes(content)
    await gate.admit(vote(release, content, "alice", "bob"))
    opened, _ = await gate.ask(BUILDER, asking(release, content))
    assert opened.state == "queued"
    return opened.id


async def standing(ground):
    [row] = await ground.sql("SELECT state, reason, sentence FROM signing_requests")
    assert row["sentence"]
    return row["state"], row["reason"]


async def signatures(ground):
    return (await ground.sql("SELECT count(*) AS n FROM signatures"))[0]["n"]


@pytest.mark.parametrize(("release", "key"), [(package(), "packages"), (deb(), "debs")], ids=["Ed25519", "P-256"])
async def test_agreed_bytes_are_signed_once_and_read_the_same_ever_after(  # noqa: PLR0917 - fixtures
    gate, ground, signing, folder, emulated, release, key
):
    request = await requested(gate, folder, release)
    await sign_next(signing)
    await ground.settled()
    name, signature = await gate.signature(BUILDER, request)
    assert name == f"{release.file_name}.sig"
    assert verified(emulated[1], key, signature, GOOD).file_sha512 == hashlib.sha512(GOOD).digest()
    joined, new = await gate.ask(BUILDER, asking(release, GOOD))
    assert (joined.id, joined.state, new) == (request, "signed", False)
    assert {await gate.signature(BUILDER, request) for _ in range(3)} == {(name, signature)}
    assert await sign_next(signing) is None
    assert await signatures(ground) == 1


async def test_an_upload_and_a_hash_state_are_signed_as_well(gate, ground, signing, emulated):
    for release, source in ((package("up"), Upload()), (package("state"), hash_state(GOOD))):
        await gate.admit(vote(release, GOOD, "alice", "bob"))
        opened, _ = await gate.ask(BUILDER, asking(release, GOOD, source))
        if source == Upload():
            await gate.upload(BUILDER, opened.id, lines_of(GOOD))
        await sign_next(signing)
        await ground.settled()
        assert verified(emulated[1], "packages", (await gate.signature(BUILDER, opened.id))[1], GOOD)


async def test_a_single_builders_image_is_looked_into_and_a_package_in_its_place_is_refused(
    gate, ground, signing, folder
):
    zstd = b"\x28\xb5\x2f\xfd" + bytes(64)
    (folder / iso().file_name).write_bytes(zstd)
    await gate.admit(vote(iso(), zstd, "carol"))
    await gate.ask(BUILDER, asking(iso(), zstd))
    await sign_next(signing)
    assert await standing(ground) == ("refused", "content-is-archive")
    assert await signatures(ground) == 0


ATTACKS = {
    "a vote inserted": [
        "DELETE FROM claims WHERE operator = 'bob'",
        "DELETE FROM envelopes WHERE operator = 'bob'",
        "INSERT INTO envelopes SELECT 'bob', payload_digest, body, received_at FROM envelopes",
        "INSERT INTO claims SELECT release_id, 'bob', payload_digest, form, keys, outcome, sha256, sha512, size, received_at FROM claims",
    ],
    "a vote changed": [
        "UPDATE claims SET operator = 'bob' WHERE operator = 'bob'",
        "UPDATE envelopes SET body = 'x' WHERE operator = 'bob'",
    ],
    "an envelope swapped for another operator's": [
        "UPDATE envelopes SET body = (SELECT body FROM envelopes WHERE operator = 'alice') WHERE operator = 'bob'"
    ],
    "an envelope of another release in its place": [
        "UPDATE envelopes e SET body = o.body FROM envelopes o WHERE e.operator = 'bob' AND o.operator = 'carol'"
    ],
    "one byte of a signature changed": [
        "UPDATE envelopes SET body = convert_to(replace(convert_from(body, 'UTF8'), '\"sig\":\"', '\"sig\":\"AAAA'), 'UTF8') WHERE operator = 'bob'"
    ],
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_the_signer_halts_after(gate, ground, signing, folder, attack):
    await gate.admit(vote(package("elsewhere"), GOOD, "carol"))
    (folder / package().file_name).write_bytes(GOOD)
    await gate.admit(vote(package(), GOOD, "alice"))
    await gate.admit(vote(package(), GOOD, "bob", log=b"bob's own"))
    await gate.ask(BUILDER, asking(package(), GOOD))
    if attack == "a vote inserted":
        await ground.sql("DELETE FROM claims WHERE operator = 'carol'")
        await ground.sql("DELETE FROM envelopes WHERE operator = 'carol'")
    await caught_up(ground, signing.past)
    for statement in ATTACKS[attack]:
        await ground.sql(statement)
    with pytest.raises(Halted, match="vote-withheld"):
        await sign_next(signing)
    assert await standing(ground) == ("queued", "vote-withheld")
    assert await signatures(ground) == 0


async def test_a_decision_and_a_state_written_by_sql_give_no_signature(gate, ground, signing, folder):
    (folder / package().file_name).write_bytes(GOOD)
    await gate.admit(vote(package(), GOOD, "alice"))
    await gate.ask(BUILDER, asking(package(), GOOD))
    await ground.sql("UPDATE decisions SET state = 'reached', view = replace(view, 'pending', 'reached')")
    await ground.sql("UPDATE signing_requests SET state = 'queued', reason = 'queued'")
    await sign_next(signing)
    assert await standing(ground) == ("waiting", "not-reached")
    assert await signatures(ground) == 0


@pytest.mark.parametrize("column", ["sha256", "sha512", "size"])
async def test_a_request_rewritten_by_sql_gives_no_signature(gate, ground, signing, folder, column):
    await requested(gate, folder)
    value = {"sha256": hashlib.sha256(OTHER).digest(), "sha512": hashlib.sha512(OTHER).digest(), "size": 5}[column]
    await ground.sql(f"UPDATE signing_requests SET {column} = $1", value)  # noqa: S608 - a constant table of columns
    await sign_next(signing)
    assert await standing(ground) == ("waiting", "other-digest-reached")
    assert await signatures(ground) == 0


async def test_a_request_whose_row_cannot_be_read_is_set_aside(gate, ground, signing, folder):
    await requested(gate, folder)
    await ground.sql("UPDATE signing_requests SET content = '{}'")
    assert await sign_next(signing) is None
    assert await standing(ground) == ("aside", "row-unreadable")
    assert await signatures(ground) == 0


async def test_a_decision_of_the_api_under_another_policy_than_the_signers_gives_no_signature(
    gate, ground, signing, folder
):
    await requested(gate, folder)
    strict = under(signing, make_policy(serial=2, revoked=["alice"]))
    await sign_next(strict)
    assert await standing(ground) == ("waiting", "policies-differ")
    assert await signatures(ground) == 0


async def test_dissent_that_the_database_still_holds_counts_for_the_signer(gate, ground, signing, folder):
    await requested(gate, folder)
    await gate.admit(vote(package(), OTHER, "carol"))
    await ground.sql("UPDATE signing_requests SET state = 'queued'")
    await sign_next(signing)
    assert await standing(ground) == ("waiting", "disputed")
    await gate.admit(withdrawal(package(), payload_digest(package(), OTHER), "carol"))
    await sign_next(signing)
    assert (await standing(ground))[0] == "signed"


@pytest.mark.parametrize("swapped", [OTHER, b"the packagE", b"", GOOD + b"\n"])
async def test_a_file_swapped_after_agreement_is_refused(gate, ground, signing, folder, swapped):
    await requested(gate, folder)
    (folder / package().file_name).write_bytes(swapped)
    await sign_next(signing)
    assert (await standing(ground))[0] == "refused"
    assert await signatures(ground) == 0


async def test_a_missing_file_is_waited_for_and_signed_when_it_appears(gate, ground, signing, folder):
    request = await requested(gate, folder)
    (folder / package().file_name).unlink()
    await sign_next(signing)
    assert await standing(ground) == ("waiting", "content-missing")
    assert await sign_next(signing) is None
    (folder / package().file_name).write_bytes(GOOD)
    await ground.sql("UPDATE signing_requests SET not_before = now()")
    await sign_next(signing)
    await ground.settled()
    assert (await gate.request(BUILDER, request)).state == "signed"


async def test_looking_for_a_missing_file_again_and_again_fills_no_table(gate, ground, signing, folder):
    await requested(gate, folder)
    (folder / package().file_name).unlink()
    await sign_next(signing)
    before = await ground.rows()
    for _ in range(3):
        await ground.sql("UPDATE signing_requests SET not_before = now()")
        assert await sign_next(signing) is not None
    assert await ground.rows() == before


async def test_another_digest_that_was_signed_refuses_the_request(gate, ground, signing, folder):
    await requested(gate, folder)
    release = bytes.fromhex(package().id)
    await ground.sql("INSERT INTO signed_digests VALUES ($1, $2)", release, hashlib.sha256(OTHER).digest())
    await sign_next(signing)
    assert await standing(ground) == ("refused", "other-digest-signed")
    assert await signatures(ground) == 0


class _Late:
    """A key whose answer comes when another signer has taken over."""

    def __init__(self, key, meanwhile):
        self._key = key
        self._meanwhile = meanwhile
        self.fingerprint = key.fingerprint
        self.results = []

    async def held(self):
        return await self._key.held()

    def slot(self, lane):
        outer = self

        class Slot:
            async def __aenter__(self):
                self._slot = outer._key.slot(lane)
                self._pen = await self._slot.__aenter__()
                return self

            async def __aexit__(self, *raised):
                await self._slot.__aexit__(*raised)

            async def sign(self, permit, hasher):
                outer.results.append(await self._pen.sign(permit, hasher))
                await outer._meanwhile()
                return outer.results[-1]

        return Slot()


async def test_a_holder_whose_lease_ended_while_it_signed_writes_nothing(gate, ground, signing, folder, emulated):
    request = await requested(gate, folder, deb())

    async def taken_over():
        await ground.sql("UPDATE signing_requests SET lease_until = now() - interval '1 second'")
        await sign_next(signing)

    late = _Late(signing.signers["debs"], taken_over)
    await sign_next(dataclasses.replace(signing, signers={**signing.signers, "debs": late}))
    await ground.settled()
    _, signature = await gate.signature(BUILDER, request)
    assert signature != late.results[0]
    assert verified(emulated[1], "debs", signature, GOOD)
    assert await signatures(ground) == 1
    [row] = await ground.sql("SELECT state, fence FROM signing_requests")
    assert tuple(row) == ("signed", 2)


async def test_a_lease_that_really_runs_out_lets_the_next_signer_in_and_the_late_one_loses(
    gate, ground, signing, folder
):
    await requested(gate, folder)
    queue = signing.queue
    first = await queue.claim(0.3)
    assert await queue.claim(30) is None
    await asyncio.sleep(0.4)
    second = await queue.claim(30)
    assert (first.fence, second.fence) == (1, 2)
    told = Concluded(decision(first.request.id), (), await queue.evidence(first), 0, ())
    for late in (queue.renew(first, 30), queue.decide(first, told), queue.adopt(first)):
        with pytest.raises(Exception) as raised:
            await late
        assert raised.value.code == "lease-over"
    await queue.give_back(first, "aside", "late", "late", 0)
    assert (await standing(ground))[0] == "claimed"


async def test_a_vote_taken_back_while_the_signer_waits_for_the_device_is_seen(gate, ground, signing, folder):
    await requested(gate, folder)

    class Slow(type(signing.content)):
        async def measure(self, *place, **how):
            seen = await super().measure(*place, **how)
            await gate.admit(withdrawal(package(), payload_digest(package(), GOOD), "alice"))
            return seen

    slow = Slow(signing.content._roots, signing.content._scratch)
    await sign_next(dataclasses.replace(signing, content=slow))
    assert await standing(ground) == ("waiting", "not-reached")
    assert await signatures(ground) == 0


async def test_a_device_that_is_down_costs_tries_then_sets_aside_and_a_retry_signs(
    gate, ground, signing, folder, emulated
):
    request = await requested(gate, folder)
    gone = device_of(NodeSettings("https://127.0.0.1:1", fingerprint="0" * 64, connect_seconds=0.2), deadline=0.3)
    down = dataclasses.replace(signing, signers=release_keys(gone, emulated[1]))
    await sign_next(down)
    [row] = await ground.sql("SELECT state, reason, tries, not_before > updated_at AS later FROM signing_requests")
    assert tuple(row) == ("queued", "hsm-unreachable", 1, True)
    await ground.sql("UPDATE signing_requests SET not_before = now() + interval '1 hour'")
    assert await sign_next(down) is None
    for _ in range(2):
        await ground.sql("UPDATE signing_requests SET not_before = now()")
        await sign_next(down)
    gone.close()
    assert await standing(ground) == ("aside", "hsm-unreachable")
    assert (await gate.retry(BUILDER, request)).tries == 0
    await sign_next(signing)
    assert (await standing(ground))[0] == "signed"


async def test_a_request_whose_signers_all_die_is_set_aside_in_the_end(gate, ground, signing, folder):
    await requested(gate, folder)
    for _ in range(3):
        assert await signing.queue.claim(0.0) is not None
    await sign_next(signing)
    assert await standing(ground) == ("aside", "tries-used-up")


@pytest.mark.parametrize("skew", [timedelta(seconds=-6), timedelta(seconds=6)])
async def test_a_clock_that_differs_signs_nothing(gate, ground, signing, folder, skew):
    await requested(gate, folder)
    with pytest.raises(Halted, match="clock-differs"):
        await sign_next(dataclasses.replace(signing, now=lambda: now() + skew))
    assert await standing(ground) == ("queued", "clock-differs")
    assert await signatures(ground) == 0


async def test_fifty_identical_requests_and_four_signers_make_one_call(gate, ground, signing, folder, emulated):
    running, _ = emulated
    (folder / package().file_name).write_bytes(GOOD)
    await gate.admit(vote(package(), GOOD, "alice", "bob"))
    before = running.operations(Algorithm.ED25519)
    views = await asyncio.gather(*[gate.ask(BUILDER, asking(package(), GOOD)) for _ in range(50)])
    await asyncio.gather(*[sign_next(signing) for _ in range(4)])
    await ground.settled()
    read = {(await gate.signature(BUILDER, view.id))[1] for view, _ in views}
    assert len(read) == 1
    assert running.operations(Algorithm.ED25519) == before + 1
    assert await signatures(ground) == 1


async def test_a_signature_that_is_stored_already_is_adopted_without_a_call(gate, ground, signing, folder, emulated):
    request = await requested(gate, folder)
    await sign_next(signing)
    await caught_up(ground, signing.past)
    first = await gate.signature(BUILDER, request)
    await ground.sql("UPDATE signing_requests SET state = 'queued'")
    before = emulated[0].operations(Algorithm.ED25519)
    await sign_next(signing)
    assert await gate.signature(BUILDER, request) == first
    assert emulated[0].operations(Algorithm.ED25519) == before


async def test_nobody_reads_a_signature_before_the_request_is_signed(gate, ground, signing, folder):
    request = await requested(gate, folder)
    await sign_next(signing)
    await ground.settled()
    await ground.sql("UPDATE signing_requests SET state = 'queued'")
    with pytest.raises(Missing):
        await gate.signature(BUILDER, request)


class Slow:
    """Bytes that take longer to read than the lease lasts."""

    def __init__(self, content, seconds):
        self.content = content
        self.seconds = seconds

    async def measure(self, *asked, inspect):
        await asyncio.sleep(self.seconds)
        return await self.content.measure(*asked, inspect=inspect)


async def test_the_lease_is_kept_while_the_bytes_take_longer_to_read_than_it_lasts(gate, ground, signing, folder):
    await requested(gate, folder)
    slow = dataclasses.replace(signing, content=Slow(signing.content, 1.5), lease_seconds=0.6)
    working = asyncio.create_task(sign_next(slow))
    await asyncio.sleep(1.0)

    assert await sign_next(signing) is None
    await working
    assert await standing(ground) == ("signed", "signed")
