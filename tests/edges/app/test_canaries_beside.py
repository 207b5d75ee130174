"""Canaries in the signer's process: made beside requests, and not at all by a signer that halted or has an older policy."""

import asyncio
from types import SimpleNamespace

import pytest
import structlog

from attestor.app.ending import halted_among
from attestor.app.signer import SignerProcess, sign_until
from attestor.core.errors import Halted, Rejected, Unavailable
from attestor.core.lanes import Lane


class Past:
    """Follows an idle log, and halts at the call of this number."""

    def __init__(self, halts_at=None):
        self.calls, self.halts_at = 0, halts_at

    async def follow(self):
        self.calls += 1
        if self.calls == self.halts_at:
            raise Halted("log-forked", "There are two logs.")
        return False

    async def policy(self):
        return None

    async def size(self):
        return 0

    async def forged(self):
        return 0

    async def look_again(self):
        pass

    async def wanted(self, _seconds):
        pass


class Desk:
    async def report(self, status):
        pass

    async def claim(self, *_how):
        return None

    async def due(self, seconds):
        await asyncio.sleep(seconds)

    async def logged(self, seconds):
        await asyncio.sleep(seconds)


class Canaries:
    """Says what each of them came to, and stops the process after some rounds."""

    def __init__(self, stop, *rounds):
        self.stop, self.rounds, self.asked = stop, list(rounds), 0

    async def make_due(self):
        self.asked += 1
        came = self.rounds.pop(0) if self.rounds else {}
        if not self.rounds:
            self.stop.set()
        if isinstance(came, BaseException):
            raise came
        return came


def process(past, canaries):
    policy = SimpleNamespace(serial=1, digest="ab" * 32)
    desk, file = Desk(), SimpleNamespace(wanted=asyncio.Event(), refusal=None)
    signing = SimpleNamespace(policy=policy, lease_seconds=30.0)
    steady = SimpleNamespace(keep=lambda: None)
    return SignerProcess(signing, past, desk, desk, "signer-1", 0.001, None, file, steady, None, canaries)


async def signs(past, canaries, stop):
    async with asyncio.timeout(20):
        await sign_until(process(past, canaries), stop, workers=[Lane.BULK])


async def test_each_round_is_told_and_what_kept_one_key_keeps_no_other():
    stop = asyncio.Event()
    refused = Rejected("hsm-refused", "The key is gone.")
    canaries = Canaries(stop, Unavailable("database-unavailable", "It is away."), {"packages": None, "isos": refused})
    with structlog.testing.capture_logs() as lines:
        await signs(Past(), canaries, stop)
    told = [
        (line["log_level"], line.get("key"), line.get("code")) for line in lines if line["event"].startswith("canar")
    ]
    assert told == [
        ("warning", None, "database-unavailable"),
        ("info", "packages", None),
        ("error", "isos", "hsm-refused"),
    ]


async def test_a_signer_whose_log_halts_it_at_its_start_makes_none():
    stop = asyncio.Event()
    canaries = Canaries(stop, {})
    with pytest.raises(Halted, match="log-forked"):
        await signs(Past(halts_at=1), canaries, stop)
    assert canaries.asked == 0


async def test_a_signer_that_halts_later_makes_none_from_then_on():
    stop = asyncio.Event()
    canaries = Canaries(stop, *[{}] * 100_000)
    with pytest.raises(ExceptionGroup) as raised:
        await signs(Past(halts_at=5), canaries, stop)
    assert halted_among(raised.value).code == "log-forked"
    asked = canaries.asked
    await asyncio.sleep(0.02)
    assert canaries.asked == asked > 0


async def test_a_canary_that_finds_a_contradiction_halts_the_whole_signer():
    stop = asyncio.Event()
    canaries = Canaries(stop, Halted("log-rewritten", "The log does not prove it."), {})
    with pytest.raises(ExceptionGroup) as raised:
        await signs(Past(), canaries, stop)
    assert halted_among(raised.value).code == "log-rewritten"


async def test_one_that_is_behind_the_log_s_policy_leaves_them_to_others():
    stop = asyncio.Event()
    canaries = Canaries(stop, {})
    signer = process(Past(), canaries)
    signer.behind = 2

    async def soon():
        await asyncio.sleep(0.05)
        stop.set()

    signer.past.policy = lambda: _answer((2, "cd" * 32))
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(soon())
        await sign_until(signer, stop, workers=[Lane.BULK])
    assert canaries.asked == 0


async def _answer(value):
    return value
