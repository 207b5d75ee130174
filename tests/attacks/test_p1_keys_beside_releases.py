"""P1: besides releases, only the canary and provisioning use a release key; what else does, stops it, until a person knows why."""

import base64
import hashlib
from datetime import timedelta
from types import SimpleNamespace

import asyncpg
import nethsm
import pytest
import pytest_asyncio

from attestor.app.canarycheck import check_canary
from attestor.app.clock import now
from attestor.app.release_key import CanaryUserKey
from attestor.app.watch import KeyWatch
from attestor.core.algorithm import Algorithm
from attestor.core.canary import CANARY, CanaryPermit
from attestor.core.entries import CanaryEntry
from attestor.core.entrybytes import encode_entry, outgoing, seal_entry
from attestor.core.operations import Acknowledgement
from attestor.core.secret import Secret
from attestor.openpgp.certificate import parse_certificate
from attestor.service.canary import Canaries
from attestor.store.keybook import PostgresKeyBook
from attestor.store.ledger import PostgresLedger
from attestor.store.listen import Listener
from tests.attacks.conftest import Scene
from tests.edges.hsm.nodes import ADMIN, OPERATOR
from tests.logkeys import seal
from tests.plainoperations import PlainOperations
from tests.service.loghouse import following
from tests.service.makers import deb
from tests.service.signers import device_of, make_signing, release_keys

PASSPHRASE = "the passphrase of the canary"


@pytest.fixture(scope="session")
def canary_user(device):
    """In the emulated device, without tags of keys: whoever is an Operator may use them all."""
    device[0].sdk("admin", ADMIN).add_user("canary", nethsm.Role.OPERATOR, PASSPHRASE, "canary")


@pytest_asyncio.fixture
async def watched(gate, ground, folder, device, canary_user):
    """A scene whose signer counts, and has taken what the device counts now for its count."""
    running, certificates = device
    operations = PlainOperations()
    made = device_of(running.node(), count=operations.count)
    keys = release_keys(made, certificates, operations)
    pool = await ground.pool("attestor_signer")
    signing = make_signing(pool, Listener(), made, certificates, ground.folder, signers=keys)
    watch = KeyWatch(made, operations, keys, PostgresKeyBook(pool))
    async with following(signing.past) as follower:
        scene = Scene(gate, ground, (signing, follower), folder, running)
        await take_for_the_count(scene, watch)
        users = {name: CanaryUserKey(key, as_canary(key.key)) for name, key in keys.items()}
        book = watch.book
        canaries = Canaries(users, book, signing.queue, signing.past, seal(), "signer-1", now, timedelta(hours=1))
        yield SimpleNamespace(scene=scene, watch=watch, canaries=canaries, certificates=certificates)
    made.close()


def as_canary(key):
    return type(key)(key.name, key.key_id, "canary", Secret(PASSPHRASE), key.algorithm)


async def take_for_the_count(scene, watch):
    """As a person does, who knows where the device's uses come from."""
    for place, operations in (await watch.device.operations([key.key for key in watch.keys.values()])).items():
        await watch.operations.met(place, operations, now())
        await watch.operations.acknowledge(place, Acknowledgement("dora", now(), "a new signer", operations))


async def test_a_first_start_on_keys_that_were_used_takes_nothing_for_granted(watched):
    watched.watch.operations.keys.clear()
    await watched.watch.reconcile()
    request = await watched.scene.queued()
    await watched.scene.sign()
    assert await watched.scene.standing(request) == ("waiting", "hsm-operations-above")


@pytest.mark.parametrize("user", [f"operator-{Algorithm.ED25519}", "canary"])
async def test_whoever_signs_past_us_with_a_stolen_passphrase_stops_that_key_and_no_other(watched, user):
    scene = watched.scene
    passphrase = PASSPHRASE if user == "canary" else OPERATOR
    stolen = scene.running.sdk(user, passphrase)
    message = nethsm.Base64.encode(hashlib.sha512(b"malware").digest())
    stolen.sign(f"key-{Algorithm.ED25519}", message, nethsm.SignMode.EDDSA)
    await watched.watch.reconcile()

    held, other = await scene.queued(), await scene.queued(deb())
    before = scene.running.operations()
    assert [await scene.sign() is not None for _ in range(2)] == [True, True]
    assert await scene.standing(held) == ("waiting", "hsm-operations-above")
    assert await scene.standing(other) == ("signed", "signed")
    assert scene.running.operations() == before
    [standing] = [each for each in await PostgresLedger(await scene.ground.pool()).release_keys() if each.stopped]
    assert standing.name == "packages"

    await take_for_the_count(scene, watched.watch)
    await scene.ground.sql("UPDATE signing_requests SET state = 'queued', not_before = now() WHERE state = 'waiting'")
    await scene.sign()
    assert await scene.standing(held) == ("signed", "signed")


async def test_our_own_signatures_and_canaries_stop_nothing(watched):
    request = await watched.scene.queued()
    await watched.scene.sign()
    assert await watched.canaries.make_due() == dict.fromkeys(watched.watch.keys)
    await watched.watch.reconcile()
    assert await watched.scene.standing(request) == ("signed", "signed")
    assert not any(key.stopped for key in watched.watch.operations.keys.values())
    assert {key.missing for key in watched.watch.operations.keys.values()} == {0}


async def test_a_key_that_stops_while_a_request_waits_for_its_place_signs_it_not(watched, monkeypatch):
    """The last look is behind the wait for the HSM."""
    scene, key = watched.scene, watched.watch.keys["packages"]
    request = await scene.queued()
    slot = type(key).slot

    def slow(self, lane):
        watched.watch.operations.keys[self.key.place] = stopped(watched.watch.operations.keys[self.key.place])
        return slot(self, lane)

    monkeypatch.setattr(type(key), "slot", slow)
    before = scene.running.operations()
    await scene.sign()
    assert await scene.standing(request) == ("waiting", "hsm-operations-above")
    assert scene.running.operations() == before


def stopped(key):
    return type(key)(key.place, key.counted, key.counted + 1, key.counted, now(), stopped=True)


async def test_whoever_has_the_database_in_hand_gets_nothing_signed_but_the_constant_string(watched):
    """It can ask for canaries, forge their entries, and forget those that were made: all in vain."""
    scene = watched.scene
    made = {name: key.fingerprint for name, key in watched.watch.keys.items()}
    for _ in range(3):
        await scene.ground.sql(
            "INSERT INTO canary_wanted VALUES (1, now() + interval '1 year') ON CONFLICT (id) DO UPDATE SET at = excluded.at"
        )
        await scene.ground.sql("DELETE FROM canary_signatures")
        await watched.canaries.make_due()
    entries = await scene.ground.sql("SELECT 1 FROM log_entries WHERE kind = 'canary'")
    assert len(entries) == len(made), "each key once in ten seconds, however often somebody asks"
    await scene.ground.sql("DELETE FROM canary_signatures")
    watched.canaries._tried.clear()
    watched.canaries.now = lambda: now() - timedelta(seconds=2)
    await watched.canaries.make_due()
    for each in await PostgresLedger(await scene.ground.pool()).canaries():
        name = next(name for name, fingerprint in made.items() if fingerprint == each.key_fingerprint)
        check_canary(parse_certificate(watched.certificates[name]), each.signature)


def canary_entry(anchor):
    return CanaryEntry(instance="signer-1", key="A" * 40, created="2026-03-01T12:00:00Z", anchor=anchor)


async def test_a_canarys_entry_without_the_signers_seal_is_forged_and_permits_nothing(watched):
    scene = watched.scene
    entry = canary_entry(scene.signing.past.anchor_id)
    before = scene.running.operations()
    for raw in (encode_entry(entry), seal_entry(entry, seal("thief"))):
        told = outgoing(raw)
        await scene.ground.sql(
            "INSERT INTO log_outbox (subject, kind, number, entry) VALUES ($1, $2, $3, $4)",
            told.subject, told.kind, told.number, told.entry,
        )  # fmt: skip
    await scene.caught_up()
    assert await scene.signing.past.forged() == 2
    assert scene.running.operations() == before


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO canary_wanted VALUES (1, now())",
        "INSERT INTO canary_signatures VALUES (repeat('A', 40), 1, now(), 'x')",
        "DELETE FROM canary_signatures",
        "UPDATE release_keys SET stopped = false",
        "INSERT INTO release_keys VALUES ('x', repeat('A', 40), 'x', 0, 0, false)",
    ],
)
async def test_a_taken_over_api_can_neither_ask_for_a_canary_nor_show_one_that_was_not_made(scene, statement):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await scene.as_api(statement)


async def test_a_taken_over_api_cannot_announce_one(scene):
    told = outgoing(encode_entry(canary_entry("0" * 32)))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await scene.as_api(
            "INSERT INTO log_outbox (subject, kind, number, entry) VALUES ($1, $2, $3, $4)",
            told.subject, told.kind, told.number, told.entry,
        )  # fmt: skip


async def test_the_canarys_user_has_no_way_to_sign_other_bytes(watched):
    """Whatever stands in a permit, the bytes are the constant ones."""
    key = watched.canaries.keys["packages"]
    assert not {name for name in dir(key) if name.startswith("sign")}
    permit = CanaryPermit(key.fingerprint, now(), ("canary@evil", base64.b64encode(b"malware").decode() + " 7"))
    async with key.slot() as pen:
        assert {name for name in dir(pen) if not name.startswith("_")} == {"certificate", "key", "sign", "slot"}
        signature = await pen.sign(permit)
    assert check_canary(parse_certificate(watched.certificates["packages"]), signature).origin == "evil"
    assert CANARY == b"attestor canary v1\n"
