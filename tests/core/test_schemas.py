"""The schemas of our own formats: frozen, and saying the same as the reader."""

import copy
import hashlib
import json
from pathlib import Path

import jsonschema_rs
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from attestor.core.envelope import IN_TOTO, WITHDRAWAL, Signature, encode_envelope, pae, parse_envelope, verify
from attestor.core.errors import AttestorError
from attestor.core.keys import KeyRing, parse_public_key
from attestor.core.naming import Kind
from attestor.core.statement import read_statement, rebuild_payload, withdrawal_payload

SCHEMAS = Path(__file__).parents[2] / "ops" / "schemas"
PINNED = {
    "rebuild-v1.example.json": "b6ec49204c7ab5e8b8add77ec8649fce1af0b8548daf60ba6c78aba267d193fa",
    "rebuild-v1.schema.json": "fd70ebec9a66c7e413bc0f0f620395dba2d116dd553ca78333783f0a058bba28",
    "withdrawal-v1.example.json": "5a9a2a4746d09c02106b09ecfd1fe40c090e8cfa6f4a8b7e0a07543c92bb1d23",
    "withdrawal-v1.schema.json": "e594aa3ce30be67db8d244e732309d74f9fd9728a6b860f743e2ad9252ae726f",
}
SECRET = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
RING = KeyRing(
    [
        parse_public_key(
            SECRET.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )
    ]
)


def loaded(name):
    return json.loads((SCHEMAS / name).read_bytes())


def schema(name):
    return jsonschema_rs.Draft202012Validator(loaded(f"{name}-v1.schema.json"), validate_formats=True)


def said(document, kind):
    payload = json.dumps(document).encode()
    signature = Signature("", SECRET.sign(pae(kind, payload)))
    return read_statement(verify(parse_envelope(encode_envelope(kind, payload, [signature])), RING))


def is_read(document, kind):
    try:
        said(document, kind)
    except AttestorError:
        return False
    return True


@pytest.mark.parametrize("name", PINNED)
def test_a_published_schema_or_example_never_changes(name):
    """Others sign what these say. A change is a new version with a new name, not a new digest here."""
    assert hashlib.sha256((SCHEMAS / name).read_bytes()).hexdigest() == PINNED[name]


def test_every_published_schema_and_example_is_pinned():
    ours = {
        name for kind in ("rebuild", "withdrawal") for name in (f"{kind}-v1.schema.json", f"{kind}-v1.example.json")
    }
    assert set(PINNED) == ours
    assert ours <= {path.name for path in SCHEMAS.iterdir()}


def test_the_examples_are_what_our_own_makers_write():
    rebuild, withdrawal = loaded("rebuild-v1.example.json"), loaded("withdrawal-v1.example.json")
    assert json.loads(rebuild_payload(said(rebuild, IN_TOTO)))["subject"] == rebuild["subject"]
    assert json.loads(withdrawal_payload(said(withdrawal, WITHDRAWAL))) == withdrawal
    assert said(withdrawal, WITHDRAWAL).release_id == said(rebuild, IN_TOTO).release.id


LEFT_OUT = object()
H256, H512 = "0" * 64, "0" * 128


def changed(document, path, value):
    whole = copy.deepcopy(document)
    at = whole
    *way, last = (int(step) if step.isdigit() else step for step in path.split("/"))
    for step in way:
        at = at[step]
    if value is LEFT_OUT:
        del at[last]
    else:
        at[last] = value
    return whole


def entry(name, **digest):
    return {"name": name, "digest": digest}


GOOD_BUILDS = {
    "no log digest": ("predicate/logDigest", LEFT_OUT),
    "no start": ("predicate/startedOn", LEFT_OUT),
    "no end": ("predicate/finishedOn", LEFT_OUT),
    "no inputs known": ("predicate/inputs", []),
    "an input with both digests": ("predicate/inputs", [entry("a b~+@.tar", sha256=H256, sha512=H512)]),
    "1024 inputs": ("predicate/inputs", [entry(f"f{n}", sha256=H256) for n in range(1024)]),
    "a name of 255": ("predicate/inputs", [entry("x" * 255, sha256=H256)]),
    "three dots": ("predicate/inputs", [entry("...", sha256=H256)]),
    "a hidden file": ("predicate/inputs", [entry(".SRCINFO", sha256=H256)]),
    "one byte": ("predicate/size", 1),
    "the largest size": ("predicate/size", 2**53 - 1),
    "microseconds": ("predicate/startedOn", "2025-10-12T08:30:00.000001Z"),
}
BAD_BUILDS = {
    **{f"no {name}": (name, LEFT_OUT) for name in ("_type", "subject", "predicateType", "predicate")},
    **{f"no {name}": (f"predicate/{name}", LEFT_OUT) for name in ("release", "outcome", "inputs", "size")},
    **{f"no {name}": (f"predicate/release/{name}", LEFT_OUT) for name in ("kind", "purl", "fileName")},
    "another statement": ("_type", "https://in-toto.io/Statement/v0.1"),
    "another predicate": ("predicateType", "urn:attestor:rebuild:v2"),
    "a member more": ("x", 1),
    "a member more in the predicate": ("predicate/x", 1),
    "a member more in the release": ("predicate/release/x", 1),
    "a member more in a subject": ("subject/0/uri", "x"),
    "a member more in an input": ("predicate/inputs/0/uri", "x"),
    "another algorithm": ("subject/0/digest/md5", "0" * 32),
    "no subject": ("subject", []),
    "257 subjects": ("subject", [entry("x", sha256=H256, sha512=H512)] * 257),
    "1025 inputs": ("predicate/inputs", [entry(f"f{n}", sha256=H256) for n in range(1025)]),
    "no sha256": ("subject/0/digest/sha256", LEFT_OUT),
    "no sha512": ("subject/0/digest/sha512", LEFT_OUT),
    "an input without sha256": ("predicate/inputs/0/digest", {"sha512": H512}),
    "a short sha256": ("subject/0/digest/sha256", "0" * 63),
    "a sha256 with a newline": ("subject/0/digest/sha256", H256 + "\n"),
    "an upper-case sha256": ("subject/0/digest/sha256", "A" * 64),
    "a short sha512": ("subject/0/digest/sha512", H256),
    "a slash": ("predicate/inputs/0/name", "a/b"),
    "a backslash": ("predicate/inputs/0/name", "a\\b"),
    "a NUL": ("predicate/inputs/0/name", "a\0b"),
    "a newline at the end": ("predicate/inputs/0/name", "a\n"),
    "a DEL": ("predicate/inputs/0/name", "a\x7f"),
    "a letter beyond ASCII": ("predicate/inputs/0/name", "ä"),
    "this folder": ("predicate/inputs/0/name", "."),
    "the folder above": ("predicate/inputs/0/name", ".."),
    "an empty name": ("predicate/inputs/0/name", ""),
    "a name of 256": ("predicate/inputs/0/name", "x" * 256),
    "an unknown kind": ("predicate/release/kind", "source"),
    "a purl of another type": ("predicate/release/purl", "pkg:npm/a/b@1?arch=x"),
    "a purl with a subpath": ("predicate/release/purl", "pkg:alpm/arch/filesystem@2025.10.12-1?arch=any#x"),
    "a purl without qualifier": ("predicate/release/purl", "pkg:alpm/arch/filesystem@2025.10.12-1"),
    "a file name with a slash": ("predicate/release/fileName", "x/filesystem-2025.10.12-1-any.pkg.tar.zst"),
    "an unknown outcome": ("predicate/outcome", "BUILT"),
    "failed with a size": ("predicate/outcome", "failed"),
    "size nothing": ("predicate/size", 0),
    "a negative size": ("predicate/size", -1),
    "a broken size": ("predicate/size", 1.5),
    "a size beyond a double": ("predicate/size", 2**53),
    "a size as text": ("predicate/size", "1"),
    "a size that is true": ("predicate/size", True),
    "an offset": ("predicate/startedOn", "2025-10-12T08:30:00+00:00"),
    "no zone": ("predicate/startedOn", "2025-10-12T08:30:00"),
    "nanoseconds": ("predicate/startedOn", "2025-10-12T08:30:00.0000000001Z"),
    "a month thirteen": ("predicate/startedOn", "2025-13-12T08:30:00Z"),
    "a 30th of February": ("predicate/startedOn", "2025-02-30T08:30:00Z"),
    "an hour 24": ("predicate/startedOn", "2025-10-12T24:30:00Z"),
    "a null": ("predicate/finishedOn", None),
    "a short log digest": ("predicate/logDigest", "ab"),
}
GOOD_WITHDRAWALS = {
    "another script": ("reason", "時計が狂っていた。"),
    "500 characters beyond the basic plane": ("reason", "😀" * 500),
    "one character": ("origin", "a"),
}
BAD_WITHDRAWALS = {
    **{f"no {name}": (name, LEFT_OUT) for name in ("origin", "releaseId", "payloadDigest", "reason")},
    "a member more": ("x", 1),
    "a blank in the origin": ("origin", "a b"),
    "a plus in the origin": ("origin", "a+b"),
    "an empty origin": ("origin", ""),
    "an origin of 256": ("origin", "a" * 256),
    "an origin with a newline": ("origin", "a\n"),
    "a purl as release": ("releaseId", "pkg:alpm/arch/bash@5.3-1?arch=x86_64"),
    "a short digest": ("payloadDigest", "0" * 63),
    "an upper-case digest": ("payloadDigest", "A" * 64),
    "an empty reason": ("reason", ""),
    "501 characters": ("reason", "a" * 501),
    "a newline": ("reason", "a\nb"),
    "a newline at the end": ("reason", "a\n"),
    "a C1 control": ("reason", "a\x9bb"),
    "a turned direction": ("reason", "a\u202eb"),
    "a line separator": ("reason", "a\u2028b"),
    "a reason that is null": ("reason", None),
}


def rows():
    for name, good, bad in (("rebuild", GOOD_BUILDS, BAD_BUILDS), ("withdrawal", GOOD_WITHDRAWALS, BAD_WITHDRAWALS)):
        for wanted, table in ((True, good), (False, bad)):
            for sentence, (path, value) in table.items():
                yield pytest.param(name, path, value, wanted, id=f"{name} with {sentence}")


@pytest.mark.parametrize(("name", "path", "value", "wanted"), list(rows()))
def test_schema_and_reader_agree(name, path, value, wanted):
    document = changed(loaded(f"{name}-v1.example.json"), path, value)
    kind = IN_TOTO if name == "rebuild" else WITHDRAWAL
    assert (schema(name).is_valid(document), is_read(document, kind)) == (wanted, wanted)


def test_schema_and_reader_agree_on_a_failure():
    failed = loaded("rebuild-v1.example.json")
    failed["predicate"]["outcome"] = "failed"
    del failed["predicate"]["size"]
    failed["subject"] = failed["predicate"]["inputs"]
    assert schema("rebuild").is_valid(failed)
    assert said(failed, IN_TOTO).subject is None


def test_the_schema_knows_every_kind():
    kinds = loaded("rebuild-v1.schema.json")["$defs"]["release"]["properties"]["kind"]["enum"]
    assert kinds == [str(kind) for kind in Kind]
