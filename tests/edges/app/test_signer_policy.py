"""The signer's process under one policy after another: what it loads, what it waits for, and what it says of that."""

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import structlog

from attestor.app.policyfile import PolicyFile
from attestor.app.signer import SignerProcess, _next_job, _reload_on
from attestor.core.entries import PolicyEntry
from attestor.core.entrybytes import seal_entry
from attestor.core.errors import Rejected
from attestor.core.lanes import Lane
from attestor.core.policyfile import parse_policy
from attestor.core.tlog.merkle import EMPTY_ROOT
from attestor.service.conclude import Conclusions
from attestor.service.past import Past
from tests.logkeys import log_signer, log_table, seal
from tests.memorylog import MemoryLog
from tests.plainmemory import PlainMemory
from tests.service.makers import ORIGIN, make_policy

FIRST, SECOND = make_policy(serial=1), make_policy(serial=2)
ANCHOR = "ef" * 16


@dataclass(frozen=True)
class Sworn:
    """Of a signer, what its policy changes."""

    policy: object
    conclusions: object
    lease_seconds: float = 30.0


class Desk:
    """Where a signer takes its work, tells the log and says how it stands."""

    def __init__(self, log):
        self.log = log
        self.said, self.claims = [], 0
        self.spoken = asyncio.Event()

    async def report(self, status):
        self.said.append(status)
        self.spoken.set()

    async def tell(self, entry, _documents):
        self.log.grow([entry.entry])

    async def due(self, seconds):
        await asyncio.sleep(seconds)

    async def claim(self, _seconds, _last):
        self.claims += 1
        return SimpleNamespace()


@pytest.fixture
def signer():
    log = MemoryLog([], log_signer(ORIGIN))
    past = Past(log, PlainMemory(log_signer(ORIGIN).verifier.name, ANCHOR, 0, EMPTY_ROOT), FIRST, alone=True)
    desk, deployment = Desk(log), SimpleNamespace(policy=FIRST, holds=FIRST)
    deployment.read_policy = lambda: deployment.holds
    signing = Sworn(FIRST, Conclusions(desk, past, FIRST, seal()))
    process = SignerProcess(signing, past, desk, None, "signer-1", 0.001, seal(), PolicyFile(deployment), None)
    return SimpleNamespace(it=process, log=log, desk=desk, deployment=deployment)


async def another_logs(signer, policy):
    """Another signer has begun to decide under this policy, and this one has followed the log."""
    entry = PolicyEntry(serial=policy.serial, digest=policy.digest, anchor=ANCHOR)
    signer.log.grow([seal_entry(entry, seal())])
    assert await signer.it.past.follow()
    await signer.it.meet_policy()


def holds(process, policy):
    signing = process.signing
    return signing.policy is policy and signing.conclusions._policy is policy and process.past.policy_loaded is policy


def test_all_that_signs_is_of_the_policy_that_was_loaded_last(signer):
    before = signer.it.signing
    signer.it.load(SECOND)
    assert holds(signer.it, SECOND)
    # Who took the former one keeps it to the end, and is told that it is superseded before anything is signed.
    assert before.policy is FIRST
    assert asyncio.run(before.conclusions.superseded()).reason == "policy-changed"


def test_a_policy_without_the_signers_own_seal_is_refused_and_nothing_changes(signer):
    table = log_table(ORIGIN)
    text = SECOND.raw.decode().replace(table, log_table(ORIGIN, seals=("other",)))
    with pytest.raises(Rejected, match="seal-unlisted"):
        signer.it.load(parse_policy(text.encode(), "policy.toml"))
    assert holds(signer.it, FIRST)


async def test_a_newer_policy_in_the_log_has_it_look_for_the_file_once_and_say_what_it_waits_for(signer):
    with structlog.testing.capture_logs() as lines:
        await another_logs(signer, SECOND)
        await signer.it.meet_policy()
    assert [line["event"] for line in lines] == ["policy older"]
    assert signer.it.file.wanted.is_set()
    await signer.it.report()
    [said] = signer.desk.said
    assert (said.halted, said.code, said.policy_digest) == (False, "policy-older", FIRST.digest)
    assert "serial 2 is in force" in said.sentence


async def test_it_signs_on_once_it_has_loaded_what_the_log_names(signer):
    await another_logs(signer, SECOND)
    signer.deployment.holds = SECOND
    loading = asyncio.create_task(_reload_on(signer.it))
    async with asyncio.timeout(10):
        await signer.desk.spoken.wait()
    loading.cancel()
    assert (signer.desk.said[0].code, signer.desk.said[0].policy_digest) == ("signing", SECOND.digest)
    assert signer.it.behind is None


async def test_a_policy_that_was_loaded_is_logged_before_anything_is_decided_under_it(signer):
    signer.deployment.holds = SECOND
    signer.it.file.wanted.set()
    loading = asyncio.create_task(_reload_on(signer.it))
    async with asyncio.timeout(10):
        while await signer.it.past.policy() != (2, SECOND.digest):
            if await signer.log.checkpoint() is not None:
                await signer.it.past.follow()
            await asyncio.sleep(0.001)
    loading.cancel()


async def test_a_refused_file_is_said_to_everybody(signer):
    signer.it.file.refusal = Rejected("policy-serial", "Raise it.")
    await signer.it.report()
    assert signer.desk.said[0].code == "signing"
    assert signer.desk.said[0].sentence.endswith("The policy file was refused [policy-serial]: Raise it.")


async def test_one_that_is_behind_leaves_the_queue_to_others(signer, monkeypatch):
    """It takes one request now and then, so that a reason can be read where nobody else takes any."""
    waited = []

    async def until(_stop, awaited):
        waited.append(True)
        awaited.close()

    await another_logs(signer, SECOND)
    monkeypatch.setattr("attestor.app.signer.until", until)
    for number in range(1, 4):
        await _next_job(signer.it, asyncio.Event(), Lane.BULK)
        assert (signer.desk.claims, len(waited)) == (number, number)
