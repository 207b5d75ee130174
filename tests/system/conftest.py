"""One real service for all that only asks it something; each test names releases of its own."""

import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from attestor.app.embedded import resolved
from attestor.app.house import OPERATORS, make_house
from attestor.app.proof import proof_of
from attestor.client.signing import sign_file
from attestor.config import load_config
from attestor.embedded.ca import CertificateAuthority
from tests.conftest import _run
from tests.logkeys import log_signer, seal_secret
from tests.system.houses import House
from tests.system.policytext import ORIGIN, deployment_text, policy_text

# The key of reproducible.archlinux.org as it publishes it: with a NULL that RFC 8410 forbids.
ARCH_REBUILDER = """-----BEGIN PUBLIC KEY-----
MCwwBwYDK2VwBQADIQBLNcEcgErQ1rZz9oIkUnzc3fPuqJEALr22rNbrBK7iqQ==
-----END PUBLIC KEY-----
"""


@contextmanager
def short_folder():
    """A new folder with a short path, because sockets below it must fit 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="attestor-") as place:
        yield Path(place)


@pytest.fixture(scope="session")
def house():
    with short_folder() as place:
        folder = place / "house"
        make_house(folder, print)
        _lay_out(folder)
        house = House(folder)
        house.start()
        try:
            yield house
        finally:
            house.stop()


def _lay_out(folder):
    authority = CertificateAuthority.load(folder / "ca")
    now = datetime.now(UTC)  # noqa: TID251 - certificates for this very run
    clients = {"build-service": _fingerprint_in(folder / "policy.toml")}
    for name in ("mirror", "unlisted"):
        issued = authority.issue(name, client=True, valid_days=1, now=now)
        issued.write(folder)
        clients[name] = issued.client_fingerprint
    keys = {operator: House(folder).key(operator).public_pem for operator in OPERATORS}
    (folder / "policy.toml").write_text(policy_text(keys, ARCH_REBUILDER, clients))
    (folder / "credentials/log-key").write_text(log_signer(ORIGIN).skey)
    (folder / "credentials/signer-seal").write_text(seal_secret())
    config = folder / "attestor.toml"
    config.write_text(deployment_text(config.read_text()))


def _fingerprint_in(policy):
    return policy.read_text().partition('clients = ["')[2].partition('"')[0]


@pytest.fixture
async def client(house):
    """The build service."""
    async with house.client() as client:
        yield client


@pytest.fixture
def sign(client, tmp_path):
    """`await sign(name, content)` asks for the signature of these bytes and waits for what comes of it."""

    async def ask(name, content, where=None, *, seconds=30):
        file = tmp_path / name.file_name
        file.write_bytes(content)
        return await sign_file(client, file, name, wait_seconds=seconds, content=where)

    return ask


@pytest.fixture(scope="session")
def certificates(house):
    """Release key name to the file of its OpenPGP certificate, as the device holds it."""
    with short_folder() as place:
        proof = _run(proof_of(resolved(load_config(house.folder / "attestor.toml")), place / "certificates"))
        yield {file.stem: file for file in proof.files}


@pytest.fixture(scope="session")
def gpg(tool, certificates):
    """`gpg(content, signature)` is the status lines of a verification that succeeded, or `None`."""
    program = tool("gpg")
    home = Path(tempfile.mkdtemp(prefix="gpg-"))
    base = [program, "--homedir", home, "--batch", "--quiet", "--no-autostart", "--trust-model", "always"]
    subprocess.run([*base, "--import", *certificates.values()], check=True, capture_output=True)

    def verify(content, signature):
        (home / "file").write_bytes(content)
        (home / "file.sig").write_bytes(signature)
        call = [*base, "--status-fd", "1", "--verify", home / "file.sig", home / "file"]
        done = subprocess.run(call, check=False, capture_output=True)
        # The data-digest notation is 64 raw bytes, and gpg prints them.
        return done.stdout.decode(errors="replace") if done.returncode == 0 else None

    yield verify
    shutil.rmtree(home)
