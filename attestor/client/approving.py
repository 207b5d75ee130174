"""An approver's own signature, by the program that already has their key; no key passes through here.

The program runs without a shell, and on a terminal of its own where there is one: it asks for the passphrase or a token's
touch by itself, so nothing of what it says is taken away from the person in front of it.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from attestor.core.approvals import NAMESPACE
from attestor.core.errors import Rejected, Unavailable

MAX_SAID: Final = 500
_PACKAGES: Final = {"gpg": "gnupg", "ssh-keygen": "openssh-client"}


def sign_with_gpg(document: bytes, key: str | None) -> bytes:
    """The armored detached signature of *document* by gpg, under the user's own key or *key* (as gpg's ``--local-user``).

    Raises ``Unavailable`` ``signing-program`` when there is no gpg, ``Rejected`` ``approval-signing`` when it did not sign.
    """
    asking = [] if _at_terminal() else ["--batch", "--no-tty"]
    whose = [] if key is None else [f"--local-user={key}"]
    # Options of the person's own gpg.conf that would make a signature which the service refuses.
    plain = ["--no-textmode", "--digest-algo", "SHA512"]
    return _run(["gpg", *asking, *plain, *whose, "--armor", "--detach-sign", "--output", "-", "--", "-"], document)


def sign_with_ssh(document: bytes, key_file: Path) -> bytes:
    """The armored signature of *document* by ``ssh-keygen -Y sign``; *key_file* is the key, or its ``.pub`` with an agent.

    Raises ``Unavailable`` ``signing-program`` when there is no ssh-keygen, ``Rejected`` ``approval-signing``.
    """
    return _run(["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", str(key_file)], document)


def _run(command: list[str], document: bytes) -> bytes:
    program = command[0]
    heard = None if _at_terminal() else subprocess.PIPE
    try:
        done = subprocess.run(
            command, input=document, stdout=subprocess.PIPE, stderr=heard, env=_environment(), check=False
        )
    except FileNotFoundError as error:
        raise Unavailable(
            "signing-program", f"There is no {program} on PATH; Debian has it in the package {_PACKAGES[program]}."
        ) from error
    if done.returncode or not done.stdout.startswith(b"-----BEGIN "):
        said = "see above" if heard is None else done.stderr.decode(errors="replace")[-MAX_SAID:].strip()
        raise Rejected("approval-signing", f"{program} made no signature (exit code {done.returncode}): {said}")
    return done.stdout


def _at_terminal() -> bool:
    return sys.stderr.isatty()


def _environment() -> dict[str, str]:
    # gpg tells its agent the terminal of its standard input, which here is the document.
    terminal = {"GPG_TTY": os.ttyname(sys.stderr.fileno())} if _at_terminal() else {}
    return terminal | os.environ
