"""SIGHUP asks a process to read its policy again, and ends it only where its terminal is gone."""

import asyncio
import os
import signal

import pytest

from attestor.app import ending
from attestor.app.ending import on_hangup, wait_for_hangups


@pytest.fixture(autouse=True)
def former():
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def test_one_that_comes_before_anybody_listens_ends_nothing():
    wait_for_hangups()
    os.kill(os.getpid(), signal.SIGHUP)


@pytest.mark.parametrize(
    ("at_start", "later", "stops"),
    [
        pytest.param(False, False, False, id="a role without a terminal"),
        pytest.param(True, True, False, id="somebody at a terminal sends it"),
        pytest.param(True, False, True, id="the terminal is gone"),
    ],
)
async def test_it_is_asked_once_at_start_and_at_each_signal(monkeypatch, at_start, later, stops):
    terminal, stop, asked = [at_start], asyncio.Event(), []
    heard = asyncio.Event()
    monkeypatch.setattr(ending, "_has_terminal", lambda: terminal[0])

    def ask():
        asked.append(True)
        if len(asked) > 1:
            heard.set()

    on_hangup(ask, stop)
    # One that came while the process was starting is not lost.
    assert (asked, stop.is_set()) == ([True], False)
    terminal[0] = later
    os.kill(os.getpid(), signal.SIGHUP)
    await asyncio.wait_for((stop if stops else heard).wait(), 10)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
    assert (len(asked), stop.is_set()) == ((1, True) if stops else (2, False))
