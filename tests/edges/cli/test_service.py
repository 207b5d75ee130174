import hashlib
import json
import re
import shutil
import sys
import time
from subprocess import run

import pytest

from attestor.anchor.anchorfile import make_anchor
from attestor.cli.output import Exit
from tests.logkeys import log_signer, seal_secret


def purl_of(file):
    return f"pkg:alpm/arch/{file.name.removesuffix('-1.0-1-any.pkg.tar.zst')}@1.0-1?arch=any"


def test_check_finds_every_part_of_a_running_deployment_right(attestor, service):
    said = attestor("check", "--config", service.config)
    assert (said.code, [line for line in said.out.splitlines() if not line.startswith("ok ")]) == (Exit.YES, [])
    for part in (
        "tier packages",
        "database as api",
        "database as sequencer",
        "database as signer",
        "schema",
        "key isos",
        "log key",
        "signer's seal",
        "anchor",
        "listener",
        "disk",
    ):
        assert part in said.out


def test_check_as_json_has_a_remedy_exactly_where_something_fails(attestor, service):
    findings = json.loads(attestor("check", "--config", service.config, "--json").out)
    assert all((finding["remedy"] is None) == finding["ok"] for finding in findings)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(
            lambda folder: (folder / "credentials/hsm-isos-passphrase").chmod(0o644),
            ("credentials of signer", "as it says"), id="a credential that others may read",
        ),
        pytest.param(
            lambda folder: edit(folder, 'key_id = "isos"', 'key_id = "isos-2"'),
            ("key isos", "hsm provision"), id="a key that the device lacks",
        ),
        pytest.param(
            lambda folder: edit(folder, "[signing_keys.isos]", f'[signing_keys.isos]\ncertificate_fingerprint = "{"AB" * 20}"'),
            ("key isos", "compare [signing_keys.isos]"), id="another certificate than the pinned one",
        ),
        pytest.param(
            lambda folder: shutil.copy(folder / "build-service.pem", folder / "server.pem"),
            ("listener", "attestor ca issue"), id="a certificate that is not the key's",
        ),
        pytest.param(
            lambda folder: (folder / "credentials/log-key").write_text(log_signer("attestor.localhost").skey),
            ("log key", "the policy's log.key"), id="another log's key",
        ),
        pytest.param(
            lambda folder: (folder / "credentials/signer-seal").write_text(seal_secret("mallory")),
            ("signer's seal", "the policy's log.signers"), id="a seal that the policy does not name",
        ),
        pytest.param(
            lambda folder: (folder / "anchor/anchor.json").unlink(),
            ("anchor: There is no anchor", "never by copying"), id="no anchor",
        ),
        pytest.param(
            lambda folder: new_anchor(folder, 10**9),
            ("anchor: it has seen 1000000000 entries", "log recover"), id="a database that was rolled back",
        ),
        pytest.param(
            lambda folder: edit(folder, "max_bytes = 68719476736", "max_bytes = 1125899906842624"),
            ("disk", "content.max_bytes"), id="a disk too small for the largest content",
        ),
        pytest.param(
            lambda folder: revoke_all(folder / "policy.toml"),
            ("tier packages", "add or renew keys"), id="nobody left who can vote",
        ),
    ],
)  # fmt: skip
def test_check_names_the_part_that_fails_and_its_remedy(attestor, service, tmp_path, spoil, said):
    folder = copied(service, tmp_path)
    edit(folder, "max_total_bytes = 274877906944", "max_total_bytes = 1125899906842624")
    spoil(folder)
    part, remedy = said

    done = attestor("check", "--config", folder / "attestor.toml")

    failed = [line for line in done.out.splitlines() if line.startswith("FAIL")]
    assert done.code == Exit.ERROR, done.err
    assert any(part in line and remedy in line.partition("Remedy: ")[2] for line in failed), done.out


def test_check_tells_a_wrong_passphrase_from_a_device_that_is_busy(attestor, service, tmp_path):
    folder = copied(service, tmp_path)
    (folder / "credentials/hsm-vm-images-passphrase").write_text("another passphrase")
    status = ("hsm", "status", "--config", folder / "attestor.toml")

    wrong, busy = attestor(*status), attestor(*status)
    # One failed login shuts the device's door to this user for a second; the next test shall find it open.
    time.sleep(1.1)

    assert (wrong.code, busy.code) == (Exit.ERROR, Exit.ERROR)
    assert "Remedy: correct the credential hsm-vm-images-passphrase" in wrong.out
    assert "Remedy: try again in a few seconds" in busy.out


def test_check_finds_a_database_that_was_forked(attestor, attest, service, package, tmp_path):
    attest("alice", package)
    folder = copied(service, tmp_path)
    new_anchor(folder, 1)
    done = attestor("check", "--config", folder / "attestor.toml")
    assert (done.code, "FAIL  anchor: the log's first 1 entries are not those" in done.out) == (Exit.ERROR, True), (
        done.out
    )


def test_a_signer_whose_anchor_was_deleted_halts_and_its_exit_code_says_so(service, tmp_path):
    folder = copied(service, tmp_path)
    (folder / "anchor/anchor.json").unlink()
    serve = [sys.executable, "-m", "attestor", "serve", "--config", folder / "attestor.toml", "--role", "signer"]
    done = run(serve, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "[anchor-missing]" in done.stderr) == (Exit.HALTED, True)


def copied(service, tmp_path):
    """The deployment's files, to be spoiled, beside the parts that go on running."""
    folder = tmp_path / "copy"
    shutil.copytree(service.folder, folder, ignore=shutil.ignore_patterns("postgres", "nethsm", "rebuilders"))
    return folder


def edit(folder, old, new):
    path = folder / "attestor.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def new_anchor(folder, size):
    (folder / "anchor/anchor.json").unlink()
    make_anchor(folder / "anchor", size, b"\xab" * 32)


def revoke_all(policy):
    policy.write_text(policy.read_text().replace("\nstatements", "\nrevoked = 2026-01-01T00:00:00Z\nstatements"))


def test_hsm_status_shows_each_release_keys_certificate(attestor, service):
    said = attestor("hsm", "status", "--config", service.config)
    assert said.code == Exit.YES
    assert len(re.findall(r"^ok .* key \S+: \S+ [0-9A-F]{40} ", said.out, re.MULTILINE)) == 4


def test_provisioning_and_migrating_again_change_nothing(attestor, service):
    again = attestor("hsm", "provision", "--config", service.config)
    assert (again.code, "made  " in again.out) == (Exit.YES, False)
    again = attestor("migrate", "--config", service.config)
    assert (again.code, again.out) == (Exit.YES, "The schema is up to date; nothing was to do.\n")


def test_status_of_what_nobody_attested_is_an_error(attestor, service):
    said = attestor("status", "nothing-1-1-any.pkg.tar.zst", *service.reader)
    assert (said.code, said.err.endswith("[no-release]\n")) == (Exit.ERROR, True)


def test_status_says_by_its_exit_code_what_was_agreed(attestor, service, attest, package):
    attest("alice", package)
    assert attestor("status", package.name, *service.reader).code == Exit.PENDING

    attest("bob", package)
    said = attestor("status", package.name, *service.reader)
    assert (said.code, "2 of 2" in said.out) == (Exit.YES, True)

    release = json.loads(attestor("status", package.name, *service.reader, "--json").out)[0]["id"]
    for subject in (release, purl_of(package), hashlib.sha256(package.read_bytes()).hexdigest(), package):
        assert attestor("status", subject, *service.reader).code == Exit.YES, subject

    package.write_bytes(b"other bytes")
    attest("carol", package)
    assert attestor("status", package.name, *service.reader).code == Exit.REFUSED


def test_explain_prints_who_said_what_and_what_counts(attestor, service, attest, package):
    attest("alice", package)
    said = attestor("explain", package.name, *service.reader)
    assert said.code == Exit.PENDING
    assert hashlib.sha256(package.read_bytes()).hexdigest() in said.out
    assert re.search(r"^alice\s+built\s.*yes\s+rebuild", said.out, re.MULTILINE)


def test_status_of_everything_follows_the_pages(attestor, service, attest, package):
    attest("alice", package)
    found = json.loads(attestor("status", *service.reader, "--state", "pending", "--limit", "5000", "--json").out)
    assert package.name in {line["fileName"] for line in found}


def test_request_lays_the_signature_beside_the_file(attestor, service, attest, package):
    ask = ("request", package, "--kind", "package", "--purl", purl_of(package), *service.requester)
    said = attestor(*ask)
    assert said.code == Exit.PENDING, said.err
    assert not package.with_name(f"{package.name}.sig").exists()

    attest("alice", package)
    attest("bob", package)
    said = attestor(*ask, "--wait", "--timeout", "30", "--json")
    assert said.code == Exit.YES, said.err
    view = json.loads(said.out)
    signature = package.with_name(f"{package.name}.sig")
    assert (view["state"], signature.read_bytes()[0] & 0x80) == ("signed", 0x80)
    assert signature.stat().st_mode & 0o777 == 0o644

    shown = attestor("requests", "show", view["id"], *service.requester)
    assert (shown.code, shown.out.startswith("signed")) == (Exit.YES, True)
    listed = json.loads(attestor("requests", "list", "--state", "signed", "--json", *service.requester).out)
    assert view["id"] in {one["id"] for one in listed}


def test_a_bundle_is_fetched_and_verified_with_nothing_but_files(attestor, service, attest, package, tmp_path):
    ask = ("request", package, "--kind", "package", "--purl", purl_of(package), *service.requester)
    attest("alice", package)
    attest("bob", package)
    early = attestor("bundle", package.name, *service.reader)
    assert (early.code, early.err.endswith("[not-signed]\n")) == (Exit.ERROR, True), early.err
    assert attestor(*ask, "--wait", "--timeout", "30").code == Exit.YES

    bundle, key, certificates = tmp_path / "bundle", tmp_path / "log.vkey", tmp_path / "certificates"
    assert attestor("bundle", package.name, *service.reader, "--out", bundle).code == Exit.YES
    key.write_text(re.search(r'^\[log\]\nkey = "(.*)"$', (service.folder / "policy.toml").read_text(), re.MULTILINE)[1])
    assert attestor("hsm", "certificates", "--config", service.config, "--out", certificates).code == Exit.YES
    verify = (
        "verify", bundle, package, "--policy", service.folder / "policy.toml", "--log-key", key,
        "--cert", certificates / "packages.pgp",
    )  # fmt: skip
    said = attestor(*verify)
    assert (said.code, "(alice, bob)" in said.out) == (Exit.YES, True), said.out + said.err

    package.write_bytes(b"other bytes")
    said = attestor(*verify)
    assert (said.code, "[bundle-file]" in said.out) == (Exit.REFUSED, True)


def test_another_signature_that_is_there_is_kept_unless_told(attestor, service, attest, package):
    attest("alice", package)
    attest("bob", package)
    mine = package.with_name(f"{package.name}.sig")
    mine.write_bytes(b"another signature")
    ask = ("request", package, "--kind", "package", "--purl", purl_of(package), "--wait", "--timeout", "30")
    said = attestor(*ask, *service.requester)
    assert (said.code, mine.read_bytes()) == (Exit.ERROR, b"another signature")
    assert attestor(*ask, "--force", *service.requester).code == Exit.YES
    assert mine.read_bytes() != b"another signature"


def test_content_is_pulled_from_a_root_of_the_signer(attestor, service, attest, package):
    shutil.copy(package, service.folder / "release" / package.name)
    attest("alice", package)
    attest("bob", package)
    ask = ("request", package, "--kind", "package", "--purl", purl_of(package), "--wait", "--timeout", "30")
    said = attestor(*ask, "--pull", "release", package.name, "--json", *service.requester)
    assert said.code == Exit.YES, said.err
    assert json.loads(said.out)["content"] == {"type": "pull", "root": "release", "path": package.name}


def test_a_disputed_request_is_exit_code_3_and_can_be_withdrawn(attestor, service, attest, package):
    ask = ("request", package, "--kind", "package", "--purl", purl_of(package), *service.requester)
    attest("alice", package)
    mine = package.read_bytes()
    package.write_bytes(b"other bytes")
    attest("bob", package)
    package.write_bytes(mine)

    said = attestor(*ask, "--json")
    assert said.code == Exit.REFUSED, said.out
    request = json.loads(said.out)["id"]

    retried = attestor("requests", "retry", request, *service.requester)
    assert (retried.code, retried.err.startswith("error: ")) == (Exit.ERROR, True)
    withdrawn = attestor("requests", "withdraw", request, *service.requester)
    assert (withdrawn.code, withdrawn.out.startswith("withdrawn")) == (Exit.YES, True)
    assert attestor("requests", "show", request, *service.requester).code == Exit.REFUSED


def test_a_stranger_cannot_ask_and_learns_why(attestor, service, tmp_path, package):
    issued = attestor("ca", "issue", "stranger", "--client", "--ca", service.folder / "ca", "--out", service.folder)
    assert issued.code == Exit.YES
    who = ("--cert", service.folder / "stranger.pem", "--key", service.folder / "stranger.key")
    said = attestor(
        "request", package, "--kind", "package", "--purl", purl_of(package), "--server", service.request,
        "--ca", service.folder / "ca/ca.pem", *who,
    )  # fmt: skip
    assert said.code == Exit.ERROR
    assert re.fullmatch(r"error: .+ \[[a-z-]+\]\n", said.err)


def test_a_service_that_is_not_trusted_is_refused(attestor, service):
    said = attestor("status", "--server", service.read)
    assert (said.code, "[tls-refused]" in said.err) == (Exit.ERROR, True)
