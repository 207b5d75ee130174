"""kill -9 at every step of signing: whatever died, there is one signature in the end, the log names it, and every read gives its bytes.

In CI at every step; elsewhere at every third, from one of the first three on that is drawn anew in each run and printed.
"""

import asyncio
import base64
import json
import os
import secrets
import subprocess
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from attestor.app.clock import now
from attestor.app.sequencer import SequencerProcess, sequence_until
from attestor.content.spool import Spool
from attestor.core.entries import DecisionEntry, PolicyEntry, SignatureEntry
from attestor.core.entrybytes import read_entry
from attestor.core.limits import Rates
from attestor.embedded.device import emulator
from attestor.openpgp.approvers import Approvers
from attestor.service.logcheck import check_log
from attestor.service.sequence import Sequencer
from attestor.store.approvals import PostgresApprovals
from attestor.store.archive import PostgresArchive
from attestor.store.ledger import PostgresLedger
from attestor.store.listen import Listener, listening
from attestor.store.log import PostgresLog, PostgresLogBook
from attestor.store.migrate import migrate
from attestor.store.pool import Settings, connect
from tests.edges.hsm.nodes import Running
from tests.logkeys import log_signer
from tests.service.conftest import FREE, Anybody, Noting
from tests.service.loghouse import close_memories, following
from tests.service.makers import BUILDER, ORIGIN, asking, deb, lines_of, make_policy, package, vote
from tests.service.signers import device_of, make_certificates, make_signing, sign_next, verified
from tests.system.crash_driver import AnyPolicyQueue

GOOD = b"the package"
REPOSITORY = Path(__file__).resolve().parents[2]
EVERY = 1 if os.environ.get("CI") else 3
AWAITS = ("suspends", "resumes")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def emulated(tmp_path_factory):
    async with emulator(tmp_path_factory.mktemp("hsm")) as started:
        running = Running(started).set_up()
        yield running, await make_certificates(running)


@pytest.fixture
def gpg(tool, emulated, tmp_path):
    """`gpg(signature)`: whether it accepts it as one of the content by a key of ours."""
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    for name, content in {**emulated[1], "file": GOOD}.items():
        (home / name).write_bytes(content)
    program = [tool("gpg"), "--homedir", home, "--batch", "--quiet", "--no-autostart", "--trust-model", "always"]
    subprocess.run([*program, "--import", *(home / name for name in emulated[1])], check=True, capture_output=True)

    def accepts(signature):
        (home / "file.sig").write_bytes(signature)
        done = subprocess.run(
            [*program, "--verify", home / "file.sig", home / "file"], check=False, capture_output=True
        )
        return done.returncode == 0

    return accepts


class Site:
    """A database of its own with agreed requests in it, and what looks at it."""

    def __init__(self, dsn_of, owner, gate, folder, emulated):
        self.dsn_of = dsn_of
        self.owner = owner
        self.gate = gate
        self.folder = folder
        self.running, self.certificates = emulated

    async def open_requests(self, make_release, count):
        """Their ids, in the order in which they are claimed."""
        releases = [make_release(f"name{number}") for number in range(count)]
        votes = [vote(release, GOOD, "alice", "bob") for release in releases]
        async for answer in self.gate.admit_batch(lines_of(*votes)):
            assert answer.releases[0].decision.state == "reached"
        for release in releases:
            (self.folder / "files" / release.file_name).write_bytes(GOOD)
        return [(await self.gate.ask(BUILDER, asking(release, GOOD)))[0].id for release in releases]

    @asynccontextmanager
    async def sequencing(self):
        """A sequencer's process at work."""
        settings = Settings(self.dsn_of("attestor_sequencer"), connections=3)
        async with connect(settings) as pool, listening(settings) as listener:
            book = PostgresLogBook(pool, listener)
            sequencer = Sequencer(book, log_signer(ORIGIN), publish=True)
            stop = asyncio.Event()
            process = SequencerProcess(book, sequencer, make_policy().log, 0.2)
            task = asyncio.create_task(sequence_until(process, stop))
            try:
                yield
            finally:
                stop.set()
                await task

    async def deaths(self, *places):
        """The last step at which each (victim, moment) died."""
        plan = {"deaths": places, "first": 1 + secrets.randbelow(EVERY), "every": EVERY}
        plan |= {"folder": str(self.folder), "dsn": self.dsn_of("attestor_signer")}
        plan |= {"dsn_sequencer": self.dsn_of("attestor_sequencer")}
        plan |= {"url": self.running.url, "fingerprint": self.running.fingerprint}
        plan["certificates"] = {name: base64.b64encode(raw).decode() for name, raw in self.certificates.items()}
        (self.folder / "plan.json").write_text(json.dumps(plan))
        command = (sys.executable, "-m", "tests.system.crash_driver", str(self.folder / "plan.json"))
        driver = await asyncio.create_subprocess_exec(*command, cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE)
        said, _ = await driver.communicate()
        assert driver.returncode == 0
        deaths = json.loads(said)
        print(plan["first"], EVERY, deaths)  # noqa: T201 - the report of a run shows which there were
        return deaths

    async def logged(self):
        """Once nothing waits any more."""
        while await self.owner.fetchval("SELECT EXISTS (SELECT FROM log_outbox)"):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.005)

    async def entries(self):
        return [
            read_entry(row["entry"]) for row in await self.owner.fetch("SELECT entry FROM log_entries ORDER BY idx")
        ]

    async def end_leases(self):
        await self.owner.execute(
            "UPDATE signing_requests SET lease_until = now() - interval '1 second' WHERE state = 'claimed'"
        )

    @asynccontextmanager
    async def signing(self, policy=None):
        """A signer that nobody kills."""
        async with connect(Settings(self.dsn_of("attestor_signer"))) as pool:
            device = device_of(self.running.node())
            parts = {"policy": policy, "queue": AnyPolicyQueue(pool, policy)} if policy else {}
            signing = make_signing(pool, Listener(), device, self.certificates, self.folder, **parts)
            async with following(signing.past):
                yield signing
            device.close()
            await close_memories()

    async def signatures(self):
        return {row["release_id"]: row["signature"] for row in await self.owner.fetch("SELECT * FROM signatures")}

    async def refuse_inconsistency(self):
        """Whatever the moment: one digest a release, one signature a key, none without its digest."""
        twice = "SELECT release_id, key_fingerprint FROM signatures GROUP BY 1, 2 HAVING count(*) > 1"
        assert await self.owner.fetch(twice) == []
        stray = "SELECT FROM signatures s LEFT JOIN signed_digests d USING (release_id, sha256) WHERE d.sha256 IS NULL"
        assert await self.owner.fetch(stray) == []
        unmarked = """SELECT FROM signatures s JOIN signing_requests q ON q.id = s.request_id WHERE q.state <> 'signed'
                      UNION ALL SELECT FROM signing_requests q WHERE q.state = 'signed'
                      AND NOT EXISTS (SELECT FROM signatures s WHERE s.request_id = q.id)"""
        assert await self.owner.fetch(unmarked) == []
        await self.refuse_unlogged()

    async def refuse_unlogged(self):
        """The log is right by all its rules; of each request it names one decision, and of signatures those that are held."""
        await self.logged()
        policy = make_policy().log
        report = await check_log(PostgresLog(self.owner), policy.key, lambda *_: None, seals=policy.seals)
        assert report.findings == ()
        entries = await self.entries()
        signed = {(each.release, each.signature): each.decision for each in entries if isinstance(each, SignatureEntry)}
        held = {(release.hex(), sha256(raw).hexdigest()) for release, raw in (await self.signatures()).items()}
        assert signed.keys() == held
        assert all(isinstance(entries[decision], DecisionEntry) for decision in signed.values())
        decisions = Counter(each.request for each in entries if isinstance(each, DecisionEntry))
        assert set(decisions.values()) <= {1}, "a later claim takes up the decision that is there"
        assert report.kinds.get("signature", 0) == len(held)


@pytest_asyncio.fixture
async def site(database, postgres, emulated, tmp_path):
    await migrate(database)
    (tmp_path / "files").mkdir()
    name = database.rpartition("?")[0].rpartition("/")[2]
    dsn_of = lambda role: postgres.dsn(role, name)
    async with AsyncExitStack() as stack:
        owner = await stack.enter_async_context(asyncpg.create_pool(database, min_size=1, max_size=2))
        api = await stack.enter_async_context(connect(Settings(dsn_of("attestor_api"))))
        gate = Anybody(
            ledger=PostgresLedger(api),
            policy=make_policy(),
            spool=Spool(tmp_path / "spool", max_bytes=1 << 20, max_total_bytes=1 << 24),
            watch=Listener(),
            log=PostgresLog(api),
            archive=PostgresArchive(api),
            approvals=PostgresApprovals(api),
            verify_approval=Approvers().verify,
            lookout=Noting(),
            now=now,
            rates=Rates(requests=FREE, replays=FREE, payloads=FREE),
            ticks=time.monotonic_ns,
        )
        yield Site(dsn_of, owner, gate, tmp_path, emulated)


async def _sign_all(signing):
    while await sign_next(signing):
        pass


async def _sign_until(ended, signing):
    while not ended.done():
        await sign_next(signing)


async def signed_in_the_end(site, requests, key, policy=None):
    """Each request has one signature, which verifies and which every read gives; what was stored once is never replaced."""
    early = await site.signatures()
    await site.end_leases()
    async with site.signing(policy) as signing:
        await asyncio.gather(*[_sign_all(signing) for _ in range(4)])
    await site.refuse_inconsistency()
    late = await site.signatures()
    assert len(late) == len(requests)
    assert early.items() <= late.items()
    for request in requests:
        view = await site.gate.request(BUILDER, request)
        assert (view.state, view.tries <= 2) == ("signed", True)
        _, signature = await site.gate.signature(BUILDER, request)
        assert signature == late[bytes.fromhex(view.release_id)]
        verified(site.certificates, key, signature, GOOD)
    return signature


# The two differ in the device's part alone, whose second answer is the same with Ed25519 and a new one with P-256.
@pytest.mark.parametrize(
    ("make_release", "key", "moment"),
    [(package, "packages", "suspends"), (deb, "debs", "resumes")],
    ids=["Ed25519", "P-256"],
)
async def test_a_signer_killed_at_any_await_leaves_one_signature_or_a_request_to_sign(
    site, gpg, make_release, key, moment
):
    async with site.sequencing():
        requests = await site.open_requests(make_release, 10 + 90 // EVERY)
        [awaits] = (await site.deaths(("signer", moment))).values()
        assert awaits > 50, awaits
        await site.refuse_inconsistency()
        states = await site.owner.fetch("SELECT DISTINCT state FROM signing_requests")
        assert {row["state"] for row in states} == {"queued", "claimed", "signed"}, "some died before, during, after"
        signature = await signed_in_the_end(site, requests, key)
        assert gpg(signature)


async def test_a_signer_killed_while_it_logs_its_policy_leaves_the_request_to_the_next_that_has_one(site):
    async with site.sequencing():
        requests = await site.open_requests(package, 10 + 20 // EVERY)
        deaths = await site.deaths(*(("newcomer", moment) for moment in AWAITS))
        assert all(awaits > 5 for awaits in deaths.values()), deaths
        await site.refuse_inconsistency()
        serials = [each.serial for each in await site.entries() if isinstance(each, PolicyEntry)]
        assert serials == list(range(1, len(serials) + 1))
        await signed_in_the_end(site, requests, "packages", make_policy(serial=len(serials) + 1))


async def test_a_follower_killed_at_any_step_leaves_a_memory_that_goes_on(site):
    async with site.sequencing():
        requests = await site.open_requests(package, 10 + 110 // EVERY)
        # The rebuilder first: each entry that a signer sealed adds to its steps.
        places = [("rebuilder", "before"), ("disk", "before"), *(("follower", moment) for moment in AWAITS)]
        deaths = await site.deaths(*places)
        assert all(steps > 12 for steps in deaths.values()), deaths
        await site.refuse_inconsistency()
        await signed_in_the_end(site, requests, "packages")


async def test_a_sequencer_killed_at_any_await_leaves_what_waits_to_the_next(site):
    requests = await site.open_requests(package, 10 + 50 // EVERY)
    killing = asyncio.create_task(site.deaths(*(("sequencer", moment) for moment in AWAITS)))
    while not await site.owner.fetchval("SELECT published > 0 FROM log_state"):  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.01)
    async with site.signing() as signing:
        signer = asyncio.create_task(_sign_until(killing, signing))
        deaths = await killing
        # What the signer was just telling the log is still waited for.
        async with site.sequencing():
            await signer
    assert all(awaits > 15 for awaits in deaths.values()), deaths
    async with site.sequencing():
        await site.refuse_inconsistency()
        await signed_in_the_end(site, requests, "packages")
