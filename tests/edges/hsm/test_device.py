"""Signing over TLS with the real emulator: every algorithm, slots, deadlines, failover, logins."""

import asyncio
import hashlib
import time

import nethsm
import pytest

from attestor.core.algorithm import Algorithm
from attestor.core.errors import Forbidden, Missing, Rejected, Unavailable
from attestor.core.lanes import Lane
from attestor.core.secret import Secret
from attestor.hsm.connection import Connection, NodeSettings
from attestor.hsm.device import Device, DeviceSettings
from attestor.hsm.keys import message_of
from attestor.hsm.node import Node
from attestor.openpgp.certificate import draft_certificate, parse_certificate
from attestor.openpgp.signature import draft_signature, verify_signature
from tests.edges.hsm.nodes import ADMIN, NOW, OPERATOR, signing_key, whole_text

pytestmark = pytest.mark.asyncio(loop_scope="module")
DIGEST = hashlib.sha512(b"bytes of a release").digest()
KEY = signing_key()


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_each_algorithm_signs_a_certificate_and_a_release_that_openpgp_verifies(make, algorithm):
    device, key = make(), signing_key(algorithm)
    draft = draft_certificate(await device.public_key(key), algorithm, "Release <r@example.org>", NOW)
    certificate = parse_certificate(draft.seal(await device.sign(key, draft.digest)))
    hasher = hashlib.sha512()
    hasher.update(b"bytes of a release")
    release = draft_signature(certificate, created=NOW, file_sha512=hasher.digest())
    signature = release.seal(await device.sign(key, release.digest(hasher)), hasher)
    assert verify_signature(certificate, signature, hasher).created == NOW


@pytest.mark.parametrize("size", [0, 32, 63, 65])
@pytest.mark.parametrize("algorithm", Algorithm)
async def test_what_is_no_sha512_digest_is_refused_before_the_device_is_asked(algorithm, size):
    with pytest.raises(Rejected, match="hsm-digest"):
        message_of(algorithm, bytes(size))


async def test_a_certificate_is_read_byte_for_byte_and_none_is_none(make, nodes):
    device, key = make(), signing_key(Algorithm.P521)
    assert await device.certificate(key) is None
    nodes[0].sdk("admin", ADMIN).set_key_certificate(key.key_id, b"\x99bytes of a certificate")
    assert await device.certificate(key) == b"\x99bytes of a certificate"
    with pytest.raises(Missing, match="hsm-refused"):
        await device.certificate(signing_key(key_id="no-such-key"))


async def test_the_device_s_own_words_come_with_its_refusal(make):
    wrong_mode = signing_key(key_id=f"key-{Algorithm.P256}")
    with pytest.raises(Rejected, match="The device says: Key mechanisms do not allow requested signing"):
        await make().sign(wrong_mode, DIGEST)


# Slots and deadlines.


LONG = {"deadline": 60.0, "answer_seconds": 60.0}
"""Longer than what is held by a test takes."""


async def test_a_call_past_its_deadline_keeps_its_slot_until_its_thread_ends_and_its_result_is_dropped(
    make, nodes, clock
):
    device = make(slots=1, **LONG)
    await device.sign(KEY, DIGEST)
    before = nodes[0].operations()
    nodes[0].hold()
    task = asyncio.create_task(device.sign(KEY, DIGEST))
    await nodes[0].until_left(0)
    assert not task.done()
    clock.pass_by(60)
    with pytest.raises(Unavailable, match="hsm-deadline"):
        await task
    assert not device.free()
    nodes[0].clear()
    async with asyncio.timeout(20), device.slot():
        assert nodes[0].operations() == before + 1
    assert (device.late, device.failures["hsm-deadline"]) == (1, 1)


async def test_a_cancelled_call_keeps_its_slot_until_its_thread_ends(make, nodes):
    device = make(slots=1, **LONG)
    await device.sign(KEY, DIGEST)
    nodes[0].hold()
    task = asyncio.create_task(device.sign(KEY, DIGEST))
    await nodes[0].until_left(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not device.free()
    nodes[0].clear()
    async with asyncio.timeout(20), device.slot() as slot:
        assert await slot.sign(KEY, DIGEST)
    assert device.free()


async def test_a_slot_once_taken_is_nobody_else_s(make):
    device = make(slots=1)
    async with device.slot() as slot:
        other = asyncio.create_task(device.sign(KEY, DIGEST))
        assert not (await asyncio.wait({other}, timeout=0.2))[0]
        mine = await slot.sign(KEY, DIGEST)
    assert await other == mine


async def test_no_more_signatures_are_asked_at_a_time_than_there_are_slots(make, nodes):
    device = make(slots=2, **LONG)
    await device.sign(KEY, DIGEST)
    nodes[0].hold(6)
    asked = [asyncio.create_task(device.sign(KEY, DIGEST)) for _ in range(6)]
    await nodes[0].until_left(4)
    await asyncio.sleep(0.2)  # for a third one, if it came
    assert [fault["count"] for fault in nodes[0].left()] == [4]
    nodes[0].clear()
    assert len(await asyncio.gather(*asked)) == 6


async def test_a_reader_waits_for_no_signature(make, nodes):
    device = make(slots=1, **LONG)
    await device.sign(KEY, DIGEST)
    nodes[0].hold()
    signing = asyncio.create_task(device.sign(KEY, DIGEST))
    await nodes[0].until_left(0)
    async with asyncio.timeout(20):
        assert "PUBLIC KEY" in await device.public_key(KEY)
    assert not signing.done()
    nodes[0].clear()
    await signing


# Failover.


FAULTS = {
    "a node that is not operational": ("status", {"status": 412}),
    "a node that cannot read its store": ("status", {"status": 500}),
    "a gateway": ("status", {"status": 502}),
    "an exception that escapes, in plain text": ("status", {"status": 503}),
    "a connection that closes instead of an answer": ("drop-after-sign", {}),
    "no answer at all": ("hang", {}),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_another_node_signs_after(make, nodes, name):
    action, more = FAULTS[name]
    device = make(*nodes, deadline=30.0, answer_seconds=0.5)
    for node in nodes:
        await device.public_key(KEY)
        node.fault(action, **more)
    nodes[1].clear()
    for _ in range(3):  # whichever node comes first
        assert len(await device.sign(KEY, DIGEST)) == 64
    assert not device.failures


async def test_a_node_that_failed_is_left_alone_for_two_seconds_and_then_tried_again(make, nodes, clock, monkeypatch):
    monkeypatch.setattr("attestor.hsm.device._SHORTEST_WAIT", 0)  # or it lasts for ever
    clock.stop()
    device = make(*nodes)
    nodes[0].fault("status", count=50)
    for _ in range(8):
        await device.sign(KEY, DIGEST)
    assert len(nodes[0].left()) == 1
    assert nodes[0].left()[0]["count"] == 49
    clock.pass_by(1.9)
    await device.sign(KEY, DIGEST)
    assert nodes[0].left()[0]["count"] == 49
    clock.pass_by(0.2)
    for _ in range(8):
        await device.sign(KEY, DIGEST)
    assert nodes[0].left()[0]["count"] == 48


async def test_a_single_node_is_tried_again_within_the_deadline(make, nodes):
    device = make(deadline=30)
    nodes[0].fault("status", status=500)
    started = time.monotonic()
    assert await device.sign(KEY, DIGEST)
    assert time.monotonic() - started >= 2


async def test_a_wait_that_does_not_fit_the_deadline_fails_at_once(make, nodes):
    device = make(deadline=1.9)
    nodes[0].fault("status", status=500, count=9)
    with pytest.raises(Unavailable, match="hsm-unreachable"):
        await device.sign(KEY, DIGEST)
    assert nodes[0].left()[0]["count"] == 8


async def test_a_port_where_nothing_listens_is_only_another_node(make, nodes):
    nothing = NodeSettings("https://127.0.0.1:9", fingerprint="00" * 32)
    device = make(nothing, nodes[1])
    for _ in range(4):
        assert await device.sign(KEY, DIGEST)


async def test_a_refusal_is_not_asked_of_the_other_node(make, nodes):
    device = make(*nodes)
    for node in nodes:
        node.fault("status", status=400)
    with pytest.raises(Rejected, match="hsm-refused"):
        await device.sign(KEY, DIGEST)
    assert sum(len(node.left()) for node in nodes) == 1


async def test_the_pause_grows_by_half_up_to_thirty_seconds_and_calls_that_failed_together_count_once(nodes):
    connection = Connection(nodes[0].node())
    node, now = Node(connection, {}), asyncio.get_running_loop().time
    error = Unavailable("hsm-unreachable", "ordered by a test")
    pauses = []
    for _ in range(9):
        started = now()
        for _ in range(8):  # all under way when the first of them fails
            node._note("anyone", node._gates["anyone"], error, started)
        pauses.append(node.ready_in("anyone"))
        node._down_until = 0  # as if the pause were over
    connection.close()
    assert pauses == pytest.approx([2, 3, 4.5, 6.75, 10.125, 15.19, 22.78, 30, 30], abs=0.1)


# Logins.


async def test_a_wrong_passphrase_stops_that_user_at_once_on_all_nodes_and_others_go_on(make, nodes):
    device = make(*nodes)
    wrong = signing_key(Algorithm.P384, passphrase=Secret("not the passphrase"))
    before = [node.answered(401) for node in nodes]
    results = await asyncio.gather(*(device.sign(wrong, DIGEST) for _ in range(6)), return_exceptions=True)
    results += await asyncio.gather(*(device.sign(wrong, DIGEST) for _ in range(3)), return_exceptions=True)
    assert {type(result) for result in results} == {Forbidden}
    assert {result.code for result in results} == {"hsm-login"}
    asked = sum(node.answered(401) for node in nodes) - sum(before)
    assert 1 <= asked <= len(nodes)  # the first on each node may already be under way
    assert await device.sign(signing_key(Algorithm.P256), DIGEST)


async def test_after_someone_else_s_failed_login_calls_wait_a_second_and_go_one_by_one(make, nodes):
    key, device = signing_key(Algorithm.ED25519), make(deadline=30, slots=4)
    await device.sign(key, DIGEST)
    with pytest.raises(nethsm.NetHSMError):
        nodes[0].sdk(key.user, "a wrong passphrase").list_keys()
    before = nodes[0].answered(429)
    started = time.monotonic()
    await asyncio.gather(*(device.sign(key, DIGEST) for _ in range(8)))
    assert time.monotonic() - started >= 1
    assert 1 <= nodes[0].answered(429) - before <= 4  # those under way, and none of those that wait
    assert not device.failures


async def test_a_blocked_user_is_tried_on_the_other_node_at_once(make, nodes, clock, monkeypatch):
    key, device = signing_key(Algorithm.ED25519), make(*nodes)
    for _ in nodes:
        await device.public_key(key)
    monkeypatch.setattr("attestor.hsm.device._SHORTEST_WAIT", 0)
    clock.stop()
    before = nodes[1].operations()
    with pytest.raises(nethsm.NetHSMError):
        nodes[0].sdk(key.user, "a wrong passphrase").list_keys()
    for _ in range(4):
        await device.sign(key, DIGEST)
    assert nodes[1].operations() == before + 4, "though the first node's time is not over"


# Secrets.


FAILURES = {
    "a wrong passphrase": {"passphrase": Secret("sensitive: not the passphrase")},
    "a key that is not there": {"key_id": "nowhere"},
    "a passphrase that no header can carry": {"passphrase": Secret("sensitive \ud800 passphrase")},
}


@pytest.mark.parametrize("name", FAILURES)
async def test_no_passphrase_shows_in_anything_that_could_be_logged_of(make, name, caplog):
    caplog.set_level("DEBUG")
    key = signing_key(Algorithm.RSA, **FAILURES[name])
    with pytest.raises(Rejected) as caught:
        await make(deadline=3).sign(key, DIGEST)
    shown = whole_text(caught.value) + caplog.text + repr(key)
    assert "sensitive" not in shown
    assert OPERATOR not in shown
    assert "Authentication(" not in shown
    await asyncio.sleep(1.05 if name == "a wrong passphrase" else 0)


@pytest.mark.parametrize("status", [400, 403, 412, 429, 500, 503])
async def test_no_exception_of_the_sdk_hangs_on_ours(make, nodes, status):
    nodes[0].fault("status", status=status, count=3)
    with pytest.raises((Rejected, Unavailable)) as caught:
        await make(deadline=0.5).sign(KEY, DIGEST)
    shown = whole_text(caught.value)
    assert "nethsm.NetHSMError" not in shown
    assert "ApiException" not in shown
    assert OPERATOR not in shown


async def test_an_answer_is_not_logged_even_at_debug(make, caplog):
    caplog.set_level("DEBUG")
    signature = await make().sign(KEY, DIGEST)
    assert nethsm.Base64.encode(signature).data not in caplog.text


@pytest.mark.parametrize("wrong", [{"nodes": ()}, {"slots": 0}, {"deadline_seconds": 0}])
async def test_settings_without_node_slot_or_time_are_refused(nodes, wrong):
    values = {"nodes": (nodes[0].node(),), "slots": 1, "deadline_seconds": 1, "production": False}
    with pytest.raises(Rejected, match="hsm-settings"):
        Device(DeviceSettings(**values | wrong))


# Lanes.


async def test_a_lane_with_slots_of_its_own_waits_for_no_other(make):
    device = make(slots=2, reserved={Lane.DATABASE: 1})
    async with device.slot(Lane.PACKAGE):
        assert not device.free()
        async with asyncio.timeout(2), device.slot(Lane.DATABASE) as slot:
            assert await slot.sign(KEY, DIGEST)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), device.slot(Lane.IMAGE):
                pass


async def test_a_lane_whose_own_slots_are_taken_takes_a_shared_one(make):
    device = make(slots=2, reserved={Lane.DATABASE: 1})
    async with device.slot(Lane.DATABASE), asyncio.timeout(2), device.slot(Lane.DATABASE):
        assert not device.free()
    assert device.free()


async def test_one_slot_at_least_is_every_lanes(make):
    with pytest.raises(Rejected, match="hsm-settings"):
        make(slots=1, reserved={Lane.DATABASE: 1})
