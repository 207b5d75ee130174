"""From a verified statement to claims: what a key may say, and for whom it speaks."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from attestor.core.claims import Outcome, claims_of
from attestor.core.errors import Forbidden, Rejected
from attestor.core.keys import parse_public_key
from attestor.core.naming import Kind, parse_release
from attestor.core.policy import OperatorKey, Policy, Provenance, Scope
from attestor.core.statement import LinkStatement, ProvenanceStatement, RebuildStatement, Subject
from tests.logkeys import log_policy

NOON = datetime(2025, 10, 12, 12, tzinfo=UTC)
DAY = timedelta(days=1)
RELEASE = parse_release("package", "pkg:alpm/arch/bash@5.3-1?arch=x86_64", "bash-5.3-1-x86_64.pkg.tar.zst")
FILE = Subject(RELEASE.file_name, b"g" * 32, b"G" * 64, 1234)
OTHER = Subject("zsh-5.9-1-x86_64.pkg.tar.zst", b"z" * 32)
DEB = Subject("bash_5.2-2_amd64.deb", b"d" * 32)
PAYLOAD = hashlib.sha256(b"payload").digest()
BUILT = RebuildStatement(release=RELEASE, outcome="built", subject=FILE)
LINK = LinkStatement(f"rebuild {FILE.name}", FILE)


def scope(kind, purl_type, namespace, arch=None):
    return Scope(kind=Kind(kind), type=purl_type, namespace=namespace, arch=arch)


ARCH, ARTIX, DEBIAN = (
    scope("package", "alpm", "arch"),
    scope("package", "alpm", "artix"),
    scope("package", "deb", "debian"),
)
MKOSI = Provenance(build_type="https://example.org/mkosi", builder_id="https://example.org/host")


def held(operator, number=1, **changes):
    secret = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"{operator}{number}".encode()).digest())
    pem = secret.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    usual = {
        "operator": operator,
        "public_key": parse_public_key(pem.decode()),
        "valid_from": NOON - DAY,
        "valid_until": NOON + DAY,
        "forms": frozenset({"rebuild", "link"}),
        "provenance": frozenset(),
        "scopes": (ARCH,),
        "revoked": False,
    }
    return OperatorKey(**usual | changes)


def said(statement, *signers, at=NOON):
    policy = Policy(
        origin="test",
        serial=1,
        digest="00" * 32,
        keys={key.public_key: key for key in signers},
        suspended=frozenset(),
        operators=frozenset(key.operator for key in signers),
        tiers=(),
        requesters={},
        log=log_policy("test"),
        raw=b"",
    )
    keys = frozenset(policy.keys)
    return claims_of(statement, signers=keys, payload_digest=PAYLOAD, policy=policy, received_at=at)


def refusal(statement, *signers, at=NOON):
    with pytest.raises(Rejected) as refused:
        said(statement, *signers, at=at)
    return refused.value


def test_a_rebuild_is_a_claim_for_the_release_that_it_names():
    key = held("alice")
    (claim,) = said(BUILT, key)
    assert (claim.operator, claim.release, claim.payload_digest, claim.form) == ("alice", RELEASE, PAYLOAD, "rebuild")
    assert (claim.outcome, claim.sha256, claim.sha512, claim.size) == (Outcome.BUILT, b"g" * 32, b"G" * 64, 1234)
    assert (claim.keys, claim.received_at) == ({key.public_key.fingerprint}, NOON)


def test_a_failed_build_is_a_claim_without_a_digest():
    (claim,) = said(RebuildStatement(release=RELEASE, outcome="failed", subject=None), held("alice"))
    assert (claim.outcome, claim.sha256, claim.sha512, claim.size) == (Outcome.FAILED, None, None, None)


def test_a_link_names_its_release_by_the_scope_of_the_key():
    (claim,) = said(LINK, held("alice"))
    assert (claim.release, claim.form) == (RELEASE, "link")


def test_a_link_for_one_distribution_never_votes_in_another():
    """The same signed bytes mean what each key may say, and nothing in them says which distribution."""
    arch, artix = said(LINK, held("alice"), held("bob", scopes=(ARTIX,)))
    assert {(one.operator, one.release.namespace) for one in (arch, artix)} == {("alice", "arch"), ("bob", "artix")}
    assert arch.release.id != artix.release.id
    debian = held("carol", scopes=(DEBIAN,))
    assert refusal(LINK, debian).code == "name-fits-no-scope"
    assert refusal(LinkStatement(f"rebuild {DEB.name}", DEB), held("alice")).code == "name-fits-no-scope"


def test_a_name_that_fits_two_scopes_is_refused():
    error = refusal(LINK, held("alice", scopes=(ARCH, ARTIX)))
    assert error.code == "name-fits-two-scopes"
    assert "purl" in error.sentence


def test_two_scopes_that_name_the_same_release_are_no_ambiguity():
    (claim,) = said(LINK, held("alice", scopes=(ARCH, scope("package", "alpm", "arch", "x86_64"), DEBIAN)))
    assert claim.release == RELEASE


def test_a_rebuild_that_names_its_release_is_clear_where_a_link_is_not():
    (claim,) = said(BUILT, held("alice", scopes=(ARCH, ARTIX)))
    assert claim.release == RELEASE


@pytest.mark.parametrize(
    "scopes",
    [(ARTIX,), (DEBIAN,), (scope("package", "alpm", "arch", "any"),), (scope("iso", "generic", "arch"),), ()],
    ids=["namespace", "type", "architecture", "kind", "no scope at all"],
)
def test_a_rebuild_outside_the_scope_is_refused_by(scopes):
    key = held("alice", scopes=scopes)
    assert refusal(BUILT, key).code == "key-out-of-scope"
    # A link does not say which distribution it means: under a key of another one it is about that one's release.
    if scopes == (ARTIX,):
        assert [claim.release.namespace for claim in said(LINK, key)] == ["artix"]
    else:
        assert refusal(LINK, key).code == "name-fits-no-scope"


@pytest.mark.parametrize(
    ("changes", "at", "code"),
    [
        ({"revoked": True}, NOON, "key-revoked"),
        ({"revoked": True}, NOON - 5 * DAY, "key-revoked"),
        ({}, NOON + DAY, "key-expired"),
        ({}, NOON - 2 * DAY, "key-not-yet-valid"),
        ({"forms": frozenset({"link"})}, NOON, "statement-not-allowed"),
    ],
    ids=["revoked", "revoked, sent as of long ago", "expired", "not yet valid", "not allowed to say it"],
)
def test_an_old_envelope_is_refused_by_a_key_that_is(changes, at, code):
    error = refusal(BUILT, held("alice", **changes), at=at)
    assert isinstance(error, Forbidden)
    assert error.code == code
    assert "alice" in error.sentence


def test_a_key_counts_from_its_first_moment_to_just_before_its_last():
    assert said(BUILT, held("alice"), at=NOON - DAY)
    assert said(BUILT, held("alice"), at=NOON + DAY - timedelta(microseconds=1))


def test_two_keys_of_one_operator_under_one_payload_are_one_claim():
    one, two = held("alice"), held("alice", 2)
    (claim,) = said(BUILT, one, two)
    assert claim.keys == {one.public_key.fingerprint, two.public_key.fingerprint}


def test_keys_of_two_operators_under_one_payload_are_two_claims():
    assert [claim.operator for claim in said(BUILT, held("bob"), held("alice"))] == ["alice", "bob"]


def test_a_revoked_second_key_lends_no_weight_and_takes_none():
    good = held("alice")
    (claim,) = said(BUILT, good, held("alice", 2, revoked=True))
    assert claim.keys == {good.public_key.fingerprint}


def test_a_second_operator_that_may_not_say_it_does_not_silence_the_first():
    for changes in ({"revoked": True}, {"forms": frozenset({"link"})}, {"scopes": (ARTIX,)}):
        assert [claim.operator for claim in said(BUILT, held("alice"), held("bob", **changes))] == ["alice"]


PROVENANCE = ProvenanceStatement(MKOSI.build_type, MKOSI.builder_id, (FILE, OTHER))
BUILDER = {"forms": frozenset({"provenance"}), "provenance": frozenset({MKOSI})}


def test_provenance_by_an_allowed_builder_is_a_claim_for_each_subject():
    claims = said(PROVENANCE, held("alice", **BUILDER))
    assert {claim.release.name for claim in claims} == {"bash", "zsh"}
    assert {claim.form for claim in claims} == {"provenance https://example.org/mkosi https://example.org/host"}


@pytest.mark.parametrize(
    ("build_type", "builder_id"),
    [
        ("https://example.org/other", MKOSI.builder_id),
        (MKOSI.build_type, "https://example.org/elsewhere"),
        (MKOSI.builder_id, MKOSI.build_type),
        (MKOSI.build_type + " " + MKOSI.builder_id, "x"),
    ],
    ids=["build type", "builder", "build type and builder exchanged", "a build type that holds a builder"],
)
def test_provenance_is_refused_for_another(build_type, builder_id):
    statement = ProvenanceStatement(build_type, builder_id, (FILE,))
    assert refusal(statement, held("alice", **BUILDER)).code == "statement-not-allowed"


def test_provenance_is_refused_of_a_key_that_may_only_rebuild():
    assert refusal(PROVENANCE, held("alice")).code == "statement-not-allowed"


@pytest.mark.parametrize("subjects", [(FILE, DEB), (DEB, FILE)], ids=["last", "first"])
def test_a_statement_with_a_subject_out_of_scope_is_refused_whole_wherever_it_stands(subjects):
    statement = ProvenanceStatement(MKOSI.build_type, MKOSI.builder_id, subjects)
    assert refusal(statement, held("alice", **BUILDER)).code == "name-fits-no-scope"


def test_a_refusal_has_the_same_words_whatever_the_order_of_signers():
    keys = [held(name, scopes=(ARTIX,)) for name in ("alice", "bob", "carol")]
    assert len({refusal(BUILT, *order).sentence for order in (keys, keys[::-1], keys[1:] + keys[:1])}) == 1
