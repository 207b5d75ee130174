"""A whole embedded deployment in one folder, made with the commands that a person would type."""

import re
import shlex
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from attestor.core.errors import Unavailable
from attestor.core.tlog.merkle import EMPTY_ROOT

OPERATORS: Final = ("alice", "bob", "carol", "release-host")
_ADDRESS: Final = re.compile(r'^address = "127\.0\.0\.1:(\d+)"$', re.MULTILINE)
KEY_TO_COME: Final = "REPLACE: the public key that `attestor-rebuilder keygen` printed for {}\n"
"""What stands in a new policy in the place of an operator's public key."""


def make_house(folder: Path, say: Callable[[str], None]) -> Path:
    """Make the deployment where it is missing, and return its ``attestor.toml``."""
    config = folder / "attestor.toml"
    if not config.exists():
        say(f"making an embedded deployment in {folder}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        run_program("-m", "attestor", "init", str(folder), "--embedded", "--origin", "attestor.localhost")
        _fill_in_operators(folder)
        _take_free_ports(config)
        _make_anchor(config)
        _write_environment(config)
    return config


def run_program(*arguments: str) -> str:
    """Run one of our programs as a process of its own and return what it printed.

    Raises ``Unavailable`` ``step-failed`` with what it said.
    """
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable("step-failed", f"{' '.join(arguments[:4])}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def rebuilder_folder(folder: Path, operator: str) -> Path:
    """Where one operator of the house has its key, sources and outputs."""
    return folder / "rebuilders" / operator


def _fill_in_operators(folder: Path) -> None:
    policy = folder / "policy.toml"
    text = policy.read_text("utf-8")
    for operator in OPERATORS:
        home = rebuilder_folder(folder, operator)
        home.mkdir(mode=0o700, parents=True)
        printed = run_program("-m", "rebuilders", "keygen", str(home / "key.pem"), "--operator", operator)
        [key] = tomllib.loads(printed)["operators"][operator]["keys"]
        text = text.replace(KEY_TO_COME.format(operator), key["public_key"])
    policy.write_text(text, "utf-8")


def _take_free_ports(config: Path) -> None:
    """Keep the ports of the template where they are free, so that the README's addresses hold; else take others."""
    text = config.read_text("utf-8")
    ports = dict(zip(_ADDRESS.findall(text), _free_ports(map(int, _ADDRESS.findall(text))), strict=True))
    config.write_text(_ADDRESS.sub(lambda found: f'address = "127.0.0.1:{ports[found[1]]}"', text), "utf-8")


def _make_anchor(config: Path) -> None:
    """The log of a new deployment is empty, so that nobody has to be asked what it holds."""
    beginning = ("--size", "0", "--root", EMPTY_ROOT.hex())
    run_program("-m", "attestor", "log", "anchor", "init", "--config", str(config), *beginning)


def _write_environment(config: Path) -> None:
    """For a shell: where the service listens, and the files that a client needs."""
    public, request, operate = _ADDRESS.findall(config.read_text("utf-8"))
    folder = config.parent.absolute()
    lines = {
        "HOUSE": str(folder),
        "PUBLIC": f"https://127.0.0.1:{public}",
        "REQUEST": f"https://127.0.0.1:{request}",
        "OPERATE": f"http://127.0.0.1:{operate}",
        "CURL_CA_BUNDLE": str(folder / "ca" / "ca.pem"),
    }
    text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in lines.items())
    (config.parent / "service.env").write_text(text, "utf-8")


def _free_ports(wanted: Iterator[int]) -> Iterator[int]:
    with ExitStack() as held:
        for port in list(wanted):
            listener = held.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                listener.bind(("127.0.0.1", 0))
            yield listener.getsockname()[1]
