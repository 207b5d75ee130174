"""The schemas of log entries, evidence and bundles: frozen, and saying the same as their readers."""

import copy
import hashlib
import json
from pathlib import Path

import jsonschema_rs
import pytest

from attestor.core import canonical
from attestor.core.bundle import encode_bundle, read_bundle
from attestor.core.bundlecheck import OpenPgpFacts, check_bundle
from attestor.core.dossier import read_dossier
from attestor.core.entries import Sealed
from attestor.core.entrybytes import encode_entry, read_entry, verify_seal
from attestor.core.errors import AttestorError
from attestor.core.policyfile import parse_policy
from attestor.core.tlog.note import parse_vkey
from attestor.openpgp.approvers import Approvers
from attestor.openpgp.certificate import parse_certificate
from attestor.openpgp.signature import verify_signature
from tests.bundles import measured
from tests.core.test_schemas import PINNED as OTHERS
from tests.logkeys import log_policy

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "ops" / "schemas"
GIVEN = ROOT / "tests" / "vectors" / "bundle"
PINNED = {
    "bundle-v1.approved.example.json": "9562076f0b4ab69d8341e7dd379dfce4416c7f56f4e9abd206a7aa1cfe75644b",
    "bundle-v1.example.json": "b639db1d6e4484177bd1fb4b4d6534b6e6ca4a45de46cc99bf4c7d2b7e92d880",
    "bundle-v1.schema.json": "e16d7b62e2f6f5e75017f0e3622e41e93525dbecf4e970e99608b541857371f6",
    "evidence-v1.approved.example.json": "2aad37964dae5d49f4f83448ebc4a8ffe12234d02cbc14239bc97200a9e5204e",
    "evidence-v1.example.json": "8bba47a20423b8ad8e5b145079637eed65ac6517cf92b1e4b60ee7bbc695e152",
    "evidence-v1.schema.json": "18d704705690a78d6ae0b06eeb8df42382313da2fe294cf8f42e9aa56cbee68c",
    "evidence-v1.taken-back.example.json": "15e039efa38e6a8bd32171d3f3de7771b8f5dd30945e4f5f2f0cbb228dace8ed",
    "log-entry-v1.approved.example.json": "def4b4b0b8a0281c28ef0f66704f699f23418c44babb1642d9c32f9bb577d644",
    "log-entry-v1.canary.example.json": "eca3b9abf22996d1e31ce66fcf82556dc883b6df8d242ed1e455f8b820dbfe32",
    "log-entry-v1.decision.example.json": "7c9a4a5d18a9b2e9e69292b41076faf4697a966aa104acee7ce630cbd1467420",
    "log-entry-v1.late-dissent.example.json": "8f0808e05fbf7aebaf78860096ca531f4447dab3aa97f1ec9a171940309956d9",
    "log-entry-v1.policy.example.json": "1a18b45afb860a813e0e5dfc4b1c8027535f07b26fb4c84419dd8dcfcdd8e4cc",
    "log-entry-v1.received.example.json": "a23a4803aed4fee5760fffcbd38f8ae73b01af5009a05384bb3b9e6acd4b9573",
    "log-entry-v1.revocation.example.json": "fab06f7e97bbfaa5118cdc68f8eca4d0aef1c5ea6df7faa306289235947033ae",
    "log-entry-v1.schema.json": "5490178a97358a915c043fd03e999c5125649adc5cffab0d3275389dd9dbd84e",
    "log-entry-v1.signature.example.json": "2c3ea4bad5cfcf29343d6f2623260d068a3a0de61cc397a30c297cf44f9b0f3f",
    "log-entry-v1.withdrawal.example.json": "bc3433ec619a8aeebfb80bcdd6bb09b5737023db39715fc1a66d59d571128c06",
}
READERS = {"log-entry-v1": read_entry, "evidence-v1": read_dossier, "bundle-v1": read_bundle}
EXAMPLES = sorted(name for name in PINNED if name.endswith(".example.json"))


def loaded(name):
    return json.loads((SCHEMAS / name).read_bytes())


def kind_of(name):
    return name.split(".")[0]


def schema(name):
    return jsonschema_rs.Draft202012Validator(loaded(f"{kind_of(name)}.schema.json"), validate_formats=True)


def is_read(name, document):
    try:
        READERS[kind_of(name)](canonical.encode(document))
    except AttestorError:
        return False
    return True


@pytest.mark.parametrize("name", PINNED)
def test_a_published_schema_or_example_never_changes(name):
    """What is in a log stays there. A change is a new version with a new name, not a new digest here.

    Only a schema may grow by a kind of entry, or by a member that was never written before and may be absent: all examples that
    were published stay as they are, and fit it.
    """
    assert hashlib.sha256((SCHEMAS / name).read_bytes()).hexdigest() == PINNED[name]


def test_every_published_schema_and_example_is_pinned():
    assert {path.name for path in SCHEMAS.iterdir()} == PINNED.keys() | OTHERS.keys()
    assert {kind_of(name) for name in EXAMPLES} == READERS.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_read_and_fit_their_schemas(name):
    document = loaded(name)
    assert is_read(name, document)
    assert schema(name).is_valid(document)


def test_there_is_an_example_of_each_entry_and_its_seal_is_sound():
    entries = [read_entry(canonical.encode(loaded(name))) for name in EXAMPLES if name.startswith("log-entry")]
    types = {definition["properties"]["type"]["const"] for definition in one_of()}
    assert {json.loads(encode_entry(entry))["type"] for entry in entries} == types
    # A decision with approvals has an example beside the plain one.
    assert len(types) == len(entries) - 1 == 8
    sealed = [entry for entry in entries if isinstance(entry, Sealed)]
    for entry in sealed:
        verify_seal(entry, log_policy("attestor.example.org").seals)
    assert len(sealed) == 5


def one_of():
    whole = loaded("log-entry-v1.schema.json")
    return [whole["$defs"][each["$ref"].rpartition("/")[2]] for each in whole["oneOf"]]


WRONG = (None, "", "x", 0, -1, 2**53, 1.5, True, [], {}, ["x"], "A" * 64, "0" * 65)


def places(document, path=()):
    """The path to every member and element."""
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, value in inner:
        yield (*path, name)
        yield from places(value, (*path, name))


def changes(document):
    """(what, the document with one thing in it changed)."""
    for *way, last in places(document):
        for wrong in (KeyError, *WRONG):
            whole = copy.deepcopy(document)
            at = whole
            for step in way:
                at = at[step]
            if wrong is KeyError:
                del at[last]
            else:
                at[last] = wrong
            yield (*way, last, wrong), whole
    for way in [(), *(path for path in places(document))]:
        whole = copy.deepcopy(document)
        at = whole
        for step in way:
            at = at[step]
        if isinstance(at, dict):
            at["unknown"] = 1
            yield (*way, "unknown"), whole


@pytest.mark.parametrize("name", EXAMPLES)
def test_schema_and_reader_agree_on_every_change(name):
    fits, seen = schema(name), {True: 0, False: 0}
    for what, changed in changes(loaded(name)):
        # The text of a proof is the check's to judge, and the order of attestations no schema can say.
        if "proof" in what or (what[0] in {"envelopes", "manifests"} and len(what) > 2):
            continue
        read = is_read(name, changed)
        assert fits.is_valid(changed) == read, (what, read)
        seen[read] += 1
    assert seen[False] > 40


@pytest.mark.parametrize(("of", "count"), [("", 11), (".approved", 12)], ids=["plain", "approved"])
def test_the_examples_are_bundles_that_verify_for_ever(of, count):
    """With what tests/vectors/bundle holds: what was handed out once stays checkable."""
    raw = (SCHEMAS / f"bundle-v1{of}.example.json").read_bytes()
    bundle = read_bundle(raw)
    certificate = parse_certificate((GIVEN / f"release{of}.pgp").read_bytes())
    content = (GIVEN / bundle.release.file_name).read_bytes()

    def openpgp(signature):
        said = verify_signature(certificate, signature, hashlib.sha512(content))
        return OpenPgpFacts(said.created, said.issuer, tuple((each.name, each.value) for each in said.notations))

    checks = check_bundle(
        bundle,
        file=measured(content),
        policy=parse_policy((GIVEN / f"policy{of}.toml").read_bytes(), "policy.toml"),
        log_key=parse_vkey((GIVEN / "log.vkey").read_text().strip()),
        openpgp=openpgp,
        approvals=Approvers().verify,
    )
    assert len(checks) == count
    assert encode_bundle(bundle) == raw
