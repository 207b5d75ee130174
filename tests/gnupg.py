"""Real gpg with homes of their own, and an approver's keyring in one."""

import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

DOCUMENT = b'attestor approval v1\n{"action":"downgrade"}'
MADE = datetime(2025, 5, 1, 12, tzinfo=UTC)
"""When the keys were made."""
AT = datetime(2025, 6, 1, 12, tzinfo=UTC)
"""When gpg signs."""


@contextmanager
def gnupg_home(tool):
    """A GNUPGHOME, whose agent ends with it."""
    gpgconf = tool("gpgconf")
    home = Path(tempfile.mkdtemp(prefix="gpg-"))  # not pytest's folder: an agent's socket path has at most 107 bytes
    try:
        yield home
    finally:
        subprocess.run([gpgconf, "--homedir", home, "--kill", "all"], check=True, timeout=60)
        shutil.rmtree(home)


@dataclass(frozen=True)
class Keyring:
    """A gpg with a home of its own, at a time of its own."""

    program: str
    home: Path
    made: dict = field(default_factory=dict)

    def run(self, *arguments, given=None, at=AT, check=True):
        command = [
            self.program,
            "--homedir",
            self.home,
            "--no-tty",
            "--quiet",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]
        now = f"--faked-system-time={at:%Y%m%dT%H%M%S}!"
        done = subprocess.run([*command, now, *arguments], input=given, capture_output=True, timeout=60, check=False)
        assert not check or done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    def key(self, name, kind="ed25519", usage="sign", life="1y"):
        """The fingerprint of the key with this name, made at the first asking."""
        if name not in self.made:
            self.run("--batch", "--quick-generate-key", f"{name} <{name}@example.org>", kind, usage, life, at=MADE)
            self.made[name] = self.fingerprints(name)[0]
        return self.made[name]

    def fingerprints(self, name):
        listed = self.run("--with-colons", "--list-keys", f"<{name}@example.org>").decode().splitlines()
        return [line.split(":")[9] for line in listed if line.startswith("fpr:")]

    def export(self, fingerprint, *options):
        return self.run("--armor", "--export", *options, fingerprint).decode()

    def sign(self, fingerprint, *options, document=DOCUMENT, at=AT, how="--detach-sign"):
        return self.run("--batch", "--armor", "--local-user", f"{fingerprint}!", *options, how, given=document, at=at)

    def edit(self, fingerprint, *commands):
        self.run("--command-fd", "0", "--edit-key", fingerprint, given="\n".join((*commands, "save", "")).encode())
