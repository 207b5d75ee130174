import os
from pathlib import Path

import pytest

from attestor.cli.examples import DEPLOYMENT_EXAMPLE, POLICY_EXAMPLE, render
from attestor.config import Role, load_config
from attestor.content.https import HttpsRoot
from attestor.content.roots import DirectoryRoot
from attestor.core.errors import Missing, Rejected

OPS = Path(__file__).resolve().parents[3] / "ops"
NO_CA = 'audiences = ["request", "read"]\ncertificate = "server.pem"\nkey = "server.key"\n'


@pytest.mark.parametrize(
    ("name", "template", "values"),
    [
        ("policy.example.toml", "policy.toml", POLICY_EXAMPLE),
        ("attestor.example.toml", "attestor.toml", DEPLOYMENT_EXAMPLE),
    ],
)
def test_the_example_in_ops_is_the_text_that_init_fills_in(name, template, values):
    assert (OPS / name).read_text() == render(template, values)


def test_the_examples_in_ops_load_without_a_warning_about_them(tmp_path):
    for name, target in (("policy.example.toml", "policy.toml"), ("attestor.example.toml", "attestor.toml")):
        (tmp_path / target).write_bytes((OPS / name).read_bytes())

    config = load_config(tmp_path / "attestor.toml")

    assert config.warnings == ()
    assert {tier.name for tier in config.policy.tiers} == {"packages", "databases", "isos", "vm-images"}
    assert config.hsm.production


def test_relative_paths_count_from_the_files_folder(deployment, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    config = load_config(deployment)
    assert config.content.spool == deployment.parent / "spool"
    assert config.policy_path == deployment.parent / "policy.toml"
    assert config.listeners[0].certificate == deployment.parent / "server.pem"
    assert config.pull_roots == {"release": DirectoryRoot(deployment.parent / "release")}


def test_a_pull_root_may_be_an_https_address(spoiled):
    config = load_config(spoiled('release = "release"', 'release = "https://pool.example.org/x86_64/"'))
    assert config.pull_roots == {"release": HttpsRoot("https://pool.example.org/x86_64/", 600)}


@pytest.mark.parametrize(
    ("old", "new", "place", "sentence"),
    [
        pytest.param("tries = 5", "tries = 5\ntry = 5", "signer", "unknown field", id="an unknown key"),
        pytest.param("[logging]", "[loging]", "", "unknown field", id="an unknown section"),
        pytest.param("tries = 5\n", "", "signer", "tries", id="a security number is missing"),
        pytest.param("slots = 8", "slots = 0", "hsm.slots", ">= 1", id="no slot at the HSM"),
        pytest.param("slots = 8", 'slots = "8"', "hsm.slots", "Expected", id="a number that is text"),
        pytest.param('"server.key"', '"../server.key"', "listeners[0].key", "regex", id="a credential that is a path"),
        pytest.param('"https://nethsm', '"http://nethsm', "hsm.nodes[0].url", "regex", id="an HSM without TLS"),
        pytest.param("1c" * 32, "1c" * 31, "hsm.nodes[0].fingerprint", "regex", id="a fingerprint too short"),
        pytest.param("attestor_api@", "attestor_api:pw@", "database.dsn_api", "password", id="a password in the file"),
        pytest.param(
            "attestor?sslmode=verify-full", "attestor?password=pw", "database.dsn_api", "password", id="one in the query"
        ),
        pytest.param("?sslmode=verify-full", "", "database.dsn_api", "verify-full", id="a database over an open network"),
        pytest.param("sslmode=verify-full", "sslmode=require", "database.dsn_api", "verify-full", id="one that anybody can be"),
        pytest.param("postgresql://attestor_api@", "mysql://x@", "database.dsn_api", "postgresql", id="not PostgreSQL"),
        pytest.param("attestor_signer@", "attestor_api@", "database", "its own", id="two roles, one database user"),
        pytest.param('["operate", "read"]', "[]", "listeners[2].audiences", "nobody", id="a listener for nobody"),
        pytest.param('["operate", "read"]', '["operat"]', "listeners[2].audiences[0]", "Invalid enum", id="an unknown audience"),
        pytest.param('["operate", "read"]', '["read", "read"]', "listeners[2].audiences", "twice", id="one audience twice"),
        pytest.param(NO_CA + 'client_ca = "ca.pem"', NO_CA, "listeners[1].client_ca", "mutual TLS", id="request without client CA"),
        pytest.param('"[::]:8444"', '"[::]:8443"', "listeners[1].address", "twice", id="one address twice"),
        pytest.param('"[::]:8444"', '"8444"', "listeners[1].address", "HOST:PORT", id="an address without host"),
        pytest.param('"[::]:8444"', '"[::]:84444"', "listeners[1].address", "HOST:PORT", id="a port out of range"),
        pytest.param('"127.0.0.1:8080"', '"0.0.0.0:8080"', "listeners[2].certificate", "loopback", id="plain HTTP for all"),
        pytest.param('\nkey = "server.key"', "", "listeners[0].key", "together", id="a certificate without key"),
        pytest.param('["request", "read"]', '["request", "read"]\nproxies = ["192.0.2.10"]', "listeners[1].proxies", "TLS ends here", id="request behind a proxy"),
        pytest.param('["read", "submit"]', '["read", "submit"]\nproxies = ["192.0.2.300"]', "listeners[0].proxies", "address or network", id="a proxy that is no address"),
        pytest.param('["read", "submit"]', '["read", "submit"]\nproxies = ["192.0.2.1/24"]', "listeners[0].proxies", "host bits", id="a proxy's network with a host in it"),
        pytest.param('["read", "submit"]', '["read", "submit"]\nproxies = ["0.0.0.0/0"]', "listeners[0].proxies", "everybody", id="everybody as a proxy"),
        pytest.param('["read", "submit"]', '["read", "submit"]\nproxies = ["::/0"]', "listeners[0].proxies", "everybody", id="everybody by IPv6"),
        pytest.param('"127.0.0.1:8080"\naudiences = ["operate", "read"]', '"unix:/run/a.sock"\naudiences = ["operate"]', "listeners[2].audiences", "operate needs", id="metrics on a socket"),
        pytest.param('"127.0.0.1:8080"\naudiences = ["operate", "read"]', '"unix:a.sock"\naudiences = ["read"]', "listeners[2].address", "absolute", id="a socket without folder"),
        pytest.param('"127.0.0.1:8080"\naudiences = ["operate", "read"]', '"unix:/run/a.sock"\naudiences = ["read"]\nproxies = ["192.0.2.1"]', "listeners[2].proxies", "on a socket", id="a socket behind a proxy"),
        pytest.param('"[::]:8444"', '"unix:/run/a.sock"', "listeners[1].certificate", "no TLS", id="a socket with TLS"),
        pytest.param("[limits]", "[limit]", "limit", "unknown", id="no limits under their own name"),
        pytest.param("requests = { per_minute = 600, burst = 5000 }\n", "", "limits", "requests", id="no limit for requests"),
        pytest.param("replays = { per_minute = 600, burst = 10000 }\n", "", "limits", "replays", id="no limit for replays"),
        pytest.param("payloads = { per_minute = 12000, burst = 50000 }\n", "", "limits", "payloads", id="no limit for payloads"),
        pytest.param("per_minute = 12000", "per_minute = 0", "limits.payloads.per_minute", ">= 0.01", id="a rate of nothing"),
        pytest.param("burst = 5000 ", "burst = 0 ", "limits.requests.burst", ">= 1", id="a burst of nothing"),
        pytest.param(", burst = 10000", "", "limits.replays", "burst", id="a rate without burst"),
        pytest.param("[alarms]\ndissents_per_hour = 50\n", "", "the file", "alarms", id="no alarms"),
        pytest.param("dissents_per_hour = 50", "", "alarms", "dissents_per_hour", id="no limit of dissents"),
        pytest.param("dissents_per_hour = 50", "dissents_per_hour = 0", "alarms.dissents_per_hour", ">= 1", id="a limit of no dissents"),
        pytest.param("lease_seconds = 60", "lease_seconds = 10", "signer.lease_seconds", "deadline", id="a lease too short"),
        pytest.param("[[hsm.nodes]]", "[[hsm.node]]", "hsm", "unknown field", id="no nodes, misspelt"),
        pytest.param("274877906944", "1024", "content.max_total_bytes", "max_bytes", id="a spool smaller than a file"),
        pytest.param('"scratch"', '"spool"', "content.scratch", "another", id="spool and scratch are one"),
        pytest.param("[signing_keys.isos]", "[signing_keys.iso]", "signing_keys.isos", "missing", id="a tier's key is missing"),
        pytest.param('key_id = "isos"', 'key_id = "packages"', "signing_keys.isos.key_id", "two kinds", id="one key, two kinds"),
        pytest.param('key_id = "isos"\nuser = "isos"', 'key_id = "isos"\nuser = "packages"', "signing_keys.isos.user", "two kinds", id="one HSM user, two keys"),
        pytest.param(
            '"hsm-isos-passphrase"', '"hsm-packages-passphrase"', "signing_keys.isos.passphrase", "two", id="one passphrase, two keys"
        ),
        pytest.param('user = "canary"', 'user = "isos"', "canary.user", "another HSM user", id="a canary that may sign releases"),
        pytest.param('"hsm-canary-passphrase"', '"hsm-isos-passphrase"', "canary.passphrase", "of its own", id="a canary with a release key's passphrase"),
        pytest.param('"hsm-canary-passphrase"', '"signer-seal"', "canary.passphrase", "of its own", id="a canary with the seal"),
        pytest.param("interval_seconds = 86400", "interval_seconds = 5", "canary.interval_seconds", ">= 60", id="a canary without rest"),
        pytest.param("rsa_bits = 4096\n", "", "signing_keys.isos.rsa_bits", "rsa", id="RSA without bits"),
        pytest.param("rsa_bits = 4096", "rsa_bits = 1024", "signing_keys[...].rsa_bits", ">= 2048", id="a weak RSA key"),
        pytest.param('"hsm-unlock-passphrase"', '"hsm-admin-passphrase"', "hsm.unlock_passphrase", "another", id="one passphrase to unlock and rule"),
        pytest.param('release = "release"', 'release = "http://pool/"', "content.roots.release", "https://", id="a root without TLS"),
        pytest.param("[logging]", '[embedded]\nenabled = true\nfolder = "e"\n[logging]', "embedded.enabled", "first look", id="embedded in production"),
        pytest.param('key = "log-key"\n', "", "log", "`key`", id="no log key"),
        pytest.param('[log]\nkey = "log-key"\npoll_seconds = 1\n', "", "the file", "`log`", id="no log at all"),
        pytest.param('"log-key"', '"../log-key"', "log.key", "regex", id="a log key that is a path"),
        pytest.param('"log-key"', '"hsm-isos-passphrase"', "log.key", "only the sequencer", id="a log key that the signer reads"),
        pytest.param('"log-key"', '"server.key"', "log.key", "only the sequencer", id="a log key that the API reads"),
        pytest.param('"log-key"', '"database-signer-password"', "log.key", "only the sequencer", id="a log key that is a password"),
        pytest.param('"log-key"', '"signer-seal"', "signer.seal", "of its own", id="a log key that is the seal"),
        pytest.param('"signer-seal"', '"server.key"', "signer.seal", "of its own", id="a seal that the API reads"),
        pytest.param('seal = "signer-seal"\n', "", "signer", "`seal`", id="no seal"),
        pytest.param('anchor = "anchor"\n', "", "signer", "`anchor`", id="no anchor"),
        pytest.param('anchor = "anchor"', 'anchor = ""', "signer.anchor", "path", id="an anchor nowhere"),
        pytest.param('anchor = "anchor"', 'anchor = "spool"', "signer.anchor", "content.spool", id="an anchor in the spool"),
        pytest.param('anchor = "anchor"', 'anchor = "scratch/a"', "signer.anchor", "content.scratch", id="an anchor below scratch"),
        pytest.param('anchor = "anchor"', 'anchor = "x/../release/a"', "signer.anchor", "content.roots.release", id="an anchor that is pulled, with dots"),
        pytest.param('anchor = "anchor"', 'anchor = "credentials"', "signer.anchor", "credentials", id="an anchor among credentials"),
        pytest.param('anchor = "anchor"', 'anchor = "."', "content.spool", "signer.anchor", id="an anchor around everything"),
        pytest.param('instance = "signer-1"\n', "", "signer", "`instance`", id="a signer without name"),
        pytest.param('"signer-1"', '"Signer 1"', "signer.instance", "regex", id="an odd name of a signer"),
        pytest.param("attestor_sequencer@", "attestor_signer@", "database", "its own", id="signer and sequencer as one user"),
        pytest.param("[logging]", "[logging", "the file", "", id="not TOML"),
    ],
)  # fmt: skip
def test_a_deployment_that_does_not_fit_is_refused_with_file_place_and_sentence(spoiled, old, new, place, sentence):
    path = spoiled(old, new)
    with pytest.raises(Rejected) as refused:
        load_config(path)
    assert refused.value.code == "config-invalid"
    assert refused.value.sentence.startswith(f"{path}: ")
    assert place in refused.value.sentence
    assert sentence in refused.value.sentence


def test_no_node_is_refused_unless_the_emulator_is_embedded(spoiled):
    text = spoiled("production = true", "production = false").read_text()
    start, end = text.index("[[hsm.nodes]]"), text.index("# Each release key")
    path = spoiled(text[start:end], "nodes = []\n")
    with pytest.raises(Rejected, match=r"hsm\.nodes"):
        load_config(path)
    spoiled("[logging]", '[embedded]\nenabled = true\nfolder = "e"\n[logging]')
    assert load_config(path).embedded.folder == path.parent / "e"


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(Missing) as refused:
        load_config(tmp_path / "attestor.toml")
    assert refused.value.code == "config-missing"


def test_a_missing_policy_says_so(deployment):
    (deployment.parent / "policy.toml").unlink()
    with pytest.raises(Missing) as refused:
        load_config(deployment)
    assert refused.value.code == "policy-missing"


def test_a_file_that_is_not_utf_8_is_refused(deployment):
    deployment.write_bytes(b"policy = '\xff'")
    with pytest.raises(Rejected, match="UTF-8"):
        load_config(deployment)


def test_a_file_over_the_limit_is_refused_before_it_is_decoded(deployment):
    deployment.write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(Rejected, match="is over"):
        load_config(deployment)


def test_a_signing_key_that_no_tier_uses_and_an_audience_that_nobody_serves_are_warned_about(spoiled):
    spoiled(
        "[signer]",
        '[signing_keys.spare]\nnamespace = "s"\nkey_id = "s"\nuser = "s"\npassphrase = "s"\nalgorithm = "p521"\nuser_id = "S"\n[signer]',
    )
    path = spoiled('["read", "submit"]', '["read"]')
    assert load_config(path).warnings == (
        "signing_keys.spare is used by no tier of the policy",
        "no listener serves 'submit'",
    )


def test_the_api_gets_its_own_credentials_only(deployment):
    for name in (
        "hsm-packages-passphrase",
        "database-signer-password",
        "log-key",
        "signer-seal",
        "hsm-admin-passphrase",
    ):
        (deployment.parent / "credentials" / name).unlink()

    view = load_config(deployment).for_role("api")

    assert view.dsn.reveal().endswith("sslmode=verify-full&password=api%2Fsecret%261")
    assert [served.key for served in view.listeners] == [deployment.parent / "credentials/server.key"] * 2 + [None]
    assert view.passphrases == {}


def test_the_signer_gets_its_own_credentials_only(deployment):
    for name in ("server.key", "database-api-password", "log-key", "hsm-admin-passphrase", "hsm-unlock-passphrase"):
        (deployment.parent / "credentials" / name).unlink()

    view = load_config(deployment).for_role(Role.SIGNER)

    assert {name: secret.reveal() for name, secret in view.passphrases.items()} == {
        "packages": "packages-secret",
        "databases": "databases-secret",
        "isos": "isos-secret",
        "vm-images": "vm-images-secret",
    }
    assert (view.seal.reveal(), view.canary.reveal(), view.log_key.reveal()) == ("seal-secret", "canary-secret", "")
    assert view.listeners == ()


def test_the_sequencer_gets_its_own_credentials_only(deployment):
    for name in ("server.key", "database-api-password", "signer-seal", "hsm-packages-passphrase"):
        (deployment.parent / "credentials" / name).unlink()

    view = load_config(deployment).for_role("sequencer")

    assert view.log_key.reveal() == "log-secret"
    assert "attestor_sequencer@" in view.dsn.reveal()
    assert (view.seal.reveal(), view.passphrases, view.listeners) == ("", {}, ())


@pytest.mark.parametrize(("role", "missing"), [("sequencer", "log-key"), ("signer", "signer-seal")])
def test_a_role_without_its_key_does_not_start(deployment, role, missing):
    (deployment.parent / "credentials" / missing).unlink()
    with pytest.raises(Missing) as refused:
        load_config(deployment).for_role(role)
    assert refused.value.code == "credential-missing"


def test_an_embedded_database_may_be_restored_so_no_anchor_lies_in_its_folder(spoiled):
    spoiled("production = true", "production = false")
    spoiled('anchor = "anchor"', 'anchor = "parts/anchor"')
    path = spoiled("[logging]", '[embedded]\nenabled = true\nfolder = "parts"\n[logging]')
    with pytest.raises(Rejected, match=r"signer\.anchor: must not lie in embedded\.folder"):
        load_config(path)


def test_no_secret_shows_in_what_a_config_or_role_prints(deployment):
    config = load_config(deployment)
    shown = repr(config) + "".join(repr(config.for_role(role)) for role in Role)
    assert "secret" in shown
    assert "packages-secret" not in shown
    assert "api%2Fsecret" not in shown
    assert "seal-secret" not in shown
    assert "log-secret" not in shown


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o700 | 0o070])
def test_a_credential_that_others_may_read_stops_the_start_with_path_and_mode(deployment, mode):
    path = deployment.parent / "credentials/hsm-isos-passphrase"
    path.chmod(mode)
    with pytest.raises(Rejected) as refused:
        load_config(deployment).for_role("signer")
    assert refused.value.code == "credential-open"
    assert f"{path} has mode {mode:04o}" in refused.value.sentence


def test_a_credential_that_is_a_link_is_refused(deployment):
    path = deployment.parent / "credentials/hsm-isos-passphrase"
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    with pytest.raises(Rejected) as refused:
        load_config(deployment).for_role("signer")
    assert refused.value.code == "credential-open"


def test_a_missing_credential_says_where_it_was_looked_for(deployment):
    (deployment.parent / "credentials/hsm-isos-passphrase").unlink()
    with pytest.raises(Missing) as refused:
        load_config(deployment).for_role("signer")
    assert refused.value.code == "credential-missing"
    assert str(deployment.parent / "credentials") in refused.value.sentence


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * (64 << 10) + b"y"])
def test_a_credential_without_usable_text_is_refused(deployment, content):
    (deployment.parent / "credentials/hsm-isos-passphrase").write_bytes(content)
    with pytest.raises(Rejected) as refused:
        load_config(deployment).for_role("signer")
    assert refused.value.code == "credential-unreadable"


def test_what_systemd_hands_over_wins_over_the_folder(deployment, tmp_path_factory, monkeypatch):
    handed = tmp_path_factory.mktemp("handed")
    (handed / "hsm-isos-passphrase").write_text("from systemd")
    (handed / "hsm-isos-passphrase").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed))
    assert load_config(deployment).for_role("signer").passphrases["isos"].reveal() == "from systemd"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make the root-owned file that systemd hands over")
@pytest.mark.parametrize(("mode", "taken"), [(0o440, True), (0o444, False), (0o460, False)])
def test_the_mask_of_systemds_acl_is_no_open_file(deployment, tmp_path_factory, monkeypatch, mode, taken):
    handed = tmp_path_factory.mktemp("handed")
    (handed / "hsm-isos-passphrase").write_text("from systemd")
    (handed / "hsm-isos-passphrase").chmod(mode)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed))
    config = load_config(deployment)
    if taken:
        assert config.for_role("signer").passphrases["isos"].reveal() == "from systemd"
    else:
        with pytest.raises(Rejected, match="credential"):
            config.for_role("signer")


@pytest.mark.parametrize(
    ("role", "missing", "place"),
    [
        ("api", "server.pem", "listeners[0].certificate"),
        ("api", "ca.pem", "listeners[1].client_ca"),
        ("signer", "release", "content.roots.release"),
        ("signer", "scratch", "content.scratch"),
    ],
)
def test_a_file_or_folder_that_the_role_needs_must_be_there(deployment, role, missing, place):
    path = deployment.parent / missing
    path.rmdir() if path.is_dir() else path.unlink()
    config = load_config(deployment)
    with pytest.raises(Rejected) as refused:
        config.for_role(role)
    assert refused.value.code == "config-invalid"
    assert place in refused.value.sentence


def test_production_without_a_canary_is_warned_of(spoiled):
    path = spoiled('[canary]\nuser = "canary"\npassphrase = "hsm-canary-passphrase"\ninterval_seconds = 86400\n', "")
    config = load_config(path)
    assert config.warnings == ("there is no [canary]: a key that cannot sign any more shows when a release needs it",)
    assert config.for_role(Role.SIGNER).canary.reveal() == ""
