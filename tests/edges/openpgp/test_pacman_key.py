"""pacman's own verification, with a keyring of its own: what `SigLevel = Required` rests on."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest

from attestor.openpgp.signature import draft_signature
from tests.edges.openpgp.softkeys import BORN

pytestmark = pytest.mark.required_in_ci
PACKAGE = b"any bytes: pacman-key does not open a package"


@pytest.fixture(scope="module")
def pacman_key(tool):
    """`pacman_key("--verify", ...)` is its exit code and output."""
    program, gpgconf = tool("pacman-key"), tool("gpgconf")
    if os.geteuid() != 0:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("pacman-key changes a keyring only as root")
    keyring = Path(tempfile.mkdtemp(prefix="pac-"))

    def run(*arguments):
        done = subprocess.run(
            [program, "--gpgdir", keyring, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C"},
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout.decode(errors="replace")

    try:
        assert run("--init")[0] == 0
        yield run
    finally:
        subprocess.run([gpgconf, "--homedir", keyring, "--kill", "all"], check=True, timeout=60)
        shutil.rmtree(keyring)


def test_pacman_key_trusts_the_signature_once_the_certificate_is_signed_locally(release, pacman_key, tmp_path):
    hasher = hashlib.sha512(PACKAGE)
    created = BORN + timedelta(days=1)
    draft = draft_signature(release.certificate, created=created, file_sha512=hasher.digest())
    certificate, package, signature = (tmp_path / name for name in ("release.gpg", "p", "p.sig"))
    certificate.write_bytes(release.raw)
    package.write_bytes(PACKAGE)
    signature.write_bytes(draft.seal(release.device.sign(draft.digest(hasher)), hasher))

    assert pacman_key("--add", certificate)[0] == 0
    assert pacman_key("--verify", signature, package)[0] != 0  # good, but nobody here vouches for the key yet
    assert pacman_key("--lsign-key", release.certificate.fingerprint)[0] == 0
    code, output = pacman_key("--verify", signature, package)
    assert (code, "[full]" in output) == (0, True), output
    package.write_bytes(PACKAGE + b"\n")
    assert pacman_key("--verify", signature, package)[0] != 0
