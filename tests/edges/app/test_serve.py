"""How the roles of one host are kept running."""

import asyncio
from types import SimpleNamespace

import pytest
import structlog

from attestor.app import serve
from attestor.cli.output import Exit


@pytest.mark.parametrize(
    ("exit_codes", "restarts"),
    [
        pytest.param([1, 1, 1], [("role ended", 0), ("role ended", 0.001), ("role ended", 0.002)], id="what dies"),
        pytest.param([Exit.HALTED, 1], [("role halted", 0.002), ("role ended", 0.001)], id="what halted waits longest"),
    ],
)
async def test_a_role_that_ends_is_started_again(monkeypatch, tmp_path, exit_codes, restarts):
    stop, started = asyncio.Event(), []

    async def start(_config, role, _log):
        started.append(role)
        if len(started) > len(exit_codes):
            stop.set()
        code = exit_codes[min(len(started), len(exit_codes)) - 1]
        return SimpleNamespace(returncode=int(code), wait=lambda: asyncio.sleep(0))

    monkeypatch.setattr(serve, "_start", start)
    monkeypatch.setattr(serve, "_RESTART_SECONDS", (0, 0.001, 0.002))
    with structlog.testing.capture_logs() as lines:
        await serve._keep(tmp_path, "signer", None, stop, {})
    assert [(line["event"], line["restart_seconds"]) for line in lines] == restarts
    assert {line["role"] for line in lines} == {"signer"}


def test_every_role_that_has_credentials_of_its_own_is_a_process_of_its_own():
    assert serve.ROLES == ("api", "sequencer", "signer")
