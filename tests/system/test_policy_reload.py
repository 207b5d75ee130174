"""A policy comes into force without a restart: in all roles of a host at once, in two signers one after the other, or not at all."""

import asyncio
import subprocess
import sys
import tomllib
import urllib.request
from signal import SIGHUP
from types import SimpleNamespace

import pytest

from attestor.app.house import make_house
from attestor.client.signing import sign_file
from tests.edges.cli.conftest import attestor, program  # noqa: F401 - the program, for these tests too
from tests.system.conftest import short_folder
from tests.system.houses import START_SECONDS, House, package, until

GOOD, OTHER = b"the package", b"other bytes"


class Town(House):
    """A house whose policy changes."""

    @property
    def config(self):
        return self.folder / "attestor.toml"

    @property
    def policy(self):
        return self.folder / "policy.toml"

    def write(self, *changes, to=None):
        """The next serial, with these (text, other text); returns the serial."""
        text = self.policy.read_text()
        before = tomllib.loads(text)["serial"]
        for old, new in ((f"serial = {before}\n", f"serial = {before + 1}\n"), *changes):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (to or self.policy).write_text(text)
        return before + 1

    def operate(self, path):
        address = tomllib.loads(self.config.read_text())["listeners"][2]["address"]
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.read().decode()

    async def ask(self, name, *, seconds):
        file = self.folder / name.file_name
        file.write_bytes(GOOD)
        async with self.client() as client:
            return (await sign_file(client, file, name, wait_seconds=seconds)).request

    async def request(self, request_id):
        async with self.client() as client:
            return await client.request(request_id)


@pytest.fixture(scope="module")
def town():
    with short_folder() as place:
        town = Town(place / "house")
        make_house(town.folder, print)
        # An RSA key takes its time to be made, and no test here signs with it.
        text = town.config.read_text().replace('"rsa"\nrsa_bits = 4096', '"ed25519"')
        town.config.write_text(text)
        town.start()
        try:
            yield town
        finally:
            town.stop()


SUSPENDED = ("[operators.carol]\n", "[operators.carol]\nsuspended = true\n")


async def test_a_reload_clears_a_dispute_by_suspension_and_each_role_says_so(town, attestor):  # noqa: F811 - the fixture
    await town.attest(package("disputed"), GOOD, "alice", "bob")
    await town.attest(package("disputed"), OTHER, "carol")
    asked = await town.ask(package("disputed"), seconds=0)
    assert (asked.state, asked.reason) == ("waiting", "disputed")
    roles = town.roles()
    serial = town.write(SUSPENDED)
    said = attestor("policy", "reload", "--config", town.config)
    assert said.code == 0, said
    assert "operator carol is suspended" in said.out
    for role, pid in roles.items():
        assert f"{role} {pid}: serial {serial} is in force" in said.out
    assert town.roles() == roles
    signed = await until(lambda: town.request(asked.id), lambda request: request.state == "signed")
    assert signed.sentence == "Signed."
    assert '"policy","ready":true' in town.operate("/readyz")
    assert f"serial {serial}, " in town.operate("/readyz")
    assert f'attestor_policy_serial{{role="api"}} {serial}.0' in town.operate("/metrics")
    again = attestor("policy", "reload", "--config", town.config)
    assert (again.code, again.out.count("already, unchanged")) == (0, 3)


REFUSED = {
    "an older serial": "policy-serial",
    "the same serial with other words": "policy-serial",
    "a signing key that the deployment has not": "config-invalid",
    "no TOML": "policy-invalid",
}


def spoilt(text, case):
    serial = tomllib.loads(text)["serial"]
    match case:
        case "an older serial":
            return text.replace(f"serial = {serial}\n", f"serial = {serial - 1}\n")
        case "the same serial with other words":
            return f"# another remark\n{text}"
        case "a signing key that the deployment has not":
            text = text.replace('signing_key = "packages"', 'signing_key = "unheard-of"')
        case "no TOML":
            text += "["
    return text.replace(f"serial = {serial}\n", f"serial = {serial + 1}\n")


async def test_what_cannot_follow_leaves_the_one_in_force_and_says_so(town, attestor):  # noqa: F811
    sound = town.policy.read_text()
    serial = tomllib.loads(sound)["serial"]
    roles = town.roles()
    for number, (case, code) in enumerate(REFUSED.items(), 1):
        town.policy.write_text(spoilt(sound, case))
        said = attestor("policy", "reload", "--config", town.config)
        assert (said.code, code in said.err) == (1, True), (case, said)
        # Whoever signals without looking first: each role looks by itself.
        town.process.send_signal(SIGHUP)
        town.await_log(r'"event": "policy refused"', 3 * number)
        assert f"[{code}]" in town.operate("/readyz"), case
        assert f"serial {serial}, " in town.operate("/readyz"), case
    town.policy.write_text(sound)
    town.process.send_signal(SIGHUP)
    await until(lambda: asyncio.to_thread(town.operate, "/readyz"), lambda said: "was refused" not in said)
    assert town.roles() == roles
    await town.attest(package("after"), GOOD, "alice", "bob")
    assert (await town.ask(package("after"), seconds=30)).state == "signed"


@pytest.fixture
def second(town):
    """Another signer of the same log, on the same anchor, with a policy file of its own: as on another host."""
    policy, config = town.folder / "second-policy.toml", town.folder / "second.toml"
    policy.write_bytes(town.policy.read_bytes())
    text = town.config.read_text().replace('policy = "policy.toml"', 'policy = "second-policy.toml"')
    config.write_text(text.replace('instance = "signer-1"', 'instance = "signer-2"'))
    log = town.folder.parent / "second.log"
    arguments = [sys.executable, "-m", "attestor", "serve", "--config", str(config), "--role", "signer"]
    with log.open("wb") as out:
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield SimpleNamespace(config=config, policy=policy, log=log, process=process)
    finally:
        process.terminate()
        process.wait(60)


async def test_a_reload_in_one_signer_after_the_other_refuses_nothing(town, second, attestor):  # noqa: F811
    await until(
        lambda: asyncio.to_thread(second.log.read_text), lambda text: '"event": "signing"' in text, START_SECONDS
    )
    names = [package(f"rolling-{number}") for number in range(6)]
    for name in names:
        await town.attest(name, GOOD, "alice", "bob")
    before = [await town.ask(name, seconds=0) for name in names[:3]]
    serial = town.write()
    assert attestor("policy", "reload", "--config", town.config).code == 0
    asked = [*before, *[await town.ask(name, seconds=0) for name in names[3:]]]
    # It notices by the log, looks for the newer file, has none, and signs nothing.
    await until(lambda: asyncio.to_thread(second.log.read_text), lambda text: '"event": "policy older"' in text)
    for request in asked:
        settled = await until(lambda which=request.id: town.request(which), lambda seen: seen.state != "queued")
        settled = await until(lambda which=request.id: town.request(which), lambda seen: seen.state == "signed")
        assert settled.id == request.id
    assert second.process.poll() is None
    assert "signer-2" in town.operate("/readyz")
    assert 'attestor_policy_agreed{instance="signer-2"} 0.0' in town.operate("/metrics")
    second.policy.write_bytes(town.policy.read_bytes())
    said = attestor("policy", "reload", "--config", second.config)
    assert (said.code, f"signer {second.process.pid}: serial {serial} is in force" in said.out) == (0, True), said
    agreed = 'attestor_policy_agreed{instance="signer-2"} 1.0'
    await until(lambda: asyncio.to_thread(town.operate, "/metrics"), lambda text: agreed in text)
