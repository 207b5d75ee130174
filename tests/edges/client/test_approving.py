"""Approvers sign with their own gpg and ssh-keygen; what these refuse is told, and nothing waits for a terminal."""

import os
import pty
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from attestor.client.approving import MAX_SAID, gpg_fingerprint, sign_with_gpg, sign_with_ssh
from attestor.core.approvaldocuments import NAMESPACE
from attestor.core.errors import Rejected, Unavailable
from attestor.core.sshsig import read_ssh_key, verify_ssh
from attestor.openpgp.approving import OpenPgpApprover
from tests.gnupg import gnupg_home

DOCUMENT = b'attestor approval v1\n{"action":"downgrade"}'
MUCH_LATER = datetime(2101, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def home(tool):
    """A person's GNUPGHOME, with options in gpg.conf that the service would refuse."""
    tool("gpg")
    with gnupg_home(tool) as home:
        yield home


@pytest.fixture
def anna(home, monkeypatch):
    """The fingerprint and certificate of the one key in a person's keyring, who is at no terminal."""
    monkeypatch.setenv("GNUPGHOME", str(home))
    gpg = ["gpg", "--batch", "--quiet"]
    if not (home / "gpg.conf").exists():
        command = [
            *gpg,
            "--passphrase",
            "",
            "--quick-generate-key",
            "Anna <anna@example.org>",
            "ed25519",
            "sign",
            "never",
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        (home / "gpg.conf").write_text("textmode\ndigest-algo SHA1\n", "utf-8")
    listed = subprocess.run([*gpg, "--with-colons", "--list-keys"], check=True, capture_output=True, timeout=60).stdout
    fingerprint = next(each.split(":")[9] for each in listed.decode().splitlines() if each.startswith("fpr:"))
    exported = subprocess.run(
        [*gpg, "--armor", "--export"], check=True, capture_output=True, timeout=60
    ).stdout.decode()
    return fingerprint, exported


@pytest.fixture
def key_file(tool, tmp_path):
    subprocess.run(
        [tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True, timeout=60
    )
    return tmp_path / "key"


def unsigned(call, code="approval-signing", error=Rejected):
    with pytest.raises(error) as caught:
        call()
    assert caught.value.code == code
    return caught.value.sentence


@pytest.mark.required_in_ci
@pytest.mark.parametrize("named", ["fingerprint", "anna@example.org"])
def test_gpg_signs_whatever_its_own_options_say(anna, named):
    fingerprint, certificate = anna
    key = fingerprint if named == "fingerprint" else named
    assert gpg_fingerprint(key) == fingerprint
    signature = sign_with_gpg(DOCUMENT, key)
    OpenPgpApprover.read(certificate, fingerprint).verify(signature, DOCUMENT, MUCH_LATER)


@pytest.mark.required_in_ci
def test_ssh_keygen_signs_for_the_service_only(key_file):
    signature = sign_with_ssh(DOCUMENT, key_file)
    verify_ssh(read_ssh_key(key_file.with_suffix(".pub").read_text("utf-8")), signature, DOCUMENT, NAMESPACE)


@pytest.mark.required_in_ci
def test_what_the_program_says_is_told(anna, tmp_path):
    assert "no secret keys" in unsigned(lambda: gpg_fingerprint("bodo@example.org"), "approval-key")
    assert "No secret key" in unsigned(lambda: sign_with_gpg(DOCUMENT, "bodo@example.org"))
    assert "No secret key" in unsigned(lambda: sign_with_gpg(DOCUMENT, "--version"))
    assert "no-such-key" in unsigned(lambda: sign_with_ssh(DOCUMENT, tmp_path / "no-such-key"))


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("exit 0", "exit code 0"),
        ("echo signed", "exit code 0"),
        (f"printf 'x%.0s' $(seq {9 * MAX_SAID}) >&2; exit 3", "exit code 3"),
    ],
    ids=["says nothing", "says something else", "says much"],
)
def test_a_program_that_makes_no_signature_is_told_in_bounds(script, told, tmp_path, monkeypatch):
    program = tmp_path / "gpg"
    program.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    sentence = unsigned(lambda: sign_with_gpg(DOCUMENT, "anna"))
    assert told in sentence
    assert len(sentence) < MAX_SAID + 100


@pytest.mark.parametrize(
    ("sign", "package"),
    [
        (lambda: sign_with_gpg(DOCUMENT, "anna"), "gnupg"),
        (lambda: sign_with_ssh(DOCUMENT, Path("key")), "openssh-client"),
    ],
    ids=["gpg", "ssh-keygen"],
)
def test_a_missing_program_is_told_with_its_package(sign, package, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert package in unsigned(sign, "signing-program", Unavailable)


@pytest.mark.required_in_ci
def test_at_a_terminal_the_program_speaks_to_the_person(tmp_path):
    """A program in gpg's place, on a terminal: it sees the terminal's name, may ask, and its words are not kept back."""
    program = tmp_path / "gpg"
    program.write_text(
        '#!/bin/sh\necho "touch now $GPG_TTY" >&2\ncase " $* " in *" --batch "*) exit 1;; esac\nexit 2\n', "utf-8"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    code = "from attestor.client.approving import sign_with_gpg\nsign_with_gpg(b'', 'anna')"
    ours, theirs = pty.openpty()
    name = os.ttyname(theirs)
    environment = {key: value for key, value in os.environ.items() if key != "GPG_TTY"} | {"PATH": str(tmp_path)}
    done = subprocess.Popen([sys.executable, "-c", code], stdin=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:
        pass  # how Linux says that nobody is at the other end
    assert done.wait(60) == 1
    os.close(ours)
    assert f"touch now {name}" in shown.decode()
    assert "exit code 2): see above" in shown.decode()
