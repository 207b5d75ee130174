"""kill -9 at every await of signing: whatever died, there is one signature in the end, and every read gives its bytes."""

import asyncio
import base64
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from attestor.app.clock import now
from attestor.content.spool import Spool
from attestor.embedded.device import emulator
from attestor.service.gate import Gate
from attestor.service.sign import sign_next
from attestor.store.archive import PostgresArchive
from attestor.store.ledger import PostgresLedger
from attestor.store.listen import Listener
from attestor.store.log import PostgresLog
from attestor.store.migrate import migrate
from attestor.store.pool import Settings, connect
from tests.edges.hsm.nodes import Running
from tests.service.makers import BUILDER, asking, deb, lines_of, make_policy, package, vote
from tests.service.signers import device_of, make_certificates, make_signing, verified

GOOD = b"the package"
REQUESTS = 110
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def emulated(tmp_path_factory):
    async with emulator(tmp_path_factory.mktemp("hsm")) as started:
        running = Running(started).set_up()
        yield running, await make_certificates(running)


async def opened_requests(gate, make_release, files):
    releases = [make_release(f"name{number}") for number in range(REQUESTS)]
    async for answer in gate.admit_batch(lines_of(*[vote(release, GOOD, "alice", "bob") for release in releases])):
        assert answer.releases[0].decision.state == "reached"
    for release in releases:
        (files / release.file_name).write_bytes(GOOD)
    return [(await gate.ask(BUILDER, asking(release, GOOD)))[0].id for release in releases]


async def killed_everywhere(plan_file):
    command = (sys.executable, "-m", "tests.system.crash_driver", str(plan_file))
    driver = await asyncio.create_subprocess_exec(*command, cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE)
    said, _ = await driver.communicate()
    assert driver.returncode == 0
    return json.loads(said)


async def refuse_inconsistency(owner):
    """Whatever the moment: one digest a release, one signature a key, none without its digest."""
    twice = "SELECT release_id, key_fingerprint FROM signatures GROUP BY 1, 2 HAVING count(*) > 1"
    assert await owner.fetch(twice) == []
    stray = "SELECT FROM signatures s LEFT JOIN signed_digests d USING (release_id, sha256) WHERE d.sha256 IS NULL"
    assert await owner.fetch(stray) == []
    unmarked = """SELECT FROM signatures s JOIN signing_requests q ON q.id = s.request_id WHERE q.state <> 'signed'
                  UNION ALL SELECT FROM signing_requests q WHERE q.state = 'signed'
                  AND NOT EXISTS (SELECT FROM signatures s WHERE s.request_id = q.id)"""
    assert await owner.fetch(unmarked) == []


@pytest.mark.parametrize(("make_release", "key"), [(package, "packages"), (deb, "debs")], ids=["Ed25519", "P-256"])
async def test_a_kill_at_any_await_leaves_one_signature_or_a_request_to_sign(  # noqa: PLR0917 - fixtures
    database, postgres, emulated, tmp_path, make_release, key
):
    running, certificates = emulated
    await migrate(database)
    name = database.rpartition("?")[0].rpartition("/")[2]
    (tmp_path / "files").mkdir()
    plan_file = tmp_path / "plan.json"
    plan = {"dsn": postgres.dsn("attestor_signer", name), "folder": str(tmp_path)}
    plan |= {"url": running.url, "fingerprint": running.fingerprint}
    plan["certificates"] = {which: base64.b64encode(raw).decode() for which, raw in certificates.items()}
    plan_file.write_text(json.dumps(plan))
    async with AsyncExitStack() as stack:
        owner = await asyncpg.connect(database)
        stack.push_async_callback(owner.close)
        api = await stack.enter_async_context(connect(Settings(postgres.dsn("attestor_api", name))))
        spool = Spool(tmp_path / "spool", max_bytes=1 << 20, max_total_bytes=1 << 24)
        gate = Gate(
            ledger=PostgresLedger(api),
            policy=make_policy(),
            spool=spool,
            watch=Listener(),
            log=PostgresLog(api),
            archive=PostgresArchive(api),
            now=now,
        )
        requests = await opened_requests(gate, make_release, tmp_path / "files")

        came_through = await killed_everywhere(plan_file)
        assert all(awaits > 20 for awaits in came_through.values()), came_through
        await refuse_inconsistency(owner)
        states = {
            row["state"]: row["n"]
            for row in await owner.fetch("SELECT state, count(*) AS n FROM signing_requests GROUP BY 1")
        }
        assert set(states) == {"queued", "claimed", "signed"}, "some died before, some during, some after"
        early = {row["release_id"]: row["signature"] for row in await owner.fetch("SELECT * FROM signatures")}

        await owner.execute(
            "UPDATE signing_requests SET lease_until = now() - interval '1 second' WHERE state = 'claimed'"
        )
        signer = await stack.enter_async_context(connect(Settings(postgres.dsn("attestor_signer", name))))
        device = device_of(running.node())
        stack.callback(device.close)
        signing = make_signing(signer, Listener(), device, certificates, tmp_path)
        while await sign_next(signing):
            pass

        await refuse_inconsistency(owner)
        assert await owner.fetchval("SELECT count(*) FROM signatures") == REQUESTS
        late = {row["release_id"]: row["signature"] for row in await owner.fetch("SELECT * FROM signatures")}
        assert early.items() <= late.items(), "what was stored once is never replaced"
        for request in requests:
            view = await gate.request(BUILDER, request)
            assert (view.state, view.tries <= 2) == ("signed", True)
            _, signature = await gate.signature(BUILDER, request)
            assert signature == late[bytes.fromhex(view.release_id)]
            verified(certificates, key, signature, GOOD)
