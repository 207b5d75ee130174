"""What people approved is counted again offline: every approval that a decision names, by whom, of these bytes, at its time."""

import hashlib
from dataclasses import replace

import msgspec
import pytest

from attestor.core.bundle import encode_bundle, read_bundle
from attestor.core.bundlecheck import check_bundle
from attestor.core.dossier import SpentApprovalBytes
from attestor.core.entries import SpentApproval
from attestor.core.errors import Rejected
from attestor.core.tlog.grammar import write_base64
from tests.approvers import approval, approver_table, given, key_table, manifest_of
from tests.bundles import CONTENT, CREATED, ORIGIN, Making, checked, flips, measured, parsed, policy_file, reader
from tests.logkeys import log_signer
from tests.service.makers import package, vote

OTHER = b"Other bytes."
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PAIR = (package().id, SHA256)
PEOPLE = ("anna", "bert", "cleo")
DISPUTE = "approvals = { hours = 24, dispute = 2 }"
RELEASE = "approvals = { hours = 24, release = 1 }"
ALL = "approvals = { hours = 24, release = 1, dispute = 2, re_sign = 1 }"
QUOTA = 'quota = { limit = 1, period = "month" }\napprovals = { hours = 24, quota = 1 }'
DOWNGRADE = 'version_order = "alpm"\napprovals = { hours = 24, downgrade = 1 }'


def policy(rules, **changes):
    return policy_file(**({"operators": ("alice", "bob", "carol"), "rules": rules, "approvers": PEOPLE} | changes))


def ballots(*votes):
    return tuple((operator, vote(package(), content, operator)) for operator, content in votes)


AGREED = ballots(("alice", CONTENT), ("bob", CONTENT))
DISPUTED = (*AGREED, *ballots(("carol", OTHER)))


def approved(rules, *approvals, votes=AGREED, policy_of=None, **changes):
    """*approvals* are (approver, action), and what is otherwise than it should be in the document or the signature."""
    raw = policy_of or policy(rules)
    return Making(
        policy=raw,
        envelopes=votes,
        approvals=tuple(made(raw, *each) for each in approvals),
        **changes,
    )


def made(raw, approver, action, said=None, by=None):
    said, by = said or {}, by or {}
    document = approval(action, package(), SHA256, parsed(raw), **({"nonce": said_nonce(approver, action)} | said))
    return given(approver, document, **({"manifest": said["manifest"]} if "manifest" in said else {}), **by)


def said_nonce(*words):
    return hashlib.sha256(repr(words).encode()).hexdigest()[:32]


def entry(**changes):
    return lambda decided: msgspec.structs.replace(decided, **changes)


def dispute_by(*people, **changes):
    return approved(DISPUTE, *((name, "dispute") for name in people), votes=DISPUTED, **changes)


def anew(bundle):
    return read_bundle(encode_bundle(bundle))


MANIFEST = manifest_of(PAIR, ("0" * 64, "1" * 64))
GOOD = {
    "a dispute, by two": (dispute_by("anna", "bert"), "dispute by anna, bert"),
    "a release, by one": (approved(RELEASE, ("cleo", "release")), "release by cleo"),
    "a release and a dispute": (
        approved(ALL, ("anna", "dispute"), ("bert", "dispute"), ("anna", "release"), votes=DISPUTED),
        "dispute by anna, bert; release by anna",
    ),
    "other bytes than those signed before, which the log alone shows": (
        approved(ALL, ("anna", "re-sign"), ("anna", "release")), "re-sign by anna"),
    "a place beyond the quota": (approved(QUOTA, ("bert", "quota"), period="2026-03"), "quota by bert"),
    "a downgrade": (approved(DOWNGRADE, ("bert", "downgrade")), "downgrade by bert"),
    "by a manifest": (approved(RELEASE, ("anna", "release", {"manifest": MANIFEST})), "release by anna"),
    "two by one manifest": (
        approved(DISPUTE, ("anna", "dispute", {"manifest": MANIFEST}), ("bert", "dispute", {"manifest": MANIFEST}),
                 votes=DISPUTED), "dispute by anna, bert"),
    "in the first second of the window": (
        approved(RELEASE, ("anna", "release", {"not_before": "2026-03-01T12:00:00Z", "until": "2026-03-01T12:00:01Z"})),
        "release by anna"),
    "by a second key": (
        approved(RELEASE, ("spare", "release"),
                 policy_of=policy(RELEASE, approvers=(approver_table("anna", key_table("anna"), key_table("anna", "spare")),))),
        "release by anna"),
}  # fmt: skip


@pytest.mark.parametrize(("making", "said"), GOOD.values(), ids=GOOD.keys())
def test_what_enough_people_approved_holds_and_is_said(making, said):
    checks = checked(anew(making.bundle()), policy=making.policy)
    sentences = {check.name: check.sentence for check in checks}
    assert len(checks) == 12
    assert said in sentences["approvals"]
    assert "build, who asked" in sentences["approvals"]


@pytest.mark.parametrize("period", ["2026-03", "2026-04"])
def test_a_decision_counts_in_its_period_or_in_a_later_one_that_others_opened(period):
    making = approved(QUOTA, period=period)
    assert len(checked(anew(making.bundle()), policy=making.policy)) == 11


def refusal(making, change=lambda bundle: bundle, **given_):
    bundle = change(making.bundle())
    with pytest.raises(Rejected) as caught:
        checked(anew(bundle), policy=making.policy, **given_)
    assert caught.value.sentence.isprintable()
    return caught.value.code


def otherwise(of=RELEASE, action="release", who="anna", **said):
    return approved(of, (who, action, said))


def evidence_with(**changes):
    """One approval in the evidence otherwise; what it is of stays named."""
    return lambda document: msgspec.structs.replace(
        document, approvals=tuple(msgspec.structs.replace(each, **changes) for each in document.approvals)
    )


def in_evidence(*approvals):
    kept = sorted(approvals, key=lambda each: each.digest)
    parts = tuple(
        SpentApprovalBytes(key=each.key, document=write_base64(each.document), signature=write_base64(each.signature))
        for each in kept
    )
    return lambda document: msgspec.structs.replace(document, approvals=parts)


ELSEWHERE = f'[requesters.elsewhere]\nclients = ["{"cd" * 32}"]\nperson = "somebody"\n'
TWO = dispute_by("anna", "bert")
ONE = approved(RELEASE, ("anna", "release"))
MADE = {
    # how many, and who
    "one of two": ("bundle-approvals", dispute_by("anna")),
    "three where two are asked": ("bundle-approvals", dispute_by("anna", "bert", "cleo")),
    "two by one person": (
        "bundle-approvals",
        approved(DISPUTE, ("anna", "dispute"), ("anna", "dispute", {"nonce": "1" * 32}), votes=DISPUTED)),
    "one is of the person who answers for who asked": (
        "bundle-approvals",
        approved(DISPUTE, ("anna", "dispute"), ("bert", "dispute"), votes=DISPUTED, policy_of=policy(DISPUTE, person="anna"))),
    "who asked is not named": ("bundle-approvals", replace(TWO, changed_decision=entry(requester=None))),
    "who asked is none of the tier's": ("bundle-approvals", replace(TWO, changed_decision=entry(requester="somebody"))),
    "who asked is a requester of others": (
        "bundle-approvals",
        approved(RELEASE, ("anna", "release"), policy_of=policy(RELEASE, approvers=(*PEOPLE, ELSEWHERE)), changed_decision=entry(requester="elsewhere"))),
    "who asked is named where nothing was approved": (
        "bundle-approvals", Making(changed_decision=entry(requester="build"))),
    "an approver whom the policy does not list": ("bundle-approvals", otherwise(who="dora")),
    "another approver is named than whose key it is": (
        "bundle-approvals",
        replace(ONE, changed_decision=entry(approvals=(SpentApproval(action="release", approver="bert", document=ONE.spent()[0].document),)))),
    "the approver's key is revoked": (
        "bundle-approvals",
        approved(RELEASE, ("anna", "release"),
                 policy_of=policy(RELEASE, approvers=(approver_table("anna", key_table("anna") + "revoked = 2025-02-01T00:00:00Z\n"),)))),
    "the approver's key had expired": (
        "bundle-approvals",
        approved(RELEASE, ("anna", "release"), policy_of=policy(RELEASE, approvers=(approver_table("anna", key_table("anna", until="2026-02-01T00:00:00Z")),)))),
    # what was signed
    "signed with another key": ("bundle-approvals", approved(RELEASE, ("anna", "release", {}, {"signed_by": "bert"}))),
    "signed for something else": ("bundle-approvals", approved(RELEASE, ("anna", "release", {}, {"namespace": "git"}))),
    "of another instance": ("bundle-approvals", otherwise(origin="attestor.example.com")),
    "of another action": (
        "bundle-approvals",
        replace(otherwise(ALL, "re-sign"), changed_decision=lambda decided: msgspec.structs.replace(
            decided, approvals=(msgspec.structs.replace(decided.approvals[0], action="release"),)))),
    "of another tier": ("bundle-approvals", otherwise(tier="isos")),
    "of rules that have changed": ("bundle-approvals", otherwise(rules="0" * 64)),
    "of another request": ("bundle-approvals", otherwise(request="11111111-2222-4333-8444-000000000000")),
    "of another release": ("bundle-approvals", otherwise(release=package("bash").id)),
    "of other bytes": ("bundle-approvals", otherwise(digest=hashlib.sha256(OTHER).hexdigest())),
    "before its window": ("bundle-approvals", otherwise(not_before="2026-03-01T12:00:01Z")),
    "after its window": ("bundle-approvals", otherwise(until="2026-03-01T12:00:00Z")),
    "for longer than the tier lets it": ("bundle-approvals", otherwise(until="2026-03-02T00:00:01Z")),
    "a manifest that leaves these bytes out": (
        "bundle-approvals", otherwise(manifest=manifest_of((package().id, "1" * 64)))),
    # what the decision and the evidence name
    "the evidence holds none": ("bundle-approvals", replace(ONE, changed_dossier=in_evidence())),
    "the evidence holds one of two": ("bundle-approvals", replace(TWO, changed_dossier=in_evidence(TWO.approvals[0]))),
    "the evidence holds one more": (
        "bundle-approvals", replace(TWO, changed_dossier=in_evidence(*TWO.approvals, dispute_by("cleo").approvals[0]))),
    "the evidence holds one, and the decision names none": (
        "bundle-approvals", replace(ONE, changed_decision=entry(approvals=(), requester=None))),
    "the decision names them in another order": (
        "bundle-approvals", replace(TWO, changed_decision=lambda decided: msgspec.structs.replace(decided, approvals=decided.approvals[::-1]))),
    "the decision names one twice": (
        "bundle-approvals",
        replace(ONE, changed_decision=lambda decided: msgspec.structs.replace(decided, approvals=decided.approvals * 2),
                changed_dossier=in_evidence(*ONE.approvals, *ONE.approvals))),
    "the evidence holds it in another order": (
        "bundle-approvals", replace(TWO, changed_dossier=lambda document: msgspec.structs.replace(document, approvals=document.approvals[::-1]))),
    "the evidence holds what is no approval": (
        "bundle-evidence", replace(ONE, changed_dossier=evidence_with(document=write_base64(b"attestor approval v1\n{}")))),
    "the evidence holds what is no base64": ("bundle-evidence", replace(ONE, changed_dossier=evidence_with(document="QUJ="))),
    # what had to be approved
    "a release of a tier where each needs approval": ("bundle-approvals", approved(RELEASE)),
    "a release where none needs approval": ("bundle-approvals", otherwise(DISPUTE)),
    "a dispute that nobody overruled": ("bundle-votes", approved(DISPUTE, votes=DISPUTED)),
    "a dispute where nobody objects": ("bundle-votes", approved(DISPUTE, ("anna", "dispute"), ("bert", "dispute"))),
    "a dispute, and too few agree": (
        "bundle-votes",
        approved(DISPUTE, ("anna", "dispute"), ("bert", "dispute"), votes=ballots(("alice", CONTENT), ("bob", OTHER), ("carol", b"Third.")))),
    "a dispute, and others agree": (
        "bundle-votes",
        approved(DISPUTE, ("anna", "dispute"), ("bert", "dispute"), votes=ballots(("alice", CONTENT), ("bob", OTHER), ("carol", OTHER)))),
    "a dispute in a tier that knows no such exception": (
        "bundle-approvals", approved(RELEASE, ("anna", "dispute"), ("bert", "release"), votes=DISPUTED)),
    "a place beyond a quota that there is not": ("bundle-approvals", approved("approvals = { hours = 24, quota = 1 }", ("anna", "quota"))),
    "a downgrade where versions have no order": (
        "bundle-approvals", approved("approvals = { hours = 24, downgrade = 1 }", ("anna", "downgrade"))),
    # the quota's period
    "no period where there is a quota": ("bundle-decision", approved(QUOTA)),
    "a period where there is no quota": ("bundle-decision", approved(RELEASE, ("anna", "release"), period="2026-03")),
    "a period that was over": ("bundle-decision", approved(QUOTA, period="2026-02")),
    "a period of another length": ("bundle-decision", approved(QUOTA, period="2026")),
    "a later period of another length": ("bundle-decision", approved(QUOTA, period="2026-03-05")),
}  # fmt: skip


@pytest.mark.parametrize(("code", "making"), MADE.values(), ids=MADE.keys())
def test_what_was_not_approved_as_the_tier_asks_is_refused(code, making):
    assert refusal(making) == code


BY_MANIFEST = GOOD["by a manifest"][0]
CHANGED = {
    "its manifest is left out": (BY_MANIFEST, lambda bundle: replace(bundle, manifests=())),
    "another manifest": (BY_MANIFEST, lambda bundle: replace(bundle, manifests=(manifest_of(PAIR),))),
    "a manifest more": (BY_MANIFEST, lambda bundle: replace(bundle, manifests=(*bundle.manifests, manifest_of(PAIR)))),
    "a manifest that nothing names": (ONE, lambda bundle: replace(bundle, manifests=(MANIFEST,))),
}


@pytest.mark.parametrize(("making", "change"), CHANGED.values(), ids=CHANGED.keys())
def test_manifests_are_exactly_those_that_the_approvals_name(making, change):
    assert checked(anew(making.bundle()), policy=making.policy)
    assert refusal(making, change) == "bundle-manifests"


def test_a_manifest_has_one_place_and_one_spelling():
    document = msgspec.json.decode(encode_bundle(BY_MANIFEST.bundle()))
    assert "manifests" not in msgspec.json.decode(encode_bundle(ONE.bundle()))
    for wrong in ([], document["manifests"] * 2, ["QUJ="], None):
        with pytest.raises(Rejected) as caught:
            read_bundle(msgspec.json.encode(document | {"manifests": wrong}, order="sorted"))
        assert caught.value.code == "bundle-form"


def test_a_key_is_asked_about_as_of_the_decision():
    asked = []
    checks = check_bundle(
        anew(TWO.bundle()),
        file=measured(CONTENT),
        policy=TWO.parsed,
        log_key=log_signer(ORIGIN).verifier,
        openpgp=reader(CONTENT),
        approvals=lambda key, _signature, _signed, at: asked.append((key.approver, at)),
    )
    assert len(checks) == 12
    assert sorted(asked) == [("anna", CREATED), ("bert", CREATED)]


STEP = 41
"""Every so many bytes, all bits of one: tests/core/bundlebits.py takes every byte of a bundle without approvals."""


def test_a_changed_bit_of_a_bundle_with_approvals_and_a_manifest_is_refused():
    making = GOOD["two by one manifest"][0]
    raw = encode_bundle(making.bundle())
    evidence, manifests = raw.index(b'"evidence":'), raw.index(b'"manifests":')
    assert checked(read_bundle(raw), policy=making.policy)
    codes = {}
    for start in range(0, len(raw), STEP):
        for at, changed in flips(raw, start, start + 1):
            codes.setdefault(code_of(making, changed), set()).add(at)
    assert None not in codes
    assert len({at for places in codes.values() for at in places}) == -(-len(raw) // STEP) > 200
    assert all(manifests < at < raw.index(b'"policy":') for at in codes["bundle-manifests"])
    assert all(evidence < at < manifests for at in codes["bundle-evidence"])


def code_of(making, changed):
    try:
        checked(read_bundle(changed), policy=making.policy)
    except Rejected as error:
        return error.code
    return None
