"""``attestor tier``: what waits is shown before anything is asked or done, and nothing is done to a tier that nobody knows."""

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from attestor.cli.tier import app
from attestor.core.errors import Missing
from attestor.store.pauses import Backlog

RUNNING = Backlog("packages", 20_000, 3, 2, 1, None, None, None)
PAUSED = replace(RUNNING, paused_at=datetime(2026, 3, 1, 12, tzinfo=UTC), paused_by="jane", reason="the mirror moves")
FORMER = Backlog("former", 0, 7, 0, 0, None, None, None)


class Desk:
    """The database's pauses, in memory; what was done is noted in order."""

    def __init__(self):
        self.lines = {"packages": RUNNING, "former": FORMER}
        self.done = []

    async def backlog(self):
        return list(self.lines.values())

    async def pause(self, tier, reason, by):
        self.done.append(("pause", tier, reason, by))
        return self.lines.get(tier) is not PAUSED

    async def resume(self, tier):
        self.done.append(("resume", tier))
        return self.lines.get(tier) is PAUSED

    async def retry_aside(self, tier):
        self.done.append(("retry", tier))
        return self.lines[tier].aside


@pytest.fixture
def desk(monkeypatch):
    desk = Desk()

    @asynccontextmanager
    async def pauses(_config):
        yield desk

    policy = SimpleNamespace(tiers=[SimpleNamespace(name="packages"), SimpleNamespace(name="isos")])
    monkeypatch.setattr("attestor.app.pausing.pauses", pauses)
    monkeypatch.setattr("attestor.app.embedded.resolved", lambda config: config)
    monkeypatch.setattr("attestor.config.load_config", lambda _path: SimpleNamespace(policy=policy))
    monkeypatch.setenv("LOGNAME", "jane")
    return desk


def tier(*arguments, says=""):
    return CliRunner().invoke(app, [*arguments, "--config", "attestor.toml"], input=says)


MOVES = ("pause", "packages", "--reason", "the mirror moves")
VERBS = {
    "pause": (MOVES, RUNNING, ("pause", "packages", "the mirror moves", "jane"), "packages is paused."),
    "pause again": (MOVES, PAUSED, ("pause", "packages", "the mirror moves", "jane"), "packages was paused already."),
    "resume": (("resume", "packages"), PAUSED, ("resume", "packages"), "packages is resumed."),
    "resume what runs": (("resume", "packages"), RUNNING, ("resume", "packages"), "packages was not paused."),
    "retry": (("retry", "packages"), RUNNING, ("retry", "packages"), "1 requests of packages are in the queue again."),
}


@pytest.mark.parametrize("confirmed", [("--yes",), ()], ids=["--yes", "asked"])
@pytest.mark.parametrize(("arguments", "line", "done", "said"), VERBS.values(), ids=VERBS)
def test_the_backlog_is_shown_first_and_then_it_is_done(desk, arguments, line, done, said, confirmed):  # noqa: PLR0917 - a row
    desk.lines["packages"] = line
    result = tier(*arguments, *confirmed, says="" if confirmed else "y\n")
    assert (result.exit_code, desk.done) == (0, [done])
    shown = result.output.index("20000")
    assert shown < result.output.index(said)
    assert ("[y/N]" in result.output[shown:]) == (not confirmed)
    assert ("by jane: the mirror moves" in result.output) == (line is PAUSED)


def test_who_has_a_number_and_no_name_is_named_by_it(desk, monkeypatch):
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)
    result = tier(*MOVES, "--yes")
    assert (result.exit_code, desk.done) == (0, [("pause", "packages", "the mirror moves", "uid 4000000000")])


@pytest.mark.parametrize("arguments", [MOVES, ("resume", "packages"), ("retry", "packages")], ids=lambda row: row[0])
def test_who_says_no_has_nothing_done(desk, arguments):
    result = tier(*arguments, says="n\n")
    assert (result.exit_code, desk.done) == (1, [])
    assert "20000" in result.output


def test_a_tier_of_a_former_policy_can_be_resumed_and_one_that_nobody_knows_can_not(desk):
    assert tier("resume", "former", "--yes").exit_code == 0
    assert tier("pause", "isos", "--reason", "r", "--yes").exit_code == 0, "nothing waits there yet"
    desk.done.clear()
    result = tier("pause", "pakcages", "--reason", "r", "--yes")
    assert isinstance(result.exception, Missing)
    assert (result.exception.code, "isos, packages" in result.exception.sentence) == ("tier-unknown", True)
    assert desk.done == []


def test_programs_read_the_backlog_as_json(desk):
    result = tier("backlog", "--json")
    assert '"queued": 20000' in result.output
    assert [name in tier("backlog").output for name in desk.lines] == [True, True]
