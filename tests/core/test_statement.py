"""What verified bytes say, and everything they may not say."""

import copy
import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.envelope import (
    IN_TOTO,
    MAX_ENVELOPE_BYTES,
    WITHDRAWAL,
    Envelope,
    Signature,
    encode_envelope,
    pae,
    verify,
)
from attestor.core.errors import AttestorError, Rejected
from attestor.core.keys import KeyRing, parse_public_key
from attestor.core.link import Link, canonical
from attestor.core.naming import parse_release
from attestor.core.statement import (
    LINK,
    PROVENANCE,
    LinkStatement,
    ProvenanceStatement,
    RebuildStatement,
    Subject,
    WithdrawalStatement,
    parse_attestation,
    read_statement,
    rebuild_payload,
    withdrawal_payload,
)

SECRET = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = parse_public_key(
    SECRET.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
RING = KeyRing([KEY])
RELEASE = parse_release("package", "pkg:alpm/arch/bash@5.3-1?arch=x86_64", "bash-5.3-1-x86_64.pkg.tar.zst")
FILE = RELEASE.file_name
S256, S512 = "ab" * 32, "cd" * 64
NOON = datetime(2025, 10, 12, 12, tzinfo=UTC)
SOURCE = Subject("bash-5.3-1.src.tar.gz", b"s" * 32)
BUILT = RebuildStatement(
    release=RELEASE,
    outcome="built",
    subject=Subject(FILE, bytes.fromhex(S256), bytes.fromhex(S512), 1234),
    inputs=(SOURCE,),
    started_on=NOON,
    finished_on=NOON + timedelta(minutes=1, microseconds=250),
    log_digest=b"l" * 32,
)
FAILED = dataclasses.replace(BUILT, outcome="failed", subject=None)
TAKEN_BACK = WithdrawalStatement("attestor.example.org/log", RELEASE.id, b"p" * 32, "The clock was wrong: 時計.")


def said(payload, kind=IN_TOTO):
    """Sign these bytes with a known key, wrap, send, verify, read."""
    signature = Signature(KEY.fingerprint, SECRET.sign(pae(kind, payload)))
    return read_statement(verify(parse_attestation(encode_envelope(kind, payload, [signature])), RING))


def said_by_link(signed):
    signatures = [{"keyid": KEY.fingerprint, "sig": SECRET.sign(canonical(signed)).hex()}]
    return read_statement(
        verify(parse_attestation(json.dumps({"signed": signed, "signatures": signatures}).encode()), RING)
    )


def refusal(read, *given):
    with pytest.raises(Rejected) as refused:
        read(*given)
    return refused.value.code


def file(name=FILE, **digest):
    return {"name": name, "digest": digest or {"sha256": S256}}


@pytest.mark.parametrize(
    "statement",
    [BUILT, FAILED, dataclasses.replace(BUILT, inputs=(), started_on=None, finished_on=None, log_digest=None)],
    ids=["built", "failed", "built, with nothing known but the file"],
)
def test_a_rebuild_is_read_as_it_was_made(statement):
    assert said(rebuild_payload(statement)) == statement


def test_a_withdrawal_is_read_as_it_was_made():
    assert said(withdrawal_payload(TAKEN_BACK), WITHDRAWAL) == TAKEN_BACK


def changed(path, value, statement=BUILT):
    """A rebuild with one member set (or left out, for None), signed all the same."""
    document = copy.deepcopy(json.loads(rebuild_payload(statement)))
    at = document
    *way, last = path.split(".")
    for step in way:
        at = at[int(step) if step.isdigit() else step]
    if value is None:
        del at[last]
    else:
        at[int(last) if last.isdigit() else last] = value
    return json.dumps(document).encode()


BAD_BUILDS = {
    "no subject": ("subject", [], "no-subject"),
    "another file": ("subject", [file("bash-5.3-1-any.pkg.tar.zst", sha256=S256, sha512=S512)], "subject-not-file"),
    "a file beside": ("subject", [file(sha256=S256, sha512=S512), file("x", sha256=S256)], "subject-not-file"),
    "one name with two digests": (
        "subject",
        [file(sha256=S256, sha512=S512), file(sha256="0" * 64, sha512=S512)],
        "two-digests",
    ),
    "one name with and without sha512": ("subject", [file(sha256=S256, sha512=S512), file()], "two-digests"),
    "257 subjects": ("subject", [file(f"f{n}") for n in range(257)], "too-many-subjects"),
    "one subject 257 times": ("subject", [file(sha256=S256, sha512=S512)] * 257, "too-many-subjects"),
    "no sha256": ("subject.0.digest", {"sha512": S512}, "sha256-missing"),
    "no digest": ("subject.0.digest", {}, "sha256-missing"),
    "no sha512": ("subject.0.digest", {"sha256": S256}, "sha512-missing"),
    "an empty sha256": ("subject.0.digest.sha256", "", "bad-digest"),
    "a short sha256": ("subject.0.digest.sha256", "ab" * 31, "bad-digest"),
    "a long sha256": ("subject.0.digest.sha256", "ab" * 33, "bad-digest"),
    "an upper-case sha256": ("subject.0.digest.sha256", "AB" * 32, "bad-digest"),
    "a sha256 with a newline": ("subject.0.digest.sha256", "ab" * 31 + "a\n", "bad-digest"),
    "a sha256 in other digits": ("subject.0.digest.sha256", "٣" * 64, "bad-digest"),
    "a sha512 of a sha256's length": ("subject.0.digest.sha512", S256, "bad-digest"),
    "a sha256 that is null": ("subject.0.digest", {"sha256": None, "sha512": S512}, "not-a-statement"),
    "a digest of another algorithm": ("subject.0.digest.md5", "00" * 16, "not-a-statement"),
    "a slash in a name": ("subject.0.name", "a/b", "bad-name"),
    "a backslash in a name": ("subject.0.name", "a\\b", "bad-name"),
    "a NUL in a name": ("subject.0.name", "a\0b", "bad-name"),
    "a newline in a name": ("subject.0.name", FILE + "\n", "bad-name"),
    "an empty name": ("subject.0.name", "", "bad-name"),
    "the folder above": ("subject.0.name", "..", "bad-name"),
    "a long name": ("subject.0.name", "a" * 256, "bad-name"),
    "a look-alike letter": ("subject.0.name", FILE.replace("a", "а"), "bad-name"),
    "a slash in an input's name": ("predicate.inputs.0.name", "../x", "bad-name"),
    "no size": ("predicate.size", None, "size-missing"),
    "size nothing": ("predicate.size", 0, "not-a-statement"),
    "a negative size": ("predicate.size", -1, "not-a-statement"),
    "a size with a fraction": ("predicate.size", 1234.0, "not-a-statement"),
    "a size as text": ("predicate.size", "1234", "not-a-statement"),
    "a size that is true": ("predicate.size", True, "not-a-statement"),
    "a size beyond a double": ("predicate.size", 2**53, "number-out-of-range"),
    "no inputs": ("predicate.inputs", None, "not-a-statement"),
    "1025 inputs": ("predicate.inputs", [file(f"f{n}") for n in range(1025)], "not-a-statement"),
    "an input with two digests": ("predicate.inputs", [file("x"), file("x", sha256="0" * 64)], "two-digests"),
    "no release": ("predicate.release", None, "not-a-statement"),
    "an unknown kind": ("predicate.release.kind", "source", "kind-unknown"),
    "a kind of another purl type": ("predicate.release.kind", "iso", "purl-not-canonical"),
    "a purl with an upper-case type": (
        "predicate.release.purl",
        "pkg:ALPM/arch/bash@5.3-1?arch=x86_64",
        "purl-not-canonical",
    ),
    "a purl of another architecture": ("predicate.release.purl", "pkg:alpm/arch/bash@5.3-1?arch=any", "names-disagree"),
    "a member more in the release": ("predicate.release.id", "x", "not-a-statement"),
    "an unknown outcome": ("predicate.outcome", "BUILT", "not-a-statement"),
    "no outcome": ("predicate.outcome", None, "not-a-statement"),
    "failed, with a size": ("predicate.outcome", "failed", "size-unexpected"),
    "a member more in the predicate": ("predicate.builder", "x", "not-a-statement"),
    "a member more in the statement": ("comment", "x", "not-a-statement"),
    "a member more in a subject": ("subject.0.uri", "x", "not-a-statement"),
    "a null for what is left out": (
        "predicate",
        {**json.loads(rebuild_payload(BUILT))["predicate"], "startedOn": None},
        "not-a-statement",
    ),
    "another statement type": ("_type", "https://in-toto.io/Statement/v0.1", "not-a-statement"),
    "no statement type": ("_type", None, "not-a-statement"),
    "an unknown predicate": ("predicateType", "urn:attestor:rebuild:v2", "unknown-predicate"),
    "no predicate type": ("predicateType", None, "unknown-predicate"),
    "a predicate type that is a list": ("predicateType", ["urn:attestor:rebuild:v1"], "unknown-predicate"),
    "finished before started": ("predicate.finishedOn", "2025-10-12T11:59:59Z", "times-disagree"),
    "a time without zone": ("predicate.startedOn", "2025-10-12T11:59:59", "bad-time"),
    "a time with an offset": ("predicate.startedOn", "2025-10-12T11:59:59+00:00", "bad-time"),
    "a time with a blank": ("predicate.startedOn", "2025-10-12 11:59:59Z", "bad-time"),
    "a time with a newline": ("predicate.startedOn", "2025-10-12T11:59:59Z\n", "bad-time"),
    "a date alone": ("predicate.startedOn", "2025-10-12", "bad-time"),
    "a 30th of February": ("predicate.startedOn", "2025-02-30T11:59:59Z", "bad-time"),
    "nanoseconds": ("predicate.startedOn", "2025-10-12T11:59:59.123456789Z", "bad-time"),
    "a log digest that is short": ("predicate.logDigest", "ab", "bad-digest"),
}


@pytest.mark.parametrize(("path", "value", "code"), BAD_BUILDS.values(), ids=BAD_BUILDS.keys())
def test_a_rebuild_that_says_something_else_is_refused(path, value, code):
    assert refusal(said, changed(path, value)) == code


def test_a_subject_listed_twice_with_the_same_digests_is_one():
    assert said(changed("subject", [file(sha256=S256, sha512=S512)] * 2)) == BUILT


def test_a_file_of_provenance_listed_twice_alike_is_one():
    statement = said(in_toto(PROVENANCE, SLSA, [file("a"), file("a"), file("b")]))
    assert [subject.name for subject in statement.subjects] == ["a", "b"]


BAD_FAILURES = {
    "a subject that is no input": ("subject", [file("x")], "subjects-not-inputs"),
    "an input that is no subject": ("predicate.inputs", [file("x"), file("y")], "subjects-not-inputs"),
    "no subject": ("subject", [], "no-subject"),
    "built, without a size": ("predicate.outcome", "built", "subject-not-file"),
}


@pytest.mark.parametrize(("path", "value", "code"), BAD_FAILURES.values(), ids=BAD_FAILURES.keys())
def test_a_failure_that_says_something_else_is_refused(path, value, code):
    assert refusal(said, changed(path, value, FAILED)) == code


UNMAKEABLE = {
    "built without a subject": (dataclasses.replace(BUILT, subject=None), "subject-not-file"),
    "built without sha512": (dataclasses.replace(BUILT, subject=Subject(FILE, b"s" * 32, None, 1)), "sha512-missing"),
    "built without size": (dataclasses.replace(BUILT, subject=Subject(FILE, b"s" * 32, b"s" * 64)), "size-missing"),
    "failed with a subject": (dataclasses.replace(BUILT, outcome="failed"), "size-unexpected"),
    "failed without inputs": (dataclasses.replace(FAILED, inputs=()), "no-subject"),
    "a naive time": (dataclasses.replace(BUILT, started_on=NOON.replace(tzinfo=None)), "bad-time"),
    "a time of another zone": (
        dataclasses.replace(BUILT, started_on=NOON.astimezone(timezone(timedelta(hours=2)))),
        "bad-time",
    ),
}


@pytest.mark.parametrize(("statement", "code"), UNMAKEABLE.values(), ids=UNMAKEABLE.keys())
def test_a_rebuilder_cannot_make_what_the_service_would_refuse(statement, code):
    assert refusal(rebuild_payload, statement) == code


def in_toto(predicate_type, predicate, subject, **more):
    whole = {"_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": predicate_type}
    return json.dumps({**whole, "predicate": predicate, **more}).encode()


def legacy(name, products, **more):
    return {"_type": "link", "name": name, "products": products, "materials": {}, "environment": None, **more}


PRODUCT = LinkStatement(f"rebuild {FILE}", Subject(FILE, bytes.fromhex(S256), bytes.fromhex(S512)))
BOTH = {"sha512": S512, "sha256": S256}


def test_a_link_of_either_age_says_the_same():
    assert said_by_link(legacy(f"rebuild {FILE}", {FILE: BOTH})) == PRODUCT
    assert said(in_toto(LINK, {"name": f"rebuild {FILE}", "materials": []}, [file(**BOTH)])) == PRODUCT


def test_unknown_members_of_others_forms_are_ignored():
    assert said_by_link(legacy(f"rebuild {FILE}", {FILE: {**BOTH, "md5": "x"}}, future=[1])) == PRODUCT
    subject = [{**file(**BOTH, gitCommit="x"), "uri": "u", "annotations": {"a": 1.5}}]
    assert said(in_toto(LINK, {"name": f"rebuild {FILE}", "future": 1}, subject, future=1)) == PRODUCT


BAD_LINKS = {
    "no product": (f"rebuild {FILE}", {}, "no-subject"),
    "a product beside": (f"rebuild {FILE}", {FILE: BOTH, "b": BOTH}, "link-not-one-product"),
    "another product": (f"rebuild {FILE}", {"b": BOTH}, "link-not-one-product"),
    "another step": (f"build {FILE}", {FILE: BOTH}, "link-not-one-product"),
    "two blanks": (f"rebuild  {FILE}", {FILE: BOTH}, "link-not-one-product"),
    "a blank at the end": (f"rebuild {FILE} ", {FILE: BOTH}, "link-not-one-product"),
    "no name": ("", {FILE: BOTH}, "link-not-one-product"),
    "a product in a folder": ("rebuild a/b", {"a/b": BOTH}, "bad-name"),
    "no sha256": (f"rebuild {FILE}", {FILE: {"sha512": S512}}, "sha256-missing"),
    "a short sha256": (f"rebuild {FILE}", {FILE: {"sha256": "ab"}}, "bad-digest"),
    "a sha256 that is a number": (f"rebuild {FILE}", {FILE: {"sha256": 1}}, "not-a-statement"),
}


@pytest.mark.parametrize(("name", "products", "code"), BAD_LINKS.values(), ids=BAD_LINKS.keys())
def test_a_link_that_is_not_about_its_one_product_is_refused(name, products, code):
    assert refusal(said_by_link, legacy(name, products)) == code
    subject = [{"name": product, "digest": digest} for product, digest in products.items()]
    assert refusal(said, in_toto(LINK, {"name": name}, subject)) == code


def test_a_legacy_object_that_is_no_link_is_refused():
    assert refusal(said_by_link, {**legacy(f"rebuild {FILE}", {FILE: BOTH}), "_type": "layout"}) == "not-a-statement"


def test_the_real_link_of_arch_is_about_the_real_file(real_input):
    key = parse_public_key(real_input("rebuilderd/reproducible-archlinux.pub").read_text())
    raw = real_input("rebuilderd/filesystem-2025.10.12-1-any.in-toto.link").read_bytes()
    product = read_statement(verify(parse_attestation(raw), KeyRing([key]))).product
    assert product.name == "filesystem-2025.10.12-1-any.pkg.tar.zst"
    assert product.sha256.hex() == "6b6c3fee7432204840d3b6afc9bc1a68c28f591a47fb220071715c40cca956df"


def test_the_published_link_of_debian_is_read():
    vector = json.loads((Path(__file__).parents[1] / "vectors/rebuilderd-link.json").read_bytes())["link"]["signed"]
    assert said_by_link(vector).product.name == "librust-as-slice-dev_0.2.1-1+b2_amd64.deb"


SLSA = {
    "buildDefinition": {"buildType": "https://example.org/rebuild@v1", "externalParameters": {"a": 0.5}},
    "runDetails": {"builder": {"id": "https://example.org/builder"}, "metadata": {"invocationId": "x"}},
}


def slsa(build_type="https://example.org/rebuild@v1", builder="https://example.org/builder"):
    return {"buildDefinition": {"buildType": build_type}, "runDetails": {"builder": {"id": builder}}}


def test_provenance_names_its_build_type_builder_and_files():
    statement = said(in_toto(PROVENANCE, SLSA, [file("a", **BOTH), file("b")]))
    subjects = (Subject("a", bytes.fromhex(S256), bytes.fromhex(S512)), Subject("b", bytes.fromhex(S256)))
    assert statement == ProvenanceStatement("https://example.org/rebuild@v1", "https://example.org/builder", subjects)


def test_256_subjects_are_read():
    assert len(said(in_toto(PROVENANCE, SLSA, [file(f"f{n}") for n in range(256)])).subjects) == 256


OSS_REBUILD = "https://docs.oss-rebuild.dev/builds/"
BAD_PROVENANCE = {
    "equivalence of oss-rebuild": (slsa(f"{OSS_REBUILD}ArtifactEquivalence@v0.1"), [file()], "equivalence-is-no-vote"),
    "equivalence of a later version": (
        slsa(f"{OSS_REBUILD}artifactEquivalence@v9"),
        [file()],
        "equivalence-is-no-vote",
    ),
    "equivalence of another host": (
        slsa("https://example.org/ArtifactEquivalence"),
        [file()],
        "equivalence-is-no-vote",
    ),
    "no build type": (slsa(""), [file()], "not-a-statement"),
    "no builder": (slsa(builder=""), [file()], "not-a-statement"),
    "a builder that is a text": ({**SLSA, "runDetails": {"builder": "x"}}, [file()], "not-a-statement"),
    "no predicate": (None, [file()], "not-a-statement"),
    "no subject": (SLSA, [], "no-subject"),
    "257 subjects": (SLSA, [file(f"f{n}") for n in range(257)], "too-many-subjects"),
    "one name with two digests, as builders of Bitcoin Core 23.0rc1 listed": (
        SLSA,
        [file("a"), file("a", sha256="0" * 64)],
        "two-digests",
    ),
    "a subject with sha1 alone": (SLSA, [file("a", sha1="00" * 20)], "sha256-missing"),
    "a subject in a folder": (SLSA, [file("rebuild/a")], "bad-name"),
    "a subject without name": (SLSA, [{"digest": {"sha256": S256}}], "not-a-statement"),
}


@pytest.mark.parametrize(("predicate", "subject", "code"), BAD_PROVENANCE.values(), ids=BAD_PROVENANCE.keys())
def test_provenance_that_is_no_vote_is_refused(predicate, subject, code):
    assert refusal(said, in_toto(PROVENANCE, predicate, subject)) == code


WITHDRAWN = json.loads(withdrawal_payload(TAKEN_BACK))
BAD_WITHDRAWALS = {
    "a member more": ({"until": "2030"}, "not-a-statement"),
    "a release that is no id": ({"releaseId": RELEASE.purl}, "bad-digest"),
    "a release id in upper case": ({"releaseId": "AB" * 32}, "bad-digest"),
    "a payload digest that is short": ({"payloadDigest": "ab" * 31}, "bad-digest"),
    "no origin": ({"origin": ""}, "bad-origin"),
    "an origin with a blank": ({"origin": "a b"}, "bad-origin"),
    "an origin with a plus": ({"origin": "a+b"}, "bad-origin"),
    "an origin with a newline": ({"origin": "a\n"}, "bad-origin"),
    "no reason": ({"reason": ""}, "bad-reason"),
    "a reason with a newline": ({"reason": "a\nb"}, "bad-reason"),
    "a reason with an escape": ({"reason": "a\x1b[2J"}, "bad-reason"),
    "a reason that turns the reading direction": ({"reason": "a\u202eb"}, "bad-reason"),
    "a reason over 500 characters": ({"reason": "a" * 501}, "bad-reason"),
    "a reason that is a number": ({"reason": 5}, "not-a-statement"),
}


@pytest.mark.parametrize(("changes", "code"), BAD_WITHDRAWALS.values(), ids=BAD_WITHDRAWALS.keys())
def test_a_withdrawal_that_is_not_exact_is_refused(changes, code):
    assert refusal(said, json.dumps({**WITHDRAWN, **changes}).encode(), WITHDRAWAL) == code


@pytest.mark.parametrize("member", WITHDRAWN)
def test_a_withdrawal_without_a_member_is_refused(member):
    payload = json.dumps({name: value for name, value in WITHDRAWN.items() if name != member}).encode()
    assert refusal(said, payload, WITHDRAWAL) == "not-a-statement"


PAYLOADS = {
    "another payload type": (rebuild_payload(BUILT), "application/json", "unknown-payload-type"),
    "no payload type": (rebuild_payload(BUILT), "", "unknown-payload-type"),
    "a payload type in upper case": (rebuild_payload(BUILT), IN_TOTO.upper(), "unknown-payload-type"),
    "a rebuild as a withdrawal": (rebuild_payload(BUILT), WITHDRAWAL, "not-a-statement"),
    "a withdrawal as a statement": (withdrawal_payload(TAKEN_BACK), IN_TOTO, "unknown-predicate"),
    "a legacy link in an envelope": (canonical(legacy(f"rebuild {FILE}", {FILE: BOTH})), IN_TOTO, "unknown-predicate"),
    "an empty payload": (b"", IN_TOTO, "not-json"),
    "no JSON": (b"hello", IN_TOTO, "not-json"),
    "a list": (b"[]", IN_TOTO, "unknown-predicate"),
    "a member twice": (rebuild_payload(BUILT).replace(b'"size"', b'"size":1,"size"'), IN_TOTO, "duplicate-key"),
    "a byte order mark": (b"\xef\xbb\xbf" + rebuild_payload(BUILT), IN_TOTO, "not-json"),
}


@pytest.mark.parametrize(("payload", "kind", "code"), PAYLOADS.values(), ids=PAYLOADS.keys())
def test_a_signed_payload_that_is_not_what_its_type_says_is_refused(payload, kind, code):
    assert refusal(said, payload, kind) == code


def test_the_format_is_told_by_content():
    signature = [{"keyid": "", "sig": "00"}]
    assert type(parse_attestation(encode_envelope(IN_TOTO, b"", [Signature("", b"")]))) is Envelope
    assert type(parse_attestation(json.dumps({"signed": {}, "signatures": signature}).encode())) is Link


NEITHER = {
    "neither": (b"{}", "unknown-format"),
    "both": (b'{"payload":"","payloadType":"","signatures":[{"sig":""}],"signed":{}}', "unknown-format"),
    "a list": (b"[]", "unknown-format"),
    "a text": (b'"payload"', "unknown-format"),
    "nothing": (b"", "not-json"),
    "a truncated envelope": (encode_envelope(IN_TOTO, b"x", [Signature("", b"")])[:-1], "not-json"),
    "one byte too many": (b"{}".ljust(MAX_ENVELOPE_BYTES + 1), "envelope-too-large"),
}


@pytest.mark.parametrize(("raw", "code"), NEITHER.values(), ids=NEITHER.keys())
def test_what_is_neither_envelope_nor_link_is_refused(raw, code):
    assert refusal(parse_attestation, raw) == code


NAMES = st.text(
    st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="/\\"), min_size=1, max_size=9
).filter(lambda name: name not in {".", ".."})
FILES = st.builds(Subject, NAMES, st.binary(min_size=32, max_size=32), st.none() | st.binary(min_size=64, max_size=64))
MOMENTS = st.none() | st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 -- hypothesis wants naive bounds


@given(
    st.lists(FILES, max_size=5, unique_by=lambda one: one.name),
    st.none() | st.binary(min_size=32, max_size=32),
    MOMENTS,
    st.integers(1, 2**53 - 1),
    st.booleans(),
)
def test_every_sound_rebuild_is_read_as_it_was_made(inputs, log_digest, moment, size, built):
    subject = Subject(FILE, b"s" * 32, b"S" * 64, size) if built or not inputs else None
    outcome = "failed" if subject is None else "built"
    statement = RebuildStatement(RELEASE, outcome, subject, tuple(inputs), moment, moment, log_digest)
    assert said(rebuild_payload(statement)) == statement


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5) | st.sampled_from([S256, FILE, "built"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "digest", "sha256", "size", "release", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
PATHS = st.sampled_from(
    [
        "_type",
        "subject",
        "subject.0",
        "subject.0.digest",
        "predicateType",
        "predicate",
        "predicate.release",
        "predicate.outcome",
        "predicate.size",
        "predicate.inputs",
        "predicate.startedOn",
        "predicate.logDigest",
    ]
)


@given(PATHS, JSON.filter(lambda value: value is not None))
def test_whatever_stands_in_a_member_only_our_errors_are_raised(path, value):
    try:
        assert isinstance(said(changed(path, value)), RebuildStatement)
    except AttestorError as error:
        assert error.sentence.isprintable()  # noqa: PT017 -- both ends are allowed, no third


@given(
    st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([IN_TOTO, WITHDRAWAL, "x"]),
)
def test_no_signed_bytes_raise_anything_but_our_errors(payload, kind):
    with pytest.raises(AttestorError):
        said(payload, kind)
