import json
import re
import ssl
import sys
import tomllib
from subprocess import run

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestor.cli.output import Exit
from attestor.config import load_config
from attestor.core.tls import fingerprint_of


@pytest.fixture
def started(attestor, tmp_path):
    said = attestor("init", tmp_path / "new", "--server-name", "attestor.example.org")
    assert said.code == Exit.YES, said.err
    return tmp_path / "new"


def put_keys_in(policy):
    policy.write_text(re.sub(r"REPLACE: .*\n", lambda _found: public_pem(), policy.read_text()))


def public_pem():
    public = Ed25519PrivateKey.generate().public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_what_init_writes_is_refused_until_the_operators_keys_are_in_and_says_which_is_missing(attestor, started):
    said = attestor("policy", "check", started / "policy.toml")
    assert said.code == Exit.ERROR
    assert "operators.alice.keys[0].public_key" in said.err
    assert said.err.endswith("[policy-invalid]\n")


def test_after_the_printed_steps_what_init_wrote_loads_for_each_role(started):
    put_keys_in(started / "policy.toml")
    for name in ("packages", "databases", "isos", "vm-images", "canary"):
        path = started / f"credentials/hsm-{name}-passphrase"
        path.touch(mode=0o600)
        path.write_text("a passphrase")

    config = load_config(started / "attestor.toml")

    assert config.warnings == ()
    assert config.hsm.production
    for role in ("api", "sequencer", "signer", "owner"):
        assert "password=" in config.for_role(role).dsn.reveal()


def test_only_their_owner_may_enter_what_init_makes(started):
    open_to_others = [path for path in (started, *started.rglob("*")) if path.stat().st_mode & 0o077]
    assert open_to_others == []


def test_the_servers_certificate_is_of_its_names_and_fits_its_key(started):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(started / "server.pem", started / "credentials/server.key")
    certificate = x509.load_pem_x509_certificate((started / "server.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "attestor.example.org"]


def test_the_first_client_may_ask_by_the_first_policy(started):
    put_keys_in(started / "policy.toml")
    certificate = x509.load_pem_x509_certificate((started / "build-service.pem").read_bytes())
    policy = load_config(started / "attestor.toml").policy
    assert policy.requester_known_by(fingerprint_of(certificate.public_key())) == "build-service"


def test_init_touches_no_folder_that_holds_something(attestor, tmp_path):
    (tmp_path / "kept").write_text("mine")
    tmp_path.chmod(0o700)
    said = attestor("init", tmp_path)
    assert (said.code, [path.name for path in tmp_path.iterdir()]) == (Exit.ERROR, ["kept"])
    assert "[folder-not-empty]" in said.err


def test_ca_issue_prints_the_policys_lines_for_a_requester(attestor, started):
    said = attestor("ca", "issue", "builder-2", "--client", "--ca", started / "ca", "--out", started)
    assert said.code == Exit.YES, said.err
    lines = tomllib.loads(said.out[said.out.index("[requesters") :])
    certificate = x509.load_pem_x509_certificate((started / "builder-2.pem").read_bytes())
    assert lines == {"requesters": {"builder-2": {"clients": [fingerprint_of(certificate.public_key())]}}}
    assert (started / "builder-2.key").stat().st_mode & 0o777 == 0o600


def test_ca_issue_makes_a_certificate_of_names_and_addresses_and_prints_no_policy(attestor, started):
    arguments = ("--server-name", "a.example.org", "--server-name", "192.0.2.7", "--days", "30")
    said = attestor("ca", "issue", "listener", *arguments, "--ca", started / "ca", "--out", started)
    assert (said.code, "requesters" in said.out) == (Exit.YES, False)
    certificate = x509.load_pem_x509_certificate((started / "listener.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example.org"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("ca", "issue", "nobody"), "certificate-without-use"),
        (("ca", "issue", "UPPER", "--client"), "certificate-name"),
        (("ca", "issue", "long", "--client", "--days", "100000"), "certificate-validity"),
    ],
)
def test_a_certificate_that_makes_no_sense_is_an_error_with_a_code(attestor, started, arguments, code):
    said = attestor(*arguments, "--ca", started / "ca", "--out", started)
    assert said.code == Exit.ERROR
    assert re.fullmatch(rf"error: .+ \[{code}\]\n", said.err)


def test_policy_check_as_json_names_who_could_stop_what(attestor, started):
    put_keys_in(started / "policy.toml")
    said = attestor("policy", "check", started / "policy.toml", "--json")
    tiers = {tier["name"]: tier for tier in json.loads(said.out)["tiers"]}
    assert [stopper["operator"] for stopper in tiers["packages"]["stoppers"]] == ["alice", "bob", "carol"]
    assert tiers["databases"]["stoppers"] == [{"operator": "release-host", "how": ["silence"]}]
    assert tiers["packages"]["signingKey"] == "packages"


@pytest.fixture
def two_policies(started):
    """A policy, and the next one, in which bob's key stands no more."""
    before, after = started / "policy.toml", started / "policy-new.toml"
    put_keys_in(before)
    text = before.read_text()
    key = tomllib.loads(text)["operators"]["bob"]["keys"][0]["public_key"].lstrip()
    after.write_text(text.replace(key, public_pem()).replace("serial = 1\n", "serial = 2\n"))
    return before, after


def test_policy_check_against_the_former_one_says_what_to_look_at_twice(attestor, two_policies):
    before, after = two_policies
    said = attestor("policy", "check", after, "--against", before)
    assert said.code == Exit.YES
    assert "2 differences from the policy before" in said.out
    assert "warning: operator bob: key" in said.out
    assert "revoke a key, do not remove it" in said.out
    assert "no differences from the policy before" in attestor("policy", "check", after, "--against", after).out


def test_policy_check_against_the_former_one_as_json_names_each_change(attestor, two_policies):
    before, after = two_policies
    said = json.loads(attestor("policy", "check", after, "--against", before, "--json").out)
    assert said["policy"]["serial"] == 2
    assert [change["warning"] for change in said["changes"]] == [False, True]


def test_policy_reload_without_a_running_role_says_so(attestor, started):
    put_keys_in(started / "policy.toml")
    said = attestor("policy", "reload", "--config", started / "attestor.toml")
    assert (said.code, said.out) == (Exit.ERROR, "")
    assert said.err.endswith("that it runs on this host. [nothing-running]\n")


def test_policy_check_tells_people_the_same(attestor, started):
    put_keys_in(started / "policy.toml")
    said = attestor("policy", "check", started / "policy.toml")
    assert said.code == Exit.YES
    assert "2 of 3: alice, bob, carol" in said.out
    assert "release-host (by silence)" in said.out
    assert "attestor.example.org/log" in said.out
    assert "0 needed of 0: none" in said.out


@pytest.mark.parametrize(
    "arguments",
    [("polic",), ("request",), ("status", "--state", "maybe"), ("serve",), ("serve", "--role", "god"), ("requests",)],
    ids=" ".join,
)
def test_a_slip_of_the_fingers_is_exit_code_1_and_never_looks_like_pending(attestor, arguments):
    assert attestor(*arguments).code == Exit.ERROR


def test_the_process_itself_ends_with_the_exit_code(tmp_path):
    done = run(
        [sys.executable, "-m", "attestor", "policy", "check", tmp_path / "none"], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.endswith(b"[policy-missing]\n")) == (Exit.ERROR, b"", True)


def test_a_file_that_is_not_there_is_said_in_one_line(attestor, tmp_path):
    said = attestor("check", "--config", tmp_path / "attestor.toml")
    assert said.code == Exit.ERROR
    assert re.fullmatch(r"error: .+ \[config-missing\]\n", said.err)
