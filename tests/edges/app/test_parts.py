"""What readiness says of signers and log."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from attestor.app import parts
from attestor.app.parts import log_probe, policy_probe, signer_probe, standing
from attestor.core.errors import Rejected
from attestor.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestor.core.tlog.merkle import EMPTY_ROOT
from attestor.service.ports import HeldRequests, SignerStatus
from attestor.store.progress import LogProgress
from tests.logkeys import log_policy, log_signer

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ORIGIN = "attestor.example.org"
OURS = "ab" * 32


class Ledger:
    def __init__(self, *statuses):
        self.statuses = statuses

    async def signers(self):
        return list(self.statuses)


def status(instance="signer-1", *, ago=1, halted=False):
    code, sentence = ("log-forked", "There are two logs.") if halted else ("signing", "Signs.")
    return SignerStatus(instance, halted, code, sentence, 7, "ab" * 32, NOW - timedelta(seconds=ago))


@pytest.mark.parametrize(
    ("statuses", "ready", "said"),
    [
        pytest.param([], False, "no signer has reported", id="none at all"),
        pytest.param([status()], True, "signer-1 spoke 1 s ago, anchor at 7 entries", id="one at work"),
        pytest.param([status(ago=30)], True, "spoke 30 s ago", id="one that is about to speak"),
        pytest.param([status(ago=31)], False, "spoke 31 s ago", id="one that is silent"),
        pytest.param([status(ago=-4)], True, "spoke 0 s ago", id="one whose clock is a little ahead"),
        pytest.param([status(halted=True)], False, "signer-1 halted [log-forked]: There are two logs.", id="one that halted"),
        pytest.param([status(), status("b", halted=True)], False, "b halted", id="one of two halted"),
        pytest.param([status(), status("b", ago=90)], False, "b spoke 90 s ago", id="one of two is silent"),
        pytest.param([status(), status("b", ago=86_400)], True, "signer-1 spoke", id="one of two was taken away"),
        pytest.param([status(ago=86_400, halted=True)], False, "no signer has reported", id="none for a day"),
    ],
)  # fmt: skip
async def test_signers_are_ready_when(statuses, ready, said):
    part = await signer_probe(Ledger(*statuses), lambda: NOW)()
    assert (part.part, part.ready) == ("signer", ready)
    assert said in part.detail


async def test_a_signer_that_waits_for_a_policy_says_so():
    waiting = replace(status(), code="policy-older", sentence="It waits.")
    part = await signer_probe(Ledger(waiting), lambda: NOW)()
    assert (part.ready, part.detail.endswith("[policy-older]: It waits.")) == (True, True)


def in_force(log=None, *, digest=OURS, refusal=None):
    return SimpleNamespace(policy=SimpleNamespace(serial=4, digest=digest, log=log), refusal=refusal)


@pytest.mark.parametrize(
    ("digest", "refusal", "said"),
    [
        pytest.param(OURS, None, f"serial 4, sha256 {OURS}", id="all have the same"),
        pytest.param("cd" * 32, None, "another one is in force at signer-1: what they would sign waits", id="a signer has another"),
        pytest.param(OURS, Rejected("policy-serial", "Raise it."), "the file was refused [policy-serial]: Raise it.", id="refused"),
    ],
)  # fmt: skip
async def test_readiness_says_which_policy_is_in_force_and_what_keeps_another_from_it(digest, refusal, said):
    silent = status("silent", ago=31)
    part = await policy_probe(Ledger(status(), silent), in_force(digest=digest, refusal=refusal), lambda: NOW)()
    assert (part.part, part.ready, part.detail.endswith(said)) == ("policy", True, True)


class Source:
    def __init__(self, note):
        self.note = note

    async def checkpoint(self):
        return self.note


def checkpoint(origin=ORIGIN, name="log"):
    signer = log_signer(origin, name)
    return sign_checkpoint(Checkpoint(signer.verifier.name, 0, EMPTY_ROOT), signer)


@pytest.mark.parametrize(
    ("held", "backlog", "ready", "said"),
    [
        pytest.param(None, None, True, "3 of 5 entries are published", id="all of it is published"),
        pytest.param(59.0, None, True, "the rest waits for 2 witnesses", id="witnesses take a moment"),
        pytest.param(61.0, None, False, "the rest waits for 2 witnesses", id="witnesses are silent"),
        pytest.param(None, 9.0, True, "3 of 5 entries are published", id="the sequencer takes a moment"),
        pytest.param(None, 11.0, False, "the next waits for 11 s", id="no sequencer appends"),
    ],
)
async def test_the_log_is_ready_when(monkeypatch, held, backlog, ready, said):
    async def progress(_pool):
        return LogProgress(5, 3, held, backlog, 0)

    monkeypatch.setattr(parts, "log_progress", progress)
    witnesses = {"a": "https://a.example", "b": "https://b.example"}
    part = await log_probe(Source(checkpoint()), None, in_force(log_policy(ORIGIN, quorum=2, witnesses=witnesses)))()
    assert (part.part, part.ready, part.age_seconds) == ("log", ready, held or backlog or 0.0)
    assert said in part.detail


async def test_a_log_without_checkpoint_is_not_ready():
    part = await log_probe(Source(None), None, in_force(log_policy(ORIGIN)))()
    assert (part.ready, part.detail) == (False, "no checkpoint: is a sequencer running?")


async def test_another_log_than_the_policys_is_not_ready():
    with pytest.raises(Rejected):
        await log_probe(Source(checkpoint("other.example.org")), None, in_force(log_policy(ORIGIN)))()


async def test_metrics_show_what_readiness_counts(monkeypatch):
    async def progress(_pool):
        return LogProgress(5, 3, None, 4.0, 2)

    async def held(_pool):
        return [HeldRequests("waiting", "quota-used", 3, 0)]

    monkeypatch.setattr(parts, "log_progress", progress)
    monkeypatch.setattr(parts, "held_requests", held)
    halted, gone = status(halted=True), status("old", ago=100_000)
    read = await standing(Ledger(halted, gone), None, in_force(), lambda: NOW)()
    assert (read.signers, read.size, read.published) == ([halted], 5, 3)
    assert (read.policy_serial, read.policy_digest) == (4, OURS)
    assert (read.backlog_seconds, read.refused) == (4.0, 2)
    assert read.held == [HeldRequests("waiting", "quota-used", 3, 0)]
