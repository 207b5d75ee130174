"""What an offline check refuses though every bit is in order: bundles put together anew, with keys that sign what they like."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from attestor.core.bundle import LoggedEntry, encode_bundle, read_bundle
from attestor.core.entries import NamedPolicy
from attestor.core.entrybytes import encode_entry, read_entry, seal_entry
from attestor.core.envelope import parse_envelope
from attestor.core.errors import Rejected
from attestor.core.tlog.note import NoteSigner
from attestor.core.tlog.tlogproof import parse_tlog_proof
from tests.bundles import CONTENT, CREATED, ORIGIN, Log, Making, appended, checked, policy_file, sign
from tests.logkeys import log_signer, seal, witness_signer
from tests.service.makers import package, payload_digest, vote, withdrawal

THREE = policy_file(operators=("alice", "bob", "carol"))
TOLERANT = policy_file(operators=("alice", "bob", "carol"), dissent_limit=1)
WITNESSED = policy_file(witnesses={"w": "https://w.example", "v": "https://v.example"}, quorum=1)
STRANGE = NoteSigner.create(f"{ORIGIN}/log", bytes(range(32)))
OTHER = b"Other bytes."
NAMES = (
    "file", "release", "policy", "log", "checkpoint", "decision", "signed", "evidence", "votes", "signature", "summary",
)  # fmt: skip


def entry(**changes):
    return lambda made: msgspec.structs.replace(made, **changes)


def named(part, **changes):
    return lambda made: msgspec.structs.replace(made, **{part: msgspec.structs.replace(getattr(made, part), **changes)})


def ballots(*votes):
    """(operator, key that signed, bytes)."""
    return tuple((operator, vote(package(), content, key)) for operator, key, content in votes)


UNANIMOUS = ballots(*((name, name, CONTENT) for name in ("alice", "bob", "carol")))
STATED = payload_digest(package(), CONTENT)
GONE = withdrawal(package(), STATED, "carol's former key")


def anew(bundle):
    """Through the file and back."""
    return read_bundle(encode_bundle(bundle))


def cosigned_by(*names):
    return Making(policy=WITNESSED, log=Log((b"first",), witnesses=names))


def same_checkpoint(bundle, change):
    """Both proofs with the checkpoint changed alike."""

    def proof(logged):
        parsed = parse_tlog_proof(logged.proof)
        return replace(logged, proof=replace(parsed, checkpoint=change(parsed.checkpoint)).encode())

    return replace(bundle, decision=proof(bundle.decision), signed=proof(bundle.signed))


GOOD = {
    "two of two agree": (Making(), policy_file()),
    "two of three agree": (Making(policy=THREE), THREE),
    "a dissent that the tier tolerates": (
        Making(
            policy=TOLERANT,
            envelopes=ballots(("alice", "alice", CONTENT), ("bob", "bob", CONTENT), ("carol", "carol", OTHER)),
        ),
        TOLERANT,
    ),
    "a dissent that was taken back": (
        Making(
            policy=THREE,
            envelopes=ballots(("alice", "alice", CONTENT), ("bob", "bob", CONTENT), ("carol", "carol", OTHER)),
            withdrawals=(withdrawal(package(), payload_digest(package(), OTHER), "carol"),),
        ),
        THREE,
    ),
    "a vote that was taken back, by the log's word, with a key that has left the policy": (
        Making(policy=TOLERANT, envelopes=UNANIMOUS, withdrawals=(GONE,), taken_back=(("carol", STATED),)),
        TOLERANT,
    ),
    "a build that failed": (
        Making(
            policy=THREE,
            envelopes=ballots(("alice", "alice", CONTENT), ("bob", "bob", CONTENT), ("carol", "carol", None)),
        ),
        THREE,
    ),
    "two operators under one envelope": (
        Making(envelopes=tuple((name, vote(package(), CONTENT, "alice", "bob")) for name in ("alice", "bob"))),
        policy_file(),
    ),
    "an unpublished worker's signature beside the operator's": (
        Making(envelopes=(*ballots(("alice", "alice", CONTENT)), ("bob", vote(package(), CONTENT, "bob", "worker")))),
        policy_file(),
    ),
    "one witness": (cosigned_by("w"), WITNESSED),
    "two witnesses": (cosigned_by("w", "v"), WITNESSED),
    "a former signer's seal": (
        Making(policy=policy_file(seals=("new", "signer"))),
        policy_file(seals=("new", "signer")),
    ),
}


@pytest.mark.parametrize(("made", "policy"), GOOD.values(), ids=GOOD.keys())
def test_what_is_in_order_is_said(made, policy):
    checks = checked(anew(made.bundle()), policy=policy)
    assert tuple(check.name for check in checks) == NAMES
    said = {check.name: check.sentence for check in checks}
    decision = read_entry(made.bundle().decision.entry)
    assert hashlib.sha256(CONTENT).hexdigest() in said["file"]
    assert package().purl in said["release"]
    assert all(vote.operator in said["votes"] for vote in decision.counted)
    assert len(decision.counted) == 2
    assert decision.key in said["signature"]


@pytest.mark.parametrize("key", ["rsa2048", "p256", "p384", "p521"])
def test_every_kind_of_release_key_is_read(key):
    assert checked(anew(Making(key=key).bundle()), key=key)


MADE = {
    # votes
    "one agrees, one does not": ("bundle-votes", Making(envelopes=ballots(("alice", "alice", CONTENT), ("bob", "bob", OTHER)))),
    "both attest other bytes": ("bundle-votes", Making(envelopes=ballots(("alice", "alice", OTHER), ("bob", "bob", OTHER)))),
    "one operator under two names": (
        "bundle-votes", Making(envelopes=(("alice", vote(package(), CONTENT, "alice")), ("bob", vote(package(), CONTENT, "alice", log=b"2"))))),
    "votes of keys that the policy does not know": (
        "bundle-votes", Making(envelopes=ballots(("alice", "mallory", CONTENT), ("bob", "trudy", CONTENT)))),
    "votes on another release": (
        "bundle-votes", Making(envelopes=tuple((name, vote(package("bash"), CONTENT, name)) for name in ("alice", "bob")))),
    "a vote that was taken back": (
        "bundle-votes", Making(withdrawals=(withdrawal(package(), payload_digest(package(), CONTENT), "bob"),))),
    "what was taken back by the log's word alone counts": (
        "bundle-votes",
        Making(policy=TOLERANT, envelopes=UNANIMOUS, withdrawals=(GONE,), taken_back=(("carol", STATED),),
               changed_dossier=lambda made: msgspec.structs.replace(made, taken_back=()))),
    "what nobody stated is taken back": (
        "bundle-votes", Making(policy=TOLERANT, envelopes=UNANIMOUS, withdrawals=(GONE,), taken_back=(("carol", bytes(32)),))),
    "a vote is taken back, and there is no withdrawal": (
        "bundle-votes", Making(policy=TOLERANT, envelopes=UNANIMOUS, taken_back=(("carol", STATED),))),
    "by the log's word alone is taken back what a key of the policy took back": (
        "bundle-votes",
        Making(policy=TOLERANT, envelopes=UNANIMOUS, withdrawals=(withdrawal(package(), STATED, "carol"),), taken_back=(("carol", STATED),))),
    "a decision after the keys had expired": ("bundle-votes", Making(created=datetime(2037, 1, 1, tzinfo=UTC))),
    "no votes are listed as counted": ("bundle-votes", Making(changed_decision=entry(counted=()))),
    "another evidence says that a dissent was taken back": (
        "bundle-votes",
        Making(policy=TOLERANT, envelopes=ballots(("alice", "alice", CONTENT), ("bob", "bob", CONTENT), ("carol", "carol", OTHER)),
               changed_dossier=lambda made: msgspec.structs.replace(
                   made, votes=(*made.votes[:2], msgspec.structs.replace(made.votes[2], reason="withdrawn"))))),
    "the evidence names another payload than the envelope holds": (
        "bundle-votes",
        Making(changed_dossier=lambda made: msgspec.structs.replace(
            made, votes=(msgspec.structs.replace(made.votes[0], payload="0" * 64), made.votes[1])))),
    # decision
    "a decision on another release": ("bundle-release", Making(changed_decision=named("release", purl=package("bash").purl))),
    "a decision on a release with another id": ("bundle-release", Making(changed_decision=named("release", id="0" * 64))),
    "a decision on other bytes": ("bundle-decision", Making(changed_decision=named("artifact", sha512="0" * 128))),
    "a decision under another policy": ("bundle-decision", Making(changed_decision=entry(policy=NamedPolicy(serial=7, digest="0" * 64)))),
    "a decision under another serial": ("bundle-decision", Making(changed_decision=named("policy", serial=8))),
    "a decision in another tier": ("bundle-decision", Making(changed_decision=entry(tier="isos"))),
    "a decision for another signing key": ("bundle-decision", Making(changed_decision=entry(signing_key="isos"))),
    "a refusal": ("bundle-decision", Making(changed_decision=entry(verdict="refuse"))),
    "a decision at a moment that no calendar has": ("bundle-decision", Making(changed_decision=entry(created="2026-02-30T00:00:00Z"))),
    "a decision without a time": ("bundle-decision", Making(changed_decision=entry(created=None))),
    "a vote at a moment that no calendar has": (
        "bundle-evidence",
        Making(changed_dossier=lambda made: msgspec.structs.replace(
            made, votes=(msgspec.structs.replace(made.votes[0], received_at="2026-02-30T00:00:00.000000Z"), made.votes[1])))),
    "a decision without evidence": ("bundle-decision", Making(changed_decision=entry(evidence=None))),
    "a decision on other evidence": ("bundle-evidence", Making(changed_decision=entry(evidence="0" * 64))),
    "a decision that a stranger sealed": ("bundle-decision", Making(sealed_by=seal("stranger"))),
    # signature entry
    "a signature entry that a stranger sealed": ("bundle-signed", Making(signed_sealed_by=seal("stranger"))),
    "a signature entry of another key": ("bundle-signed", Making(changed_signed=entry(key="F" * 40))),
    "a signature entry of another artifact": ("bundle-signed", Making(changed_signed=entry(sha256="0" * 64))),
    "a signature entry of another release": ("bundle-signed", Making(changed_signed=entry(release="0" * 64))),
    "a signature entry of another request": ("bundle-signed", Making(changed_signed=entry(request="11111111-2222-4333-8444-000000000000"))),
    "a signature entry that rests on another decision": ("bundle-signed", Making(changed_signed=entry(decision=1))),
    "a signature entry of another signature": ("bundle-signature", Making(changed_signed=entry(signature="0" * 64))),
    "a signature entry of another summary": ("bundle-summary", Making(changed_signed=entry(summary="0" * 64))),
    # OpenPGP signature
    "a signature of another second": ("bundle-signature", Making(signature_created=CREATED + timedelta(seconds=1))),
    "a signature by another key than decided": ("bundle-signature", Making(changed_decision=entry(key="F" * 40), changed_signed=entry(key="F" * 40))),
    "a signature that names another entry": (
        "bundle-signature", Making(changed_notations=lambda made: ((made[0][0], f"{ORIGIN}/log 1"),))),
    "a signature that names another log": (
        "bundle-signature", Making(changed_notations=lambda made: ((made[0][0], made[0][1].replace("/log", "/gol")),))),
    "a signature of another instance": (
        "bundle-signature", Making(changed_notations=lambda made: (("log-entry@attestor.example.com", made[0][1]),))),
    "a signature without its evidence": ("bundle-signature", Making(changed_notations=lambda _made: ())),
    "a signature that names its evidence twice": ("bundle-signature", Making(changed_notations=lambda made: made * 2)),
    # summary
    "a summary of another release": (
        "bundle-summary", Making(changed_summary=lambda _raw: Making(release=package("bash")).bundle().summary)),
    "a summary of another time": (
        "bundle-summary", Making(changed_summary=lambda _raw: Making(created=CREATED + timedelta(seconds=1)).bundle().summary)),
    "a summary that a stranger sealed": (
        "bundle-summary", Making(changed_summary=lambda _raw: Making(sealed_by=seal("stranger")).bundle().summary)),
    "a summary with a second signature": (
        "bundle-summary", Making(changed_summary=lambda raw: raw.replace(b'"signatures":[', b'"signatures":[{"keyid":"","sig":""},'))),
    "an attestation as summary": ("bundle-summary", Making(changed_summary=lambda _raw: vote(package(), CONTENT, "alice"))),
    "no summary": ("bundle-summary", Making(changed_summary=lambda _raw: b"{}")),
    # log
    "a log signed by another key of its name": ("bundle-checkpoint", Making(log=Log((b"first",), STRANGE))),
    "another log": (
        "bundle-checkpoint", Making(log=Log((b"first",), log_signer(ORIGIN, "other")))),
}  # fmt: skip


@pytest.mark.parametrize(("code", "made"), MADE.values(), ids=MADE.keys())
def test_made_anew_it_is_refused(code, made):
    assert refusal(anew(made.bundle()), policy=made.policy) == code


def refusal(bundle, **given):
    with pytest.raises(Rejected) as caught:
        checked(bundle, **given)
    assert caught.value.sentence.isprintable()
    return caught.value.code


def swapped(**parts):
    return lambda bundle: replace(bundle, **{name: make(bundle) for name, make in parts.items()})


def with_more_signatures(bundle):
    first, second = bundle.envelopes
    signature = parse_envelope(first).signatures[0].sig
    more = msgspec.json.decode(first)
    more["signatures"].append({"keyid": "unknown", "sig": msgspec.json.decode(msgspec.json.encode(signature[::-1]))})
    return msgspec.json.encode(more), second


CHANGED = {
    "an attestation left out": ("bundle-envelopes", swapped(envelopes=lambda made: made.envelopes[:1])),
    "an attestation more": (
        "bundle-envelopes", swapped(envelopes=lambda made: (*made.envelopes, vote(package(), OTHER, "bob")))),
    "an attestation for another": (
        "bundle-envelopes", swapped(envelopes=lambda made: (made.envelopes[0], vote(package(), OTHER, "bob")))),
    "an attestation with one more, unknown signature": ("bundle-envelopes", swapped(envelopes=with_more_signatures)),
    "a withdrawal that nobody weighed": (
        "bundle-withdrawals", swapped(withdrawals=lambda _made: (withdrawal(package(), bytes(32), "bob"),))),
    "another policy inside": ("bundle-policy", swapped(policy=lambda _made: policy_file(serial=8))),
    "another evidence": ("bundle-evidence", swapped(evidence=lambda made: made.evidence.replace(b"alice", b"carol"))),
    "another release inside": (
        "bundle-release", swapped(release=lambda made: msgspec.structs.replace(made.release, purl=package("bash").purl))),
    "another signature of the same bytes": (
        "bundle-signature", swapped(signature=lambda _made: sign("ed25519", CONTENT, CREATED, ()))),
    "another summary, well sealed": (
        "bundle-summary", swapped(summary=lambda _made: Making(release=package("bash")).bundle().summary)),
    "the decision in both places": ("bundle-signed", swapped(signed=lambda made: made.decision)),
    "the signature entry in both places": ("bundle-decision", swapped(decision=lambda made: made.signed)),
    "an entry that is not in the log": (
        "bundle-decision",
        swapped(decision=lambda made: LoggedEntry(seal_entry(Making(created=CREATED + timedelta(1)).decision(), seal()), made.decision.proof))),
    "the decision without its seal": (
        "bundle-decision",
        swapped(decision=lambda made: LoggedEntry(encode_entry(Making().decision()), made.decision.proof))),
    "the proof of another entry": (
        "bundle-decision", swapped(decision=lambda made: LoggedEntry(made.decision.entry, made.signed.proof))),
    "the same proof at another index": (
        "bundle-signed",
        swapped(signed=lambda made: LoggedEntry(made.signed.entry, made.signed.proof.replace(b"index 8", b"index 7")))),
    "a hash of the proof left out": (
        "bundle-signed",
        swapped(signed=lambda made: LoggedEntry(
            made.signed.entry, replace(parse_tlog_proof(made.signed.proof), hashes=()).encode()))),
    "an extra line, which nothing binds": (
        "bundle-decision",
        swapped(decision=lambda made: LoggedEntry(
            made.decision.entry, made.decision.proof.replace(b"\nindex", b"\nextra AAAA\nindex")))),
    "two checkpoints": (
        "bundle-checkpoint",
        swapped(decision=lambda made: LoggedEntry(
            made.decision.entry, made.decision.proof + made.decision.proof.rsplit(b"\n\n", 1)[1]))),
    "the log's line twice": (
        "bundle-checkpoint", lambda made: same_checkpoint(made, lambda note: note + note.rsplit(b"\n\n", 1)[1])),
    "a line of nobody whom the policy names": (
        "bundle-checkpoint",
        lambda made: same_checkpoint(made, lambda note: note + b"\xe2\x80\x94 nobody AAAAAAAA\n")),
    "a line of a witness of somebody else": (
        "bundle-checkpoint",
        lambda made: same_checkpoint(made, lambda note: note + Log((b"x",), witnesses=("w",)).checkpoint().splitlines(keepends=True)[-1])),
    "a checkpoint that the log did not sign": (
        "bundle-checkpoint",
        lambda made: same_checkpoint(made, lambda note: note.replace(note.splitlines()[-1], STRANGE.sign(note.decode().partition("\n\n")[0] + "\n").encode()))),
    "a root that is not signed": (
        "bundle-decision", lambda made: same_checkpoint(made, lambda note: note.replace(note.splitlines()[2], b"A" * 43 + b"="))),
}  # fmt: skip


@pytest.mark.parametrize(("code", "change"), CHANGED.values(), ids=CHANGED.keys())
def test_put_together_anew_it_is_refused(code, change):
    bundle = Making().bundle()
    assert checked(bundle)
    assert refusal(anew(change(bundle))) == code


WITNESSES = {
    "no witness": ("bundle-witnesses", cosigned_by(), lambda note: note),
    "a witness twice": ("bundle-checkpoint", cosigned_by("w", "w"), lambda note: note),
    "a witness whom the policy does not name": ("bundle-checkpoint", cosigned_by("w", "stranger"), lambda note: note),
    "a witness of another checkpoint": (
        "bundle-checkpoint",
        cosigned_by(),
        lambda note: note + Log((b"x",), witnesses=("w",)).checkpoint().splitlines(keepends=True)[-1],
    ),
    "a witness, and no log": (
        "bundle-checkpoint",
        cosigned_by("w"),
        lambda note: b"".join(
            line for line in note.splitlines(keepends=True) if b" attestor.example.org/log " not in line
        ),
    ),
}


@pytest.mark.parametrize(("code", "made", "change"), WITNESSES.values(), ids=WITNESSES.keys())
def test_witnesses_are_counted_by_the_policy(code, made, change):
    assert refusal(anew(same_checkpoint(made.bundle(), change)), policy=WITNESSED) == code


def test_the_witnesses_that_are_attacked_here_would_do():
    assert checked(anew(cosigned_by("w").bundle()), policy=WITNESSED)
    assert witness_signer("w").verifier.name != witness_signer("stranger").verifier.name


def test_a_decision_that_was_logged_after_the_signature_is_refused():
    making = Making()
    decision = making.decision()
    signature = making.signature(1)
    bundle = making.bundle()
    signed = making.signed(decision, 1, signature, bundle.summary)
    log, last, _ = appended(Log(()), seal_entry(signed, seal()))
    log, index, _ = appended(log, seal_entry(decision, seal()))
    late = replace(bundle, signature=signature, decision=log.logged(index), signed=log.logged(last))
    assert (last, index) == (0, 1)
    assert refusal(anew(late)) == "bundle-signed"


GIVEN = {
    "another file": ("bundle-file", {"content": OTHER}),
    "another policy": ("bundle-policy", {"policy": policy_file(serial=8)}),
    "another log key": ("bundle-log-key", {"log_key": STRANGE.verifier}),
    "another certificate": ("bundle-signature", {"key": "p256"}),
}


@pytest.mark.parametrize(("code", "given"), GIVEN.values(), ids=GIVEN.keys())
def test_given_something_else_it_is_refused(code, given):
    assert refusal(anew(Making().bundle()), **given) == code


MEMBERS = (
    "type", "version", "release", "artifact", "policy", "evidence", "envelopes", "withdrawals", "signature", "decision",
    "signed", "summary",
)  # fmt: skip
FORMS = {
    "a member more": lambda document: document | {"x": 1},
    "another type": lambda document: document | {"type": "bundle"},
    "another version": lambda document: document | {"version": 2},
    **{
        f"no {name}": lambda document, name=name: {key: value for key, value in document.items() if key != name}
        for name in MEMBERS
    },
    "a null": lambda document: document | {"summary": None},
    "base64 of the other alphabet": lambda document: document | {"signature": "_-" * 2},
    "base64 without padding": lambda document: document | {"signature": "QUI"},
    "base64 with stray bits": lambda document: document | {"signature": "QUJ="},
    "base64 with a line end": lambda document: document | {"signature": "QUJD\n"},
    "attestations in another order": lambda document: document | {"envelopes": document["envelopes"][::-1]},
    "an attestation twice": lambda document: document | {"envelopes": document["envelopes"][:1] * 2},
    "an upper-case digest": lambda document: document | {"artifact": document["artifact"] | {"sha256": "A" * 64}},
}


@pytest.mark.parametrize("change", FORMS.values(), ids=FORMS.keys())
def test_another_form_is_refused(change):
    document = msgspec.json.decode(encode_bundle(Making().bundle()))
    raw = msgspec.json.encode(change(document), order="sorted")
    assert read_bundle(msgspec.json.encode(document, order="sorted"))
    with pytest.raises(Rejected) as caught:
        read_bundle(raw)
    assert caught.value.code == "bundle-form"


@pytest.mark.parametrize(
    "spelled", [lambda raw: raw + b"\n", lambda raw: b" " + raw, lambda raw: raw.replace(b",", b", ")]
)
def test_another_spelling_is_refused(spelled):
    with pytest.raises(Rejected) as caught:
        read_bundle(spelled(encode_bundle(Making().bundle())))
    assert caught.value.code == "bundle-form"


def test_a_bundle_has_a_limit(monkeypatch):
    raw = encode_bundle(Making().bundle())
    monkeypatch.setattr("attestor.core.bundle.MAX_BUNDLE", len(raw) - 1)
    with pytest.raises(Rejected) as caught:
        read_bundle(raw)
    assert caught.value.code == "bundle-too-large"


def test_the_same_parts_make_the_same_document():
    bundle = Making().bundle()
    shuffled = replace(bundle, envelopes=(*bundle.envelopes[::-1], bundle.envelopes[0]))
    assert encode_bundle(shuffled) == encode_bundle(bundle)
