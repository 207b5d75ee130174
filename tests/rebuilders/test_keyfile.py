"""Keys: what keygen makes and prints, and what is refused when a key is read."""

import os
import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from attestor.core.envelope import IN_TOTO, parse_envelope, verify
from attestor.core.errors import Conflict, Missing, Rejected
from attestor.core.keys import KeyRing
from attestor.core.policyfile import parse_policy
from rebuilders.keyfile import load_key, make_key, policy_lines
from tests.logkeys import log_table

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
LOG = log_table("signing.example.org")
POLICY = """
origin = "signing.example.org"
serial = 1
{log}
{keys}
[tiers.packages]
kind = "package"
purl = "pkg:alpm/arch/*"
operators = ["berlin"]
threshold = 1
dissent_limit = 0
signing_key = "packages"
requesters = ["build"]
networks = ["192.0.2.0/24"]
[requesters.build]
clients = ["{client}"]
"""


def test_a_new_key_is_read_by_its_owner_alone_and_read_back_as_the_same_key(tmp_path):
    key = make_key(tmp_path / "key.pem")
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    assert load_key(tmp_path / "key.pem").public_key == key.public_key
    assert [path.name for path in tmp_path.iterdir()] == ["key.pem"]


def test_an_existing_file_is_never_overwritten(tmp_path):
    (tmp_path / "key.pem").write_text("precious")
    with pytest.raises(Conflict) as refusal:
        make_key(tmp_path / "key.pem")
    assert refusal.value.code == "file-exists"
    assert (tmp_path / "key.pem").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["key.pem"]


def test_a_link_that_leads_nowhere_is_not_written_through(tmp_path):
    (tmp_path / "key.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Conflict):
        make_key(tmp_path / "key.pem")
    assert not (tmp_path / "elsewhere").exists()


def test_the_printed_lines_make_a_policy_in_which_the_key_counts(tmp_path):
    key = make_key(tmp_path / "key.pem")
    lines = policy_lines(key, "berlin", "arch", NOW, NOW + timedelta(days=30))
    policy = parse_policy(POLICY.format(log=LOG, keys=lines, client="ab" * 32).encode(), "policy.toml")
    held = policy.keys[key.public_key]
    assert (held.operator, held.forms) == ("berlin", {"rebuild"})
    assert [(one.kind, one.type, one.namespace, one.arch) for one in held.scopes] == [("package", "alpm", "arch", None)]
    assert held.refusal_at(NOW) is None
    assert held.refusal_at(NOW + timedelta(days=31)) == "key-expired"


def test_the_scopes_in_comments_are_right_too(tmp_path):
    lines = policy_lines(make_key(tmp_path / "key.pem"), "berlin", "arch", NOW, NOW + timedelta(days=30))
    policy = parse_policy(
        POLICY.format(log=LOG, keys=lines.replace("# {", "{"), client="ab" * 32).encode(),
        "policy.toml",
    )
    (held,) = policy.keys.values()
    assert [str(one.kind) for one in held.scopes] == ["package", "package", "database", "iso", "vm"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601], ids=oct)
def test_a_key_that_others_may_touch_is_refused_with_path_and_mode(mode, tmp_path):
    make_key(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(mode)
    with pytest.raises(Rejected) as refusal:
        load_key(tmp_path / "key.pem")
    assert refusal.value.code == "key-readable-by-others"
    assert str(tmp_path / "key.pem") in refusal.value.sentence
    assert f"{mode:04o}" in refusal.value.sentence


def _pem(private, encryption=None):
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


UNREADABLE = [
    pytest.param(b"", id="an empty file"),
    pytest.param(
        b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0c2VjcmV0\n-----END PRIVATE KEY-----\n", id="base64 that is no key"
    ),
    pytest.param(_pem(ec.generate_private_key(ec.SECP256R1())), id="a key of another algorithm"),
    pytest.param(
        _pem(ed25519.Ed25519PrivateKey.generate(), BestAvailableEncryption(b"x")), id="a key under a passphrase"
    ),
    pytest.param(_pem(ed25519.Ed25519PrivateKey.generate())[:60], id="a truncated key"),
    pytest.param(b"x" * 100_000, id="something large"),
]


@pytest.mark.parametrize("content", UNREADABLE)
def test_what_is_no_key_is_refused_without_quoting_it(content, tmp_path):
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(Rejected) as refusal:
        load_key(path)
    assert refusal.value.code == "not-a-private-key"
    assert "c2VjcmV0" not in str(refusal.value)
    assert refusal.value.__context__ is None or refusal.value.__suppress_context__


def test_a_pipe_is_no_key_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "key.pem", 0o600)
    with pytest.raises(Rejected):
        load_key(tmp_path / "key.pem")


def test_a_missing_key_says_how_to_make_one(tmp_path):
    with pytest.raises(Missing, match="keygen"):
        load_key(tmp_path / "key.pem")


def test_a_key_does_not_print_itself(tmp_path):
    key = make_key(tmp_path / "key.pem")
    secret = (tmp_path / "key.pem").read_text().splitlines()[1]
    assert secret not in repr(key)
    assert repr(key) == f"SigningKey({key.public_key.fingerprint})"


def test_an_envelope_verifies_under_the_key_and_names_it(tmp_path):
    key = make_key(tmp_path / "key.pem")
    envelope = parse_envelope(key.envelope(IN_TOTO, b"{}"))
    assert envelope.signatures[0].keyid == key.public_key.fingerprint
    assert verify(envelope, KeyRing([key.public_key])).keys == {key.public_key}
