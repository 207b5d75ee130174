import re
import sys
from itertools import product
from pathlib import Path
from subprocess import run

import pytest
import typer

from attestor.cli.program import app


def commands(command, path=()):
    yield path, command
    for name, below in sorted(getattr(command, "commands", {}).items()):
        yield from commands(below, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_the_verbs_are_those_that_people_expect():
    assert {" ".join(path) for path, command in COMMANDS.items() if not hasattr(command, "commands")} == {
        "init", "serve", "demo", "migrate", "check", "status", "explain", "bundle", "verify", "audit", "request",
        "approvals", "approve",
        "policy check", "policy reload", "ca issue", "hsm certificates", "hsm provision", "hsm status",
        "log keygen", "log seal", "log anchor init", "log anchor show", "log export", "log check", "log recover",
        "canary run", "canary verify", "hsm reconcile",
        "tier backlog", "tier pause", "tier resume", "tier retry",
        "requests list", "requests show", "requests withdraw", "requests retry",
    }  # fmt: skip


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "attestor")
def test_every_verb_and_every_flag_says_what_it_is_for(path, capsys):
    command = COMMANDS[path]
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{' '.join(path)} {parameter.name} has no help text"
    assert command.main(["--help"], prog_name="attestor", standalone_mode=False) == 0
    assert "Usage: attestor" in capsys.readouterr().out


def test_the_readmes_table_of_programs_has_every_verb():
    readme = Path(__file__).parents[3].joinpath("README.md").read_text("utf-8")
    table = re.search(r"^## The programs\n\n(.*?)\n\n", readme, re.MULTILINE | re.DOTALL)[1]
    named = set()
    for code in re.findall(r"`(?:attestor )?([a-z][^`]*)`", table):
        words = re.match(r"[a-z|]+( [a-z|]+)*", code.replace("\\|", "|"))[0].split()
        named |= {" ".join(path) for path in product(*(word.split("|") for word in words))}
    assert {" ".join(path) for path, command in COMMANDS.items() if not hasattr(command, "commands")} <= named


def test_help_loads_nothing_heavy():
    loads = "import sys; from attestor.cli import program; print(*sys.modules)"
    loaded = run([sys.executable, "-c", loads], capture_output=True, text=True, check=True).stdout.split()
    assert not {"asyncio", "aiohttp", "cryptography", "asyncpg", "nethsm", "pgpy"} & set(loaded)


def test_version_is_printed(capsys):
    assert app(["--version"], standalone_mode=False) == 0
    assert capsys.readouterr().out.startswith("attestor 0.")
