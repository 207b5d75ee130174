"""The program as people run it: its arguments, its output, its exit code. The service is the real one, on embedded parts."""

import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from subprocess import Popen, TimeoutExpired

import pytest

import attestor.cli.program
import rebuilders.cli
from attestor.cli.output import Exit


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


PROGRAMS = {"attestor": attestor.cli.program.run, "attestor-rebuilder": rebuilders.cli.main}


@pytest.fixture
def program(monkeypatch):
    """`program("attestor", "policy", "check", FILE)` runs it as its script does, and returns what it said.

    In a thread of this process: starting an interpreter for each of many calls would cost more than the calls.
    """

    def call(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err, ThreadPoolExecutor(1) as thread:
            code = thread.submit(_exit_code, PROGRAMS[name]).result(120)
        return Said(code, out.getvalue(), err.getvalue())

    return call


def _exit_code(main):
    try:
        main()
    except SystemExit as left:
        return left.code or 0
    return 0


@pytest.fixture
def attestor(program):
    return partial(program, "attestor")


@dataclass(frozen=True)
class Service:
    folder: Path
    read: str
    request: str

    @property
    def config(self):
        return self.folder / "attestor.toml"

    @property
    def reader(self):
        return ("--server", self.read, "--ca", self.folder / "ca/ca.pem")

    @property
    def requester(self):
        mine = ("--cert", self.folder / "build-service.pem", "--key", self.folder / "build-service.key")
        return ("--server", self.request, "--ca", self.folder / "ca/ca.pem", *mine)


@pytest.fixture(scope="session")
def service():
    """One embedded service for all tests that ask it something; each names releases of its own."""
    with tempfile.TemporaryDirectory(prefix="attestor-") as place:
        folder = Path(place) / "house"
        log = Path(place) / "log"
        with log.open("wb") as opened:
            process = Popen(
                [sys.executable, "-m", "attestor", "serve", "--embedded", str(folder)], stdout=opened, stderr=opened
            )
        try:
            yield _ready(folder, process, log)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except TimeoutExpired:
                process.kill()
                process.wait()


def _ready(folder, process, log):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if '"event": "serving"' in log.read_text():
            addresses = re.findall(
                r'^address = "127\.0\.0\.1:(\d+)"', (folder / "attestor.toml").read_text(), re.MULTILINE
            )
            return Service(folder, f"https://localhost:{addresses[0]}", f"https://localhost:{addresses[1]}")
        time.sleep(0.1)
    pytest.fail(f"the service did not start: {log.read_text()[-2000:]}")


@pytest.fixture
def attest(program, service, tmp_path):
    """`attest("alice", file)` has an operator of the service state that it built this file."""

    def call(operator, file, *more):
        said = program(
            "attestor-rebuilder", "attest", file, "--key", service.folder / f"rebuilders/{operator}/key.pem", "--namespace", "arch",
            "--state", tmp_path / f"state-{operator}", *service.reader, *more,
        )  # fmt: skip
        assert said.code == Exit.YES, said.err
        return said

    return call


@pytest.fixture
def package(tmp_path, request):
    """A file with a name of its own, so that each test has a release of its own."""
    name = re.sub(r"[^a-z0-9]", "", request.node.name.lower())[:40]
    path = tmp_path / f"{name}-1.0-1-any.pkg.tar.zst"
    path.write_bytes(b"bytes of " + name.encode())
    return path
