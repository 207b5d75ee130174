"""A relay on the service's own host: the program over a socket, known by its user and nothing else."""

import asyncio
import os
import pwd
import threading
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry

from attestor.api.listeners import Listener, serve
from attestor.cli.output import Exit
from tests.edges.api.standin import StandIn

REQUEST = ("--kind", "package", "--purl", "pkg:alpm/arch/a@1-1?arch=any")


@contextmanager
def _served(path, gate):
    """In a thread of its own, because the program has a loop of its own."""
    opened, ended = threading.Event(), []

    async def run():
        running = await serve([Listener(f"unix:{path}", frozenset({"request"}))], gate, registry=CollectorRegistry())
        ended.extend((asyncio.get_running_loop(), asyncio.Event()))
        opened.set()
        await ended[1].wait()
        await running.stop()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert opened.wait(10)
        yield
    finally:
        ended[0].call_soon_threadsafe(ended[1].set)
        thread.join(10)


@pytest.fixture
def gate():
    return StandIn()


@pytest.fixture
def socket(tmp_path, gate):
    folder = tmp_path / "run"
    folder.mkdir(mode=0o750)
    with _served(folder / "relay.sock", gate):
        yield f"unix:{folder}/relay.sock"


def test_a_relay_asks_sends_and_lays_the_signature_beside_the_file(attestor, socket, gate, tmp_path):
    file = tmp_path / "a-1-1-any.pkg.tar.zst"
    file.write_bytes(b"bytes")
    said = attestor("request", file, *REQUEST, "--server", socket, "--wait", "--timeout", "5")
    assert said.code == Exit.YES, said.err
    assert file.with_name(f"{file.name}.sig").read_bytes() == b"\x88\x00signature"
    assert {(one.fingerprint, one.user) for one in gate.clients} == {(None, pwd.getpwuid(os.geteuid()).pw_name)}
    assert attestor("requests", "list", "--server", socket, "--json").code == Exit.YES


@pytest.mark.parametrize(
    ("server", "more"),
    [
        pytest.param("unix:/run/relay.sock", ("--cert", "c.pem", "--key", "c.key"), id="a certificate for a socket"),
        pytest.param("https://localhost:1", (), id="no certificate for https"),
        pytest.param("https://localhost:1", ("--cert", "c.pem"), id="a certificate without its key"),
    ],
)
def test_who_we_are_is_said_once(attestor, server, more):
    said = attestor("requests", "list", "--server", server, *more)
    assert said.code == Exit.ERROR
    assert "client-certificate" in said.err
