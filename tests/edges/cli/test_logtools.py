"""Copies of the log as people keep, check and use them."""

import json
import signal
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from subprocess import PIPE, Popen

import pytest

from attestor.cli import logtools
from attestor.cli.output import Exit
from attestor.config import load_config
from attestor.config.loading import load_policy
from attestor.publish.tree import StaticTree
from attestor.service.export import export
from attestor.service.recover import NamedBytes, NamedSignature, Recovered
from tests.loghistory import history, late_dissent
from tests.memorylog import SIGNER, MemoryLog

ENTRIES = history(60)
KEY = SIGNER.verifier.text


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_what):
        pass


@pytest.fixture
def published(tmp_path):
    """`await published(entries)` has any old web server serve the static tree of a log; returns its address."""
    folder = tmp_path / "www" / "log"
    folder.mkdir(parents=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder.parent))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()

    async def publish(entries=ENTRIES, to=folder):
        await export(MemoryLog(entries), StaticTree(to), SIGNER.verifier, lambda _done, _of: None)
        return f"http://127.0.0.1:{server.server_port}/log"

    yield publish
    server.shutdown()
    thread.join()
    server.server_close()


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_copy_of_a_copy_is_the_same_and_all_of_it_is_right(attestor, published, tmp_path):
    url = await published()
    said = attestor("log", "export", tmp_path / "copy", "--url", url, "--log-key", KEY)
    assert (said.code, said.out) == (Exit.YES, f"{tmp_path / 'copy'}: 301 entries, 301 of them new.\n")
    assert files(tmp_path / "copy") == files(tmp_path / "www/log")
    again = attestor("log", "export", tmp_path / "copy", "--url", f"{url}/", "--log-key", KEY, "--json")
    assert json.loads(again.out) | {"root": ""} == {"before": 301, "size": 301, "root": ""}
    for place in (("--url", url), ("--dir", tmp_path / "copy")):
        checked = attestor("log", "check", *place, "--log-key", KEY)
        assert checked.code == Exit.YES, checked.err
        assert "All of it is right." in checked.out
        assert "120  received" in checked.out


async def test_the_key_may_stand_in_a_file(attestor, published, tmp_path):
    await published()
    (tmp_path / "key").write_text(f"{KEY}\n")
    said = attestor("log", "check", "--dir", tmp_path / "www/log", "--log-key", tmp_path / "key", "--json")
    assert (said.code, json.loads(said.out)["findings"]) == (Exit.YES, [])


async def test_what_is_wrong_is_said_with_its_place_and_an_exit_code_of_its_own(attestor, published, tmp_path):
    await published([*ENTRIES, b"{}", ENTRIES[0]])
    said = attestor("log", "check", "--dir", tmp_path / "www/log", "--log-key", KEY)
    assert said.code == Exit.REFUSED
    assert "entry 301: " in said.out
    assert "[entry-malformed]" in said.out
    assert "entry 302: " in said.out
    assert "Some of it is wrong." in said.out
    told = json.loads(attestor("log", "check", "--dir", tmp_path / "www/log", "--log-key", KEY, "--json").out)
    assert [(one["code"], one["index"]) for one in told["findings"]] == [("entry-malformed", 301), ("entry-twice", 302)]


async def test_a_log_that_went_back_halts_the_copy(attestor, published, tmp_path):
    url = await published(ENTRIES[:200])
    await published(ENTRIES, to=tmp_path / "copy")
    before = files(tmp_path / "copy")
    said = attestor("log", "export", tmp_path / "copy", "--url", url, "--log-key", KEY)
    assert (said.code, said.err[-19:]) == (Exit.HALTED, " [log-rolled-back]\n")
    assert files(tmp_path / "copy") == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("check", "--log-key", KEY), "usage"),
        (("check", "--log-key", KEY, "--dir", "a", "--url", "http://b"), "usage"),
        (("check", "--log-key", "nokey", "--dir", "a"), "vkey-invalid"),
        (("check", "--log-key", KEY, "--dir", "nothing-here"), "log-empty"),
        (("check", "--log-key", KEY, "--url", "b"), "client-url"),
        (("export", "a", "--log-key", "nokey", "--url", "http://b"), "vkey-invalid"),
        (("recover", "--from", "a", "--config", "no.toml"), "config-missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_what_cannot_be_done_is_said(attestor, arguments, code):
    said = attestor("log", *arguments)
    assert (said.code, said.err.rpartition(" ")[2]) == (Exit.ERROR, f"[{code}]\n")


def following(url, folder):
    verb = [sys.executable, "-m", "attestor", "log", "export", str(folder), "--url", url, "--log-key", KEY]
    return Popen([*verb, "--follow", "--every", "0.1"], stdout=PIPE, text=True)


async def test_it_follows_until_it_is_stopped(published, tmp_path):
    url = await published(ENTRIES[:200])
    process = following(url, tmp_path / "copy")
    try:
        assert "200 entries, 200 of them new" in process.stdout.readline()
        await published([*ENTRIES, late_dissent(999)])
        assert "302 entries, 102 of them new" in process.stdout.readline()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()
    # The copy holds a width of its own besides those that the web server's tree has.
    assert set(files(tmp_path / "www/log").items()) <= set(files(tmp_path / "copy").items())


def test_the_service_is_exported_checked_and_held_against_its_export(attestor, attest, package, service, tmp_path):
    attest("alice", package)
    policy = load_config(service.config).policy_path
    known = ("--log-key", load_policy(policy).log.key.text)
    served = ("--url", f"{service.read}/log", "--ca", service.folder / "ca/ca.pem")
    # The log grows while it is looked at, and an export that fell behind it brings nothing back.
    for _ in range(50):
        exported = attestor("log", "export", tmp_path / "copy", *served, *known)
        assert exported.code == Exit.YES, exported.err
        copied = json.loads(attestor("log", "check", "--dir", tmp_path / "copy", *known, "--json").out)
        recovered = attestor("log", "recover", "--from", tmp_path / "copy", "--config", service.config)
        if recovered.code == Exit.YES and "received" in copied["kinds"]:
            break
        time.sleep(0.1)
    assert recovered.out.startswith(f"The log has {copied['size']} entries again: 0 came back")
    assert recovered.out.endswith("The database holds all that the log names; nothing remains to be done.\n")
    for place in (served, ("--dir", tmp_path / "copy"), ("--config", service.config)):
        checked = attestor("log", "check", *place, *known, "--policy", policy)
        assert checked.code == Exit.YES, checked.out + checked.err


LOST = Recovered(
    before=3,
    after=900,
    outbox=2,
    payloads=[NamedBytes("alice", bytes([number]) * 32, "ab" * 32, bytes(32)) for number in range(51)],
    withdrawals=[NamedBytes("bob", bytes(32), "cd" * 32, bytes(32))],
    signatures=[NamedSignature("ef" * 32, bytes(32))],
)


def test_what_has_to_be_sent_again_is_said_to_people(capsys):
    logtools._say_recovered(LOST)
    said = capsys.readouterr().out
    assert "897 came back, and 2 that waited were in it already." in said
    for words in (
        "names 51 attestations",
        "names 1 withdrawals",
        "names 1 signatures",
        "... and 1 more: --json lists all.",
    ):
        assert words in said
    assert [line.split() for line in said.splitlines() if line.startswith("bob")] == [["bob", "00" * 32, "cd" * 32]]


def test_what_has_to_be_sent_again_is_said_to_programs():
    told = logtools._plain(LOST)
    assert (told["before"], told["after"], told["outbox"], len(told["payloads"])) == (3, 900, 2, 51)
    assert told["withdrawals"] == [
        {"operator": "bob", "payload": "00" * 32, "release": "cd" * 32, "envelope": "00" * 32}
    ]
    assert told["signatures"] == [{"release": "ef" * 32, "sha256": "00" * 32}]
