"""Keys of log and signer, and the anchor, as a person makes them."""

import json
import re
import tomllib

import pytest

from attestor.app.logkeys import log_signer, seal_of
from attestor.cli.examples import EMPTY_TREE
from attestor.cli.output import Exit
from attestor.config import load_config
from attestor.core.errors import Rejected
from attestor.core.keys import parse_public_key
from attestor.core.seal import parse_seal
from attestor.core.tlog.merkle import EMPTY_ROOT
from attestor.core.tlog.note import parse_skey
from tests.edges.cli.test_first import put_keys_in, started
from tests.logkeys import log_signer as fixed_log_signer
from tests.logkeys import seal_secret

__all__ = ["started"]
SOME_ROOT = "ab" * 32


def lines_for_the_policy(said):
    return tomllib.loads(said.out[said.out.rindex("[log]") :])["log"]


def test_keygen_keeps_the_secret_to_its_owner_and_prints_the_policys_line(attestor, tmp_path):
    said = attestor("log", "keygen", "attestor.example.org/log", "--out", tmp_path / "key")
    assert said.code == Exit.YES, said.err
    secret = (tmp_path / "key").read_text()
    assert lines_for_the_policy(said) == {"key": parse_skey(secret).verifier.text}
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert secret not in said.out


def test_seal_keeps_the_secret_to_its_owner_and_prints_the_policys_line(attestor, tmp_path):
    said = attestor("log", "seal", "--out", tmp_path / "seal")
    assert said.code == Exit.YES, said.err
    [public] = lines_for_the_policy(said)["signers"]
    assert parse_public_key(public) == parse_seal((tmp_path / "seal").read_text()).public
    assert (tmp_path / "seal").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("arguments", [("keygen", "a.example/log"), ("seal",)], ids="-".join)
def test_no_key_is_ever_overwritten(attestor, tmp_path, arguments):
    (tmp_path / "key").write_text("mine")
    said = attestor("log", *arguments, "--out", tmp_path / "key")
    assert (said.code, (tmp_path / "key").read_text()) == (Exit.ERROR, "mine")
    assert said.err.endswith("[file-exists]\n")


def test_a_name_that_no_note_takes_makes_no_key(attestor, tmp_path):
    said = attestor("log", "keygen", "a name", "--out", tmp_path / "key")
    assert (said.code, list(tmp_path.iterdir())) == (Exit.ERROR, [])


@pytest.fixture
def deployment(started):
    put_keys_in(started / "policy.toml")
    for name in ("packages", "databases", "isos", "vm-images", "canary"):
        path = started / f"credentials/hsm-{name}-passphrase"
        path.touch(mode=0o600)
        path.write_text("a passphrase")
    return started / "attestor.toml"


def test_init_makes_a_log_key_and_a_seal_that_its_policy_names(deployment):
    config = load_config(deployment)
    assert log_signer(config, config.for_role("sequencer")).verifier.name == "attestor.example.org/log"
    assert seal_of(config, config.for_role("signer")).public in config.policy.log.seal_keys


def test_init_makes_no_anchor_and_says_how_a_person_does(attestor, tmp_path):
    said = attestor("init", tmp_path / "new")
    assert not (tmp_path / "new/anchor").exists()
    [step] = re.findall(r"attestor (log anchor init .+? --root \S+)", said.out)
    put_keys_in(tmp_path / "new/policy.toml")

    assert attestor(*step.split()).code == Exit.YES

    shown = json.loads(attestor("log", "anchor", "show", "--config", tmp_path / "new/attestor.toml", "--json").out)
    assert (shown["size"], shown["since"], shown["root"]) == (0, 0, EMPTY_TREE)


@pytest.mark.parametrize("root", [SOME_ROOT, "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s="], ids=["hex", "base64"])
def test_an_anchor_may_begin_at_any_checkpoint_that_a_person_trusts(attestor, deployment, root):
    assert attestor("log", "anchor", "init", "--config", deployment, "--size", 7, "--root", root).code == Exit.YES
    said = attestor("log", "anchor", "show", "--config", deployment)
    assert said.out.startswith("tree size 7\nroot      q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=\n")


def test_an_anchor_is_never_overwritten(attestor, deployment):
    first = ("log", "anchor", "init", "--config", deployment, "--size", 0, "--root", EMPTY_ROOT.hex())
    assert attestor(*first).code == Exit.YES
    again = attestor("log", "anchor", "init", "--config", deployment, "--size", 7, "--root", SOME_ROOT)
    assert (again.code, again.err.endswith("[anchor-exists]\n")) == (Exit.ERROR, True)
    assert attestor("log", "anchor", "show", "--config", deployment).out.startswith("tree size 0\n")


@pytest.mark.parametrize(
    ("size", "root"),
    [(7, "q6ur"), (7, "zz" * 32), (7, SOME_ROOT[:-2]), (7, ""), (0, SOME_ROOT), (-1, SOME_ROOT)],
    ids=["a short one", "no hex", "31 bytes", "nothing", "the empty tree has one root", "no size"],
)
def test_a_root_that_is_none_makes_no_anchor(attestor, deployment, size, root):
    said = attestor("log", "anchor", "init", "--config", deployment, f"--size={size}", "--root", root)
    assert said.code == Exit.ERROR
    assert attestor("log", "anchor", "show", "--config", deployment).code == Exit.HALTED


@pytest.mark.parametrize(
    ("secret", "code"),
    [(fixed_log_signer("attestor.example.org").skey, "log-key-differs"), ("no key", "skey-invalid")],
    ids=["another key", "no key"],
)
def test_a_log_key_that_the_policy_does_not_name_signs_nothing(deployment, secret, code):
    (deployment.parent / "credentials/log-key").write_text(secret)
    config = load_config(deployment)
    with pytest.raises(Rejected) as refused:
        log_signer(config, config.for_role("sequencer"))
    assert refused.value.code == code
    assert secret not in refused.value.sentence


@pytest.mark.parametrize(
    ("secret", "code"), [(seal_secret("mallory"), "seal-unlisted"), ("no key", "not-a-seal")], ids=["another", "none"]
)
def test_a_seal_that_the_policy_does_not_name_seals_nothing(deployment, secret, code):
    (deployment.parent / "credentials/signer-seal").write_text(secret)
    config = load_config(deployment)
    with pytest.raises(Rejected) as refused:
        seal_of(config, config.for_role("signer"))
    assert refused.value.code == code
    assert secret not in refused.value.sentence
