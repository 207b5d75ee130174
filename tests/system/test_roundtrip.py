"""The service as its operator sees it: the demo, restarts, killed children, and an end that loses nothing acknowledged."""

import asyncio
import os
import re
import signal
import subprocess
import sys

import pytest

from attestor.core.errors import Unavailable
from attestor.core.wire import SigningRequestAsk, Upload
from tests.system.conftest import short_folder
from tests.system.houses import artifact_of, package, statement_of, until

CONTENT = b"built alike by two"
MOVING = {"waiting", "queued", "claimed"}


def test_the_demo_goes_as_it_says(tool):
    tool("gpg")
    with short_folder() as place:
        demo = [sys.executable, "-m", "attestor", "demo", "--folder", str(place / "demo")]
        done = subprocess.run(demo, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    told = [(state, file) for line in lines for state, file in re.findall(r"^(signed|waiting|refused) +(\S+):", line)]
    assert told == [
        ("signed", "hello-1.0-1-any.pkg.tar.zst"),
        ("waiting", "clock-2.1-1-any.pkg.tar.zst"),
        ("signed", "extra.db.tar.gz"),
        ("signed", "demo-2026.01.01-x86_64.iso"),
        ("signed", "demo-2026.01.01-x86_64.qcow2"),
        ("refused", "notes-0.3-1-any.pkg.tar.zst"),
        ("refused", "hello-0.9-1-any.pkg.tar.zst"),
    ]
    assert sum(line.startswith("reached: 2 of 2") for line in lines) == 3
    assert any(line.startswith("disputed: ") and "carol" in line for line in lines)
    assert sum(line.startswith("gpg: good signature on ") for line in lines) == 4


@pytest.fixture
def kept(house):
    """The service of all, ended and killed here, and up again for whoever comes next."""
    try:
        yield house
    finally:
        if house.process.poll() is not None:
            house.start()


async def _asked(house, client, name):
    """Two attest, the build service asks and uploads; the request as it was then."""
    await house.attest(name, CONTENT, "alice", "bob")
    asked = await client.ask(SigningRequestAsk(name, artifact_of(CONTENT), Upload()))
    if asked.content_present:
        return asked
    file = house.folder.parent / "file"
    file.write_bytes(CONTENT)
    return await client.upload(asked.id, file, lambda _count: None)


async def _signature(client, asked):
    seen = await until(lambda: client.request(asked.id, wait_seconds=5), lambda seen: seen.state not in MOVING, 60)
    assert seen.state == "signed", seen
    return await client.signature(asked.id)


async def test_signatures_outlive_a_restart_and_signing_goes_on(kept):
    async with kept.client() as client:
        before = await _asked(kept, client, package("before"))
        signature = await _signature(client, before)
    assert await asyncio.to_thread(kept.stop) == 0
    await asyncio.to_thread(kept.start)
    async with kept.client() as client:
        assert await client.signature(before.id) == signature
        again = await client.ask(SigningRequestAsk(package("before"), artifact_of(CONTENT), Upload()))
        assert (again.id, again.state) == (before.id, "signed")
        assert await _signature(client, await _asked(kept, client, package("after")))


async def test_a_killed_signer_comes_back_and_nobody_sees_more_than_a_wait(kept):
    async with kept.client() as client:
        dead = kept.roles()["signer"]
        os.kill(dead, signal.SIGKILL)
        asked = await _asked(kept, client, package("orphaned"))
        assert asked.state in MOVING
        assert await _signature(client, asked)
    assert kept.roles()["signer"] != dead


async def test_a_killed_api_comes_back_and_a_patient_client_sees_only_answers(kept):
    name = package("interrupted")
    async with kept.client() as client, kept.client(patience_seconds=0) as hasty:
        asked = await _asked(kept, client, name)
        signature = await _signature(client, asked)
        dead = kept.roles()["api"]
        os.kill(dead, signal.SIGKILL)
        with pytest.raises(Unavailable):
            await _forever(lambda: hasty.signature(asked.id))
        assert await client.signature(asked.id) == signature
        assert await _signature(client, await _asked(kept, client, package("resumed")))
    assert kept.roles()["api"] != dead


async def _forever(call):
    async with asyncio.timeout(20):
        while True:
            await call()


async def test_whatever_was_acknowledged_while_the_service_ended_is_there_after_it_starts_again(kept):
    acknowledged = []
    key = kept.key("alice")

    async def submit(lane, submitter):
        for number in range(10_000):
            name = package(f"leaving-{lane}-{number}")
            receipt = await submitter.submit(statement_of(key, name, CONTENT))
            acknowledged.append(receipt.releases[0].id)

    async with kept.submitter(patience_seconds=0, connections=8) as submitter:
        lanes = [asyncio.create_task(submit(lane, submitter)) for lane in range(8)]
        await until(lambda: asyncio.sleep(0, len(acknowledged)), lambda count: count >= 100)
        ended = asyncio.create_task(asyncio.to_thread(kept.stop))
        outcomes = await asyncio.gather(*lanes, return_exceptions=True)
        assert await ended == 0
    assert {type(outcome) for outcome in outcomes} <= {Unavailable, *Unavailable.__subclasses__()}
    await asyncio.to_thread(kept.start)
    async with kept.submitter() as reader:
        found = [line async for line in _every_release(reader)]
    assert set(acknowledged) <= {line.id for line in found if line.decision.agreeing == ("alice",)}


async def _every_release(reader):
    cursor = ""
    while cursor is not None:
        page = await reader.releases(limit=500, cursor=cursor or None)
        for line in page.releases:
            yield line
        cursor = page.cursor
