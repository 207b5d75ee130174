"""A deployment in a folder, made of the example files, that tests spoil one thing at a time."""

import pytest

from attestor.cli.examples import DEPLOYMENT_EXAMPLE, POLICY_EXAMPLE, render

CREDENTIALS = {
    "database-api-password": "api/secret&1",
    "database-sequencer-password": "sequencer-secret",
    "database-signer-password": "signer-secret",
    "log-key": "log-secret",
    "signer-seal": "seal-secret",
    "database-owner-password": "owner-secret",
    "server.key": "a TLS key",
    "hsm-admin-passphrase": "admin-secret",
    "hsm-unlock-passphrase": "unlock-secret",
    "hsm-packages-passphrase": "packages-secret",
    "hsm-databases-passphrase": "databases-secret",
    "hsm-isos-passphrase": "isos-secret",
    "hsm-vm-images-passphrase": "vm-images-secret",
    "hsm-canary-passphrase": "canary-secret",
}


@pytest.fixture(autouse=True)
def no_handed_credentials(monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


@pytest.fixture
def deployment(tmp_path):
    """The path of an `attestor.toml` with everything that it names."""
    for folder in ("scratch", "release", "credentials"):
        (tmp_path / folder).mkdir(mode=0o700)
    for name, text in CREDENTIALS.items():
        path = tmp_path / "credentials" / name
        path.write_text(text + "\n")
        path.chmod(0o600)
    for name in ("server.pem", "ca.pem"):
        (tmp_path / name).write_text("a certificate\n")
    values = {
        **DEPLOYMENT_EXAMPLE,
        "credentials": "credentials",
        "certificate": "server.pem",
        "client_ca": "ca.pem",
        "spool": "spool",
        "scratch": "scratch",
        "root": "release",
        "anchor": "anchor",
    }
    (tmp_path / "policy.toml").write_text(render("policy.toml", POLICY_EXAMPLE))
    path = tmp_path / "attestor.toml"
    path.write_text(render("attestor.toml", values))
    return path


@pytest.fixture
def spoiled(deployment):
    """`spoiled(old, new)` is the deployment with one piece of its text replaced."""

    def replace(old, new):
        text = deployment.read_text()
        assert old in text, f"the example no longer holds {old!r}"
        deployment.write_text(text.replace(old, new))
        return deployment

    return replace
