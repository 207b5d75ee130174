"""Release keys of every type, and a gpg with an empty home of its own."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.edges.openpgp.softkeys import MAKERS, release_key
from tests.gnupg import gnupg_home


@pytest.fixture(params=MAKERS)
def release(request):
    """A release key of each type: its device, its certificate."""
    return release_key(request.param)


@pytest.fixture
def ed25519():
    return release_key("ed25519")


@dataclass(frozen=True)
class Gpg:
    program: str
    home: Path

    def run(self, *arguments, given=None, check=True):
        command = [self.program, "--homedir", self.home, "--batch", "--no-tty", *arguments]
        done = subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)
        assert not check or done.returncode == 0, done.stderr.decode(errors="replace")
        return done

    def import_certificate(self, raw):
        return self.run("--status-fd", "1", "--import", given=raw).stdout.decode(errors="replace")

    def verify(self, folder, signature, content):
        """Exit code and status lines of `gpg --verify`."""
        (folder / "file.sig").write_bytes(signature)
        (folder / "file").write_bytes(content)
        done = self.run("--status-fd", "1", "--verify", folder / "file.sig", folder / "file", check=False)
        return done.returncode, done.stdout.decode(errors="replace")


@pytest.fixture(scope="session")
def gpg(tool):
    with gnupg_home(tool) as home:
        yield Gpg(tool("gpg"), home)
