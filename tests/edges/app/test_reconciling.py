"""The signer's look at its keys, and `attestor hsm reconcile` beside it, on a provisioned device."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import nethsm
import pytest
import pytest_asyncio
import structlog

from attestor.anchor.anchorfile import make_anchor
from attestor.anchor.operations import FileOperations
from attestor.app.clock import now
from attestor.app.provisioning import provision_hsm
from attestor.app.reconciling import acknowledge, look
from attestor.app.release_key import canary_keys_of, device_of, open_release_keys
from attestor.app.watch import KeyWatch
from attestor.config import load_config
from attestor.core.canary import CanaryPermit
from attestor.core.errors import Conflict, Forbidden, Missing
from attestor.core.operations import Acknowledgement
from attestor.core.tlog.merkle import EMPTY_ROOT
from attestor.embedded.device import emulator

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT = Path(__file__).resolve().parents[3]
NAMES = {"packages", "databases", "isos", "vm-images"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployed(tmp_path_factory):
    """A deployment whose device is provisioned: its file, as the signer's user reads it."""
    folder = tmp_path_factory.mktemp("deployed")
    async with emulator(folder / "nethsm") as started:
        text = (ROOT / "ops/attestor.example.toml").read_text()
        for old, new in {
            "production = true": "production = false",
            "https://nethsm.example.org": started.url,
            "1c" * 32: started.fingerprint,
            "/etc/attestor/credentials": "credentials",
            "/var/lib/attestor/": "",
            "/var/lib/attestor-anchor": "anchor",
            "/srv/release": "release",
            "rsa_bits = 4096": "rsa_bits = 2048",
        }.items():
            assert old in text
            text = text.replace(old, new)
        (folder / "attestor.toml").write_text(text)
        (folder / "policy.toml").write_bytes((ROOT / "ops/policy.example.toml").read_bytes())
        for name in ("credentials", "scratch", "release"):
            (folder / name).mkdir(mode=0o700)
        for name in ("signer-seal", "database-signer-password"):
            (folder / "credentials" / name).write_text("x")
            (folder / "credentials" / name).chmod(0o600)
        make_anchor(folder / "anchor", 0, EMPTY_ROOT)
        config = load_config(folder / "attestor.toml")
        report = await provision_hsm(config, now())
        assert report.uncounted == ()
        yield config, started


class Book:
    def __init__(self):
        self.said = {}

    async def stands(self, keys):
        self.said |= {key.name: key for key in keys}


@pytest_asyncio.fixture(loop_scope="module")
async def watch(deployed):
    config, _ = deployed
    passphrases = config.for_role("signer").passphrases
    async with FileOperations.opened(config.signer.anchor) as operations:
        device = device_of(config, operations.count)
        yield KeyWatch(device, operations, await open_release_keys(config, device, passphrases, operations), Book())
        device.close()


def sdk_of(started, user, passphrase):
    host = started.url.removeprefix("https://")
    return nethsm.NetHSM(host, nethsm.Authentication(user, passphrase), ca_certs=str(started.certificate_path))


def past_us(deployed, name):
    """Somebody with the key's passphrase uses it."""
    config, started = deployed
    section = config.signing_keys[name]
    sdk = sdk_of(started, section.device_user, config.credentials.secret(section.passphrase).reveal())
    sdk.sign(section.key_id, nethsm.Base64.encode(b"malware"), nethsm.SignMode.EDDSA)


def said(operations):
    return Acknowledgement("dora", datetime(2026, 3, 1, tzinfo=UTC), "a key ceremony", operations)


async def test_what_provisioning_uses_is_counted_so_that_a_first_start_stops_nothing(watch):
    await watch.reconcile()
    assert set(watch.book.said) == NAMES
    assert {(key.counted, key.operations, key.stopped) for key in watch.book.said.values()} == {(1, 1, False)}
    assert watch.book.said["packages"].certificate == watch.keys["packages"].certificate.raw


async def test_the_canarys_user_signs_with_every_key_and_each_operator_with_its_own_alone(deployed, watch):
    config, _ = deployed
    passphrase = config.for_role("signer").canary
    for name, key in canary_keys_of(config, watch.keys, passphrase).items():
        assert key.key.user == "release~canary"
        async with key.slot() as pen:
            assert await pen.sign(CanaryPermit(key.fingerprint, now(), ("canary@x", "x/log 1"))), name
    await watch.reconcile()
    assert not any(key.stopped for key in watch.book.said.values())
    isos = watch.keys["isos"].key
    thief = type(isos)("x", "packages", isos.user, isos.passphrase, watch.keys["packages"].key.algorithm)
    with pytest.raises(Forbidden, match="tags restriction not met"):
        await watch.device.sign(thief, bytes(64))
    again = await provision_hsm(config, now())
    assert (again.made, again.uncounted) == ((), ())


async def test_a_foreign_use_stops_its_key_until_somebody_says_why(deployed, watch):
    config, _ = deployed
    # A call that the device refused was counted and not made: what is below hides as many foreign uses, until somebody looks.
    await watch.reconcile()
    missing = watch.book.said["packages"].counted - watch.book.said["packages"].operations
    for _ in range(missing + 1):
        past_us(deployed, "packages")
    with structlog.testing.capture_logs() as lines:
        await watch.reconcile()
        await watch.reconcile()
    assert [(line["event"], line["key"]) for line in lines if line["log_level"] == "critical"] == [
        ("key stopped", "packages")
    ]
    assert (await watch.keys["packages"].held()).reason == "hsm-operations-above"
    assert await watch.keys["isos"].held() is None

    found = await look(config, now)
    assert found.unread is None
    assert {name for name, key in found.keys.items() if key.stopped} == {"packages"}
    operations = found.keys["packages"].operations
    with pytest.raises(Conflict, match="hsm-operations-moved"):
        await acknowledge(config, "packages", said(operations - 1))
    with pytest.raises(Missing, match="key-unknown"):
        await acknowledge(config, "nobody's", said(operations))
    assert (await watch.keys["packages"].held()).reason == "hsm-operations-above"
    assert (await acknowledge(config, "packages", said(operations))).counted == operations
    # The running signer needs no restart.
    assert await watch.keys["packages"].held() is None
    await watch.reconcile()
    assert not watch.book.said["packages"].stopped


async def test_the_command_says_it_to_people_and_programs_and_by_its_exit_code(deployed, watch):
    config, _ = deployed
    past_us(deployed, "databases")
    program = [sys.executable, "-m", "attestor", "hsm", "reconcile", "--config", str(config.path)]

    def run(*flags):
        return subprocess.run([*program, *flags], capture_output=True, text=True, check=False)

    asked = run("--json")
    rows = {row["key"]: row for row in json.loads(asked.stdout)}
    assert asked.returncode == 3
    assert (rows["databases"]["state"], rows["databases"]["operations"]) == (
        "stopped",
        rows["databases"]["counted"] + 1,
    )
    assert rows["isos"]["state"] in {"even", "missing"}
    number = str(rows["databases"]["operations"])
    done = run("--acknowledge", "databases", "--count", number, "--reason", "a rehearsal", "--by", "dora")
    assert (done.returncode, "on the word of dora" in done.stderr, "stopped" in done.stdout) == (0, True, False)


async def test_without_the_signers_credentials_its_last_reading_is_shown(deployed, watch, monkeypatch):
    config, _ = deployed
    await watch.reconcile()
    passphrase = config.credentials.path("hsm-isos-passphrase")
    passphrase.rename(passphrase.with_name("elsewhere"))
    try:
        found = await look(config, now)
    finally:
        passphrase.with_name("elsewhere").rename(passphrase)
    assert found.unread.code == "credential-missing"
    assert {key.operations for key in found.keys.values()} != {None}


async def test_calls_that_a_device_does_not_know_of_are_warned_of_once_they_are_not_under_way(watch):
    await watch.operations.count(watch.keys["vm-images"].key.place)
    with structlog.testing.capture_logs() as first:
        await watch.reconcile()
    with structlog.testing.capture_logs() as second:
        await watch.reconcile()
        await watch.reconcile()
    named = [[line["key"] for line in lines if line["event"] == "operations missing"] for lines in (first, second)]
    assert ("vm-images" in named[0], named[1].count("vm-images")) == (False, 1)


async def test_provisioning_far_from_the_anchor_says_what_it_did_not_count(deployed, tmp_path):
    config, _ = deployed
    text = (
        config.path.read_text()
        .replace('anchor = "anchor"', 'anchor = "elsewhere"')
        .replace("[signing_keys.isos]", MORE)
    )
    (config.path.parent / "more.toml").write_text(text)
    report = await provision_hsm(load_config(config.path.parent / "more.toml"), now())
    assert report.uncounted == ("release/more",)


MORE = """[signing_keys.more]
namespace = "release"
key_id = "more"
user = "more"
passphrase = "hsm-more-passphrase"
algorithm = "ed25519"
user_id = "More <more@example.org>"

[signing_keys.isos]"""
