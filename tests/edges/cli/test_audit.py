"""attestor audit in words: what it says to people, and what it refuses to begin with."""

import signal
import sys
from subprocess import PIPE, Popen

import pytest

from attestor.anchor.auditbook import FileAuditBook
from attestor.cli.output import Exit
from attestor.config.loading import load_policy
from attestor.core.auditing import Finding
from tests.logkeys import log_signer


@pytest.fixture
def call(service, tmp_path):
    """What stands behind `attestor`, with a book in the test's own folder."""
    return ("audit", *service.reader, "--policy", service.folder / "policy.toml", "--state", tmp_path / "book")


def test_what_was_found_is_said_until_it_is_acknowledged(attestor, service, call, tmp_path):
    policy = load_policy(service.folder / "policy.toml")
    said = attestor(*call, "--log-key", policy.log.key.text)
    assert (said.code, said.err) == (Exit.YES, "")
    assert said.out.splitlines()[-1].endswith(" entries judged. All of it holds.")

    with FileAuditBook.opened(tmp_path / "book", policy.log.key.name) as book:
        found = [Finding(number, "vote-\x1bodd", "It is odd.") for number in range(101)]
        book.judge(book.judged(), [*found, Finding(None, "log-forked", "Two of them.")])
    said = attestor(*call)
    assert said.code == Exit.REFUSED
    lines = said.out.splitlines()
    assert lines[:2] == ["FOUND  log: Two of them. [log-forked]", r"FOUND  entry 0: It is odd. [vote-\x1bodd]"]
    assert lines[-2] == "... and 2 more"
    assert lines[-1].endswith(" entries judged. Not all of it holds.")
    assert attestor(*call, "--acknowledge").code == Exit.YES


def test_a_notice_is_told_and_is_no_finding(attestor, service, call, tmp_path):
    with FileAuditBook.opened(tmp_path / "book", load_policy(service.folder / "policy.toml").log.key.name) as book:
        book.judge(0, [Finding(3, "late-dissent", "Carol was late.", notice=True)])
    said = attestor(*call)
    assert said.code == Exit.YES
    assert "note  entry 3: Carol was late. [late-dissent]" in said.out.splitlines()


def test_another_log_key_than_the_policys_is_refused(attestor, call):
    said = attestor(*call, "--log-key", log_signer("attestor.localhost").verifier.text)
    assert said.code == Exit.ERROR
    assert "[log-key-differs]" in said.err


def test_two_policies_of_one_serial_are_refused(attestor, service, call, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text((service.folder / "policy.toml").read_text() + "\n# another\n")
    said = attestor(*call, "--policy", other)
    assert said.code == Exit.ERROR
    assert "[policies-contradict]" in said.err


def test_following_goes_on_until_it_is_stopped_and_leaves_a_book_that_goes_on(attestor, call):
    program = [sys.executable, "-m", "attestor", *map(str, call), "--follow", "--every", "0.1"]
    following = Popen(program, stdout=PIPE, stderr=PIPE, text=True)
    assert "entries judged. All of it holds." in following.stdout.readline()
    following.send_signal(signal.SIGINT)
    _, said = following.communicate(timeout=30)
    assert (following.returncode, said) == (128 + signal.SIGINT, "")
    assert attestor(*call).code == Exit.YES
