"""Every try at a signature is counted before the device is asked, and what the device counts is read back."""

import asyncio
import hashlib

import nethsm
import pytest

from attestor.core.algorithm import Algorithm
from attestor.core.errors import Rejected, Unavailable
from attestor.embedded.device import emulator
from attestor.hsm.connection import NodeSettings
from tests.edges.hsm.nodes import ADMIN, Running, count_nowhere, signing_key

pytestmark = pytest.mark.asyncio(loop_scope="module")
DIGEST = hashlib.sha512(b"bytes of a release").digest()
KEY = signing_key()
GONE = NodeSettings("https://127.0.0.1:1", fingerprint="0" * 64, connect_seconds=0.2)


class Counting:
    """Counts, and knows what the device had counted at that moment."""

    def __init__(self, node):
        self.node, self.seen = node, []

    async def __call__(self, place):
        assert place == KEY.place
        self.seen.append(await asyncio.to_thread(self.node.operations))


async def test_each_signature_is_counted_before_the_device_has_made_it(make, nodes):
    count = Counting(nodes[0])
    device, before = make(count=count), nodes[0].operations()
    for _ in range(3):
        await device.sign(KEY, DIGEST)
    assert count.seen == [before, before + 1, before + 2]
    assert await device.operations([KEY]) == {KEY.place: before + 3}
    assert KEY.place == "/key-ed25519"
    assert signing_key(user="release~packages").place == "release/key-ed25519"


@pytest.mark.parametrize(
    ("fault", "made"), [("drop-after-sign", 2), ("status", 1)], ids=["made, and the answer lost", "not made"]
)
async def test_each_try_counts_whether_or_not_the_device_made_it(make, nodes, fault, made):
    count = Counting(nodes[0])
    device, before = make(count=count, deadline=30.0), nodes[0].operations()
    await device.public_key(KEY)
    nodes[0].fault(fault)
    await device.sign(KEY, DIGEST)
    assert len(count.seen) == 2
    assert nodes[0].operations() == before + made


async def test_a_call_past_its_deadline_is_counted(make, nodes, clock):
    count = Counting(nodes[0])
    device, before = make(count=count, deadline=60.0, answer_seconds=60.0), nodes[0].operations()
    nodes[0].hold()
    task = asyncio.create_task(device.sign(KEY, DIGEST))
    await nodes[0].until_left(0)
    clock.pass_by(60)
    with pytest.raises(Unavailable, match="hsm-deadline"):
        await task
    assert count.seen == [before]
    nodes[0].clear()
    # For the device makes it all the same.
    async with asyncio.timeout(20):
        while nodes[0].operations() == before:  # noqa: ASYNC110 - another process moves it
            await asyncio.sleep(0.05)


async def test_while_a_node_is_away_no_counts_pile_up(make, nodes):
    count = Counting(nodes[0])
    device = make(GONE, count=count, deadline=1.9)
    with pytest.raises(Unavailable, match="hsm-unreachable"):
        await device.sign(KEY, DIGEST)
    assert count.seen == []


async def test_what_cannot_be_counted_is_not_asked_and_is_no_failure_of_the_node(make, nodes):
    async def full(_place):
        raise Unavailable("operations-unavailable", "The disk is full.")

    device, before = make(count=full), nodes[0].operations()
    with pytest.raises(Unavailable, match="operations-unavailable"):
        await device.sign(KEY, DIGEST)
    assert nodes[0].operations() == before
    # The node is not left alone for it.
    assert await device.public_key(KEY)


async def test_a_device_that_counts_nowhere_signs_nothing(make, nodes):
    device, before = make(count=None), nodes[0].operations()
    with pytest.raises(Rejected, match="hsm-uncounted"):
        await device.sign(KEY, DIGEST)
    assert nodes[0].operations() == before


async def test_of_several_nodes_the_one_that_knows_of_most_is_believed(make, nodes):
    await make(nodes[1], count=count_nowhere).sign(KEY, DIGEST)
    most = max(node.operations() for node in nodes[:2])
    assert await make(*nodes[:2]).operations([KEY]) == {KEY.place: most}
    assert await make(GONE, nodes[0]).operations([KEY]) == {KEY.place: nodes[0].operations()}
    with pytest.raises(Unavailable, match="hsm-operations-unread"):
        await make(GONE).operations([KEY])


async def test_a_device_that_loses_its_power_knows_of_fewer_uses(tmp_path, make):
    async with emulator(tmp_path / "device", flags=("--lose-operations",)) as started:
        node = Running(started).set_up()
        # Whatever else is changed is written with all the counts of that moment.
        node.sdk("admin", ADMIN).set_unattended_boot(nethsm.UnattendedBootStatus.ON)
        device = make(node)
        for _ in range(3):
            await device.sign(KEY, DIGEST)
        assert node.operations(Algorithm.ED25519) == 3
    async with emulator(tmp_path / "device") as started:
        assert Running(started).operations(Algorithm.ED25519) == 0
