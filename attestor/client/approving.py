"""An approver's own signature, by the program that already has their key; no key passes through here.

The program runs without a shell, and on a terminal of its own where there is one: it asks for the passphrase or a token's
touch by itself, so nothing of what it says is taken away from the person in front of it.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from attestor.core.approvaldocuments import NAMESPACE
from attestor.core.errors import Missing, Rejected, Unavailable
from attestor.core.sshsig import read_ssh_key

MAX_SAID: Final = 500
_PACKAGES: Final = {"gpg": "gnupg", "ssh-keygen": "openssh-client"}


def sign_with_gpg(document: bytes, key: str) -> bytes:
    """The armored detached signature of *document* by gpg, under *key* (as gpg's ``--local-user``).

    Raises ``Unavailable`` ``signing-program`` when there is no gpg, ``Rejected`` ``approval-signing`` when it did not sign.
    """
    asking = [] if _at_terminal() else ["--batch", "--no-tty"]
    # Options of the person's own gpg.conf that would make a signature which the service refuses.
    plain = ["--no-textmode", "--digest-algo", "SHA512"]
    whose = f"--local-user={key}"
    return _run(["gpg", *asking, *plain, whose, "--armor", "--detach-sign", "--output", "-", "--", "-"], document)


def sign_with_ssh(document: bytes, key_file: Path) -> bytes:
    """The armored signature of *document* by ``ssh-keygen -Y sign``; *key_file* is the key, or its ``.pub`` with an agent.

    Raises ``Unavailable`` ``signing-program`` when there is no ssh-keygen, ``Rejected`` ``approval-signing``.
    """
    return _run(["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", str(key_file)], document)


def gpg_fingerprint(key: str) -> str:
    """The fingerprint of the primary key that :func:`sign_with_gpg` would sign under, as a policy names it.

    Raises ``Unavailable`` ``signing-program``, ``Rejected`` ``approval-key``.
    """
    command = ["gpg", "--batch", "--no-tty", "--with-colons", "--list-secret-keys", "--", key]
    listed = _started(command, b"", subprocess.PIPE).stdout.decode(errors="replace").splitlines()
    # A primary key has a "sec", each of its subkeys a "ssb"; the first fingerprint is the primary's.
    count = sum(line.startswith("sec:") for line in listed)
    prints = [line.split(":")[9] for line in listed if line.startswith("fpr:")]
    if count != 1 or not prints:
        raise Rejected(
            "approval-key", f"gpg has {count or 'no'} secret keys where one is {key!r}; name it by its fingerprint."
        )
    return prints[0]


def ssh_fingerprint(key_file: Path) -> str:
    """The fingerprint of the key that :func:`sign_with_ssh` would sign with, read from its ``.pub``.

    Raises ``Missing`` ``approval-key`` where there is none, ``Rejected`` ``approver-key-invalid``.
    """
    public = key_file if key_file.suffix == ".pub" else key_file.with_name(f"{key_file.name}.pub")
    try:
        return read_ssh_key(public.read_text("utf-8").strip()).fingerprint
    except (OSError, UnicodeDecodeError):
        raise Missing("approval-key", f"There is no readable {public}, which says whose key it is.") from None


def _run(command: list[str], document: bytes) -> bytes:
    program = command[0]
    heard = None if _at_terminal() else subprocess.PIPE
    done = _started(command, document, heard)
    if done.returncode or not done.stdout.startswith(b"-----BEGIN "):
        said = "see above" if heard is None else done.stderr.decode(errors="replace")[-MAX_SAID:].strip()
        raise Rejected("approval-signing", f"{program} made no signature (exit code {done.returncode}): {said}")
    return done.stdout


def _started(command: list[str], given: bytes, heard: int | None) -> "subprocess.CompletedProcess[bytes]":
    program = command[0]
    try:
        return subprocess.run(
            command, input=given, stdout=subprocess.PIPE, stderr=heard, env=_environment(), check=False
        )
    except FileNotFoundError as error:
        raise Unavailable(
            "signing-program", f"There is no {program} on PATH; Debian has it in the package {_PACKAGES[program]}."
        ) from error


def _at_terminal() -> bool:
    return sys.stderr.isatty()


def _environment() -> dict[str, str]:
    # gpg tells its agent the terminal of its standard input, which here is the document.
    terminal = {"GPG_TTY": os.ttyname(sys.stderr.fileno())} if _at_terminal() else {}
    return terminal | os.environ
