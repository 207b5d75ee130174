"""A running process's policy file: taken whole or not at all, and whoever asks is told which."""

import asyncio
from types import SimpleNamespace

import pytest
import structlog

from attestor.app.policyfile import PolicyFile
from attestor.core.errors import Missing, Rejected
from tests.service.makers import make_policy

BEFORE = make_policy(serial=2)


class Deployment:
    """What is read of one; the file holds what the test put there."""

    def __init__(self):
        self.policy = BEFORE
        self.holds = BEFORE

    def read_policy(self):
        if isinstance(self.holds, Exception):
            raise self.holds
        return self.holds


@pytest.fixture
def process():
    deployment = Deployment()
    file = PolicyFile(deployment)
    taken, noted = [], []
    file.noted = lambda: noted.append((file.policy.serial, file.refusal.code if file.refusal else None))
    return SimpleNamespace(deployment=deployment, file=file, taken=taken, noted=noted)


async def test_a_newer_policy_is_taken_and_what_changes_is_said(process):
    process.deployment.holds = make_policy(serial=3, suspended=["carol"])
    with structlog.testing.capture_logs() as lines:
        assert await process.file.look_again(process.taken.append)
    assert process.taken == [process.deployment.holds]
    assert process.noted == [(3, None)]
    assert [line["event"] for line in lines] == ["policy loaded", "policy change"]


async def test_the_same_bytes_change_nothing(process):
    with structlog.testing.capture_logs() as lines:
        assert not await process.file.look_again(process.taken.append)
    assert (process.taken, process.noted, process.file.looks) == ([], [(2, None)], 1)
    assert [line["event"] for line in lines] == ["policy unchanged"]


def unlisted(_policy):
    raise Rejected("seal-unlisted", "The seal is not among them.")


@pytest.mark.parametrize(
    ("holds", "take", "code"),
    [
        pytest.param(make_policy(serial=1), None, "policy-serial", id="older"),
        pytest.param(make_policy(serial=2, dissent_limit=1), None, "policy-serial", id="same serial, other words"),
        pytest.param(Missing("policy-missing", "It is gone."), None, "policy-missing", id="missing"),
        pytest.param(Rejected("policy-invalid", "No TOML."), None, "policy-invalid", id="unreadable"),
        pytest.param(Rejected("config-invalid", "No such key."), None, "config-invalid", id="unfit for the deployment"),
        pytest.param(make_policy(serial=3), unlisted, "seal-unlisted", id="that this process cannot take"),
    ],
)
async def test_a_refused_file_leaves_the_one_in_force(process, holds, take, code):
    process.deployment.holds = holds
    with structlog.testing.capture_logs() as lines:
        assert not await process.file.look_again(take or process.taken.append)
    assert (process.taken, process.noted, process.file.policy) == ([], [(2, code)], BEFORE)
    [line] = lines
    assert (line["event"], line["code"], line["serial_in_force"]) == ("policy refused", code, 2)
    # Once it is put right, nothing is held against it.
    process.deployment.holds = make_policy(serial=4)
    assert await process.file.look_again(process.taken.append)
    assert process.noted[-1] == (4, None)


async def test_whoever_asks_twice_at_once_is_heard_at_least_once_after_the_last(process):
    done = asyncio.Event()
    async with process.file.watched(process.taken.append, done.set):
        process.file.wanted.set()
        process.file.wanted.set()
        process.deployment.holds = make_policy(serial=3)
        await asyncio.wait_for(done.wait(), 5)
    assert [policy.serial for policy in process.taken] == [3]
