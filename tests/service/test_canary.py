"""Canaries over the real database and the emulated device: logged first, signed by the canary's own user, kept for everybody."""

import hashlib
from datetime import timedelta
from itertools import pairwise
from types import SimpleNamespace

import nethsm
import pytest
import pytest_asyncio

from attestor.app.canarycheck import check_canary
from attestor.app.clock import now
from attestor.app.release_key import CanaryUserKey
from attestor.core.canary import CANARY
from attestor.core.entries import CanaryEntry
from attestor.core.entrybytes import outgoing, read_entry, seal_entry
from attestor.core.errors import Halted, Rejected
from attestor.core.obstacles import NotNow
from attestor.core.secret import Secret
from attestor.embedded.device import emulator
from attestor.openpgp.certificate import parse_certificate
from attestor.openpgp.signature import verify_signature
from attestor.service import canary
from attestor.service.canary import Canaries
from attestor.service.keyports import CanaryClock
from attestor.store.keybook import PostgresKeyBook, want_canaries
from attestor.store.ledger import PostgresLedger
from attestor.store.listen import Listener
from attestor.store.pool import Settings, connect
from attestor.store.queue import PostgresQueue
from tests.edges.hsm.nodes import ADMIN, Running
from tests.logkeys import seal
from tests.plainoperations import PlainOperations
from tests.service.loghouse import following, past_over
from tests.service.makers import ORIGIN, make_policy
from tests.service.signers import ALGORITHMS, device_of, make_certificates, release_keys

PASSPHRASE = "the passphrase of the canary"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def emulated(tmp_path_factory):
    """A device whose keys are restricted by a tag each; the canary's user has all of them, each Operator its own."""
    async with emulator(tmp_path_factory.mktemp("hsm"), flags=("--faults",)) as started:
        running = Running(started).set_up()
        certificates = await make_certificates(running)
        admin = running.sdk("admin", ADMIN)
        admin.add_user("canary", nethsm.Role.OPERATOR, PASSPHRASE, "canary")
        for algorithm in ALGORITHMS.values():
            admin.add_key_tag(f"key-{algorithm}", f"tag-{algorithm}")
            admin.add_operator_tag(f"operator-{algorithm}", f"tag-{algorithm}")
            admin.add_operator_tag("canary", f"tag-{algorithm}")
        yield running, certificates


@pytest_asyncio.fixture
async def signer(ground, emulated):
    """One signer's canaries, every hour; the log is followed."""
    running, certificates = emulated
    operations = PlainOperations()
    device = device_of(running.node(), count=operations.count)
    pool = await ground.pool("attestor_signer")
    past, book = past_over(pool, ground.folder, make_policy()), PostgresKeyBook(pool)
    made = release_keys(device, certificates, operations)
    keys = {name: CanaryUserKey(key, with_canary(key.key)) for name, key in made.items()}
    queue, interval = PostgresQueue(pool, Listener()), timedelta(hours=1)
    canaries = Canaries(keys, book, queue, past, seal(), "signer-1", now, interval)
    async with following(past) as follower:
        yield SimpleNamespace(
            it=canaries, operations=operations, running=running, certificates=certificates, keys=made, follower=follower
        )
    device.close()
    running.clear()


def with_canary(key):
    return type(key)(key.name, key.key_id, "canary", Secret(PASSPHRASE), key.algorithm)


async def kept(ground):
    return {each.key_fingerprint: each for each in await PostgresLedger(await ground.pool()).canaries()}


async def logged(ground):
    rows = await ground.sql("SELECT idx, entry FROM log_entries WHERE kind = 'canary' ORDER BY idx")
    return {row["idx"]: read_entry(row["entry"]) for row in rows}


async def test_each_key_signs_the_constant_string_under_an_entry_of_its_own(ground, signer):
    assert await signer.it.make_due() == dict.fromkeys(ALGORITHMS)
    made, entries = await kept(ground), await logged(ground)
    assert len(made) == len(entries) == len(ALGORITHMS)
    for name, key in signer.keys.items():
        one = made[key.fingerprint]
        checked = check_canary(parse_certificate(signer.certificates[name]), one.signature)
        assert (checked.origin, checked.log, checked.index) == (ORIGIN, f"{ORIGIN}/log", one.index)
        assert checked.created == one.created
        entry = entries[one.index]
        assert isinstance(entry, CanaryEntry)
        assert (entry.key, entry.instance) == (key.fingerprint, "signer-1")


async def test_it_is_in_the_log_and_behind_the_anchor_before_the_device_is_asked(ground, signer, monkeypatch):
    seen = []
    count = signer.operations.count

    async def counted(place):
        seen.append((len(await logged(ground)), await signer.it.past.size()))
        await count(place)

    monkeypatch.setattr(signer.keys["packages"].device, "count", counted)
    await signer.it.make("packages")
    [(entries, anchor)] = seen
    assert entries == 1
    assert anchor > max(await logged(ground))


async def test_without_a_log_no_key_is_used(ground, signer, monkeypatch):
    monkeypatch.setattr(canary, "INCLUDED_SECONDS", 0.2)
    await ground.stop_log()
    before = signer.running.operations()
    kept_from = await signer.it.make_due()
    assert {error.code for error in kept_from.values()} == {"log-behind"}
    assert signer.running.operations() == before
    assert await kept(ground) == {}


async def test_they_are_due_by_the_schedule_and_when_somebody_asks_and_not_without_end(ground, signer):
    # Of one second, two entries would be the same.
    moments = (now() - timedelta(seconds=left) for left in (4, 3, 2, 1))
    moment = next(moments)
    signer.it.now = lambda: moment
    await signer.it.make_due()
    first = await kept(ground)
    # Nobody asks, and the hour is not over.
    assert await signer.it.make_due() == {}
    await want_canaries(await ground.stack.enter_async_context(_owner(ground)))
    # Somebody asks, and it was a moment ago.
    assert await signer.it.make_due() == {}
    signer.it._tried.clear()
    moment = next(moments)
    assert await signer.it.make_due() == dict.fromkeys(ALGORITHMS)
    second = await kept(ground)
    assert all(second[key].index > first[key].index for key in first)
    signer.it._tried.clear()
    assert await signer.it.make_due() == {}
    await ground.sql("UPDATE canary_signatures SET made_at = made_at - interval '1 hour'")
    moment = next(moments)
    assert await signer.it.make_due() == dict.fromkeys(ALGORITHMS)


def _owner(ground):
    return connect(Settings(ground.dsn, connections=1))


async def test_a_key_that_stopped_makes_none_and_the_others_do(ground, signer):
    place = signer.keys["packages"].key.place
    await signer.operations.met(place, 1_000_000, now())
    before = signer.running.operations()
    kept_from = await signer.it.make_due()
    assert {name: error.code if error else None for name, error in kept_from.items()} == {
        "packages": "hsm-operations-above",
        "debs": None,
        "isos": None,
    }
    assert signer.running.operations() == before
    assert len(await logged(ground)) == 2


async def test_a_key_that_cannot_sign_is_found_by_its_canary_alone(ground, signer):
    signer.running.fault("status", {"method": "POST", "path": "/keys/key-ed25519/sign"}, status=400)
    kept_from = await signer.it.make_due()
    assert {name: error.code if error else None for name, error in kept_from.items()} == {
        "packages": "hsm-refused",
        "debs": None,
        "isos": None,
    }


class Away:
    """A key whose device is not there, and the database's side of it."""

    fingerprint = "A" * 40

    def __init__(self):
        self.moment, self.wanted, self.tried = now(), None, []

    def now(self):
        return self.moment

    async def held(self):
        self.tried.append(self.moment)
        return NotNow("hsm-unreachable", "It is away.")

    async def canary_clock(self):
        return CanaryClock(self.moment, self.wanted, {})


async def test_what_cannot_be_made_is_tried_less_and_less_often_and_at_once_when_somebody_asks():
    away = Away()
    canaries = Canaries({"packages": away}, away, None, None, None, "signer-1", away.now, timedelta(hours=1))

    async def pass_by(seconds):
        for _ in range(seconds):
            await canaries.make_due()
            away.moment += timedelta(seconds=1)

    await pass_by(3000)
    between = [(later - earlier).total_seconds() for earlier, later in pairwise(away.tried)]
    assert between == [20, 40, 80, 160, 320, 640, 640, 640]
    away.wanted, tries = away.moment, len(away.tried)
    await pass_by(30)
    # Once more than it was asked for, because the two clocks may differ.
    assert [(each - away.wanted).total_seconds() for each in away.tried[tries:]] == [0, 10]


async def test_what_the_log_does_not_prove_halts_before_the_device_is_asked(signer, monkeypatch):
    class Rewritten:
        async def tile(self, tile):
            return bytes(32 * tile.width)

    follow, prove = signer.it.past._source, signer.it.past.prove

    async def lied_to(index, raw):
        monkeypatch.setattr(signer.it.past, "_source", Rewritten())
        try:
            return await prove(index, raw)
        finally:
            monkeypatch.setattr(signer.it.past, "_source", follow)

    monkeypatch.setattr(signer.it.past, "prove", lied_to)
    await signer.it.queue.tell(_other(signer), [])
    before = signer.running.operations()
    with pytest.raises(Halted, match="log-rewritten"):
        await signer.it.make("packages")
    assert signer.running.operations() == before


def _other(signer):
    """Another entry, so that there is something to prove an inclusion among."""
    entry = CanaryEntry(
        instance="signer-1", key="F" * 40, created="2026-01-01T00:00:00Z", anchor=signer.it.past.anchor_id
    )
    return outgoing(seal_entry(entry, seal()))


async def test_a_signer_with_a_wrong_clock_halts_before_the_device_is_asked(signer):
    signer.it.now = lambda: now() + timedelta(seconds=30)
    before = signer.running.operations()
    with pytest.raises(Halted, match="clock-differs"):
        await signer.it.make_due()
    assert signer.running.operations() == before


async def test_a_few_are_kept_and_all_stay_in_the_log(ground, signer, monkeypatch):
    monkeypatch.setattr("attestor.store.keybook.KEPT", 2)
    moments = iter(now() - timedelta(seconds=left) for left in (4, 3, 2, 1))
    signer.it.now = lambda: next(moments)
    for _ in range(4):
        await signer.it.make("packages")
    assert (await ground.sql("SELECT count(*) AS n FROM canary_signatures"))[0]["n"] == 2
    assert len(await logged(ground)) == 4
    assert (await kept(ground))[signer.keys["packages"].fingerprint].index == max(await logged(ground))


async def test_it_is_no_signature_of_anything_else(signer, ground):
    """Not of other bytes, not of the same bytes by another key, and its notation is no release's."""
    await signer.it.make("packages")
    await signer.it.make("debs")
    made = await kept(ground)
    certificates = {name: parse_certificate(raw) for name, raw in signer.certificates.items()}
    signature = made[signer.keys["packages"].fingerprint].signature
    said = verify_signature(certificates["packages"], signature, hashlib.sha512(CANARY))
    assert [each.name for each in said.notations] == [f"canary@{ORIGIN}"]
    for content in (b"", CANARY[:-1], CANARY + b"\n", b"a package"):
        with pytest.raises(Rejected):
            verify_signature(certificates["packages"], signature, hashlib.sha512(content))
    with pytest.raises(Rejected):
        check_canary(certificates["debs"], signature)
