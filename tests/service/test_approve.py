"""Approvals over the real database: taken in once, counted once, taken back while they are not spent."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from attestor.core.approvaldocuments import MAX_MANIFEST, encode_manifest
from attestor.core.entries import moment_text
from attestor.core.errors import Conflict, Exhausted, Forbidden, Malformed, Missing, OverRate, Rejected
from attestor.core.limits import Rate
from attestor.service import approve
from attestor.store import pool
from attestor.store.approvals import MAX_STANDING
from tests.service.approvers import (
    PEOPLE,
    REASON,
    approving_policy,
    document,
    for_all,
    person,
    revocation,
    single,
)
from tests.service.makers import BUILDER, asking, package, payload_digest, vote, withdrawal

GOOD, OTHER = b"the package", b"another package"
PEER = "198.51.100.9"
RELEASE_RULES = {"approvals": "{ hours = 48, release = 2 }"}


@pytest.fixture
def policy():
    """Tier packages signs nothing without the approval of two people."""
    return approving_policy(rules=RELEASE_RULES)


@pytest_asyncio.fixture
async def gate(ground, policy):
    return await ground.gate(policy)


async def opened(gate, release=None, content=GOOD):
    release = release or package()
    await gate.admit(vote(release, content, "alice", "bob"))
    view, _ = await gate.ask(BUILDER, asking(release, content))
    return view


async def standing(gate, request):
    view = await gate.request(BUILDER, request.id)
    return view.state, view.reason


async def give(gate, name, document, *, reason=REASON, manifest=None):
    return await gate.approve(person(name).given(document, manifest), reason, PEER)


async def code_of(awaitable, error=Rejected):
    with pytest.raises(error) as raised:
        await awaitable
    assert raised.value.sentence.endswith(".")
    return raised.value.code


async def test_two_people_let_a_request_through_and_one_does_not(gate, policy):
    request = await opened(gate)
    assert await standing(gate, request) == ("waiting", "approval-needed")
    view, new = await give(gate, "dora", single(policy, "release", request.id, package(), GOOD))
    assert (new, view.state, view.approver, view.pairs, view.spent) == (True, "standing", "dora", 1, 0)
    assert await standing(gate, request) == ("waiting", "approval-needed")
    again, _ = await give(gate, "dora", single(policy, "release", request.id, package(), GOOD))
    assert again.digest != view.digest
    assert await standing(gate, request) == ("waiting", "approval-needed"), "the same person twice is one"
    await give(gate, "emil", single(policy, "release", request.id, package(), GOOD))
    assert await standing(gate, request) == ("queued", "queued")
    explained = await gate.explain(package().id)
    assert [event.what for event in explained.events].count("approved") == 3


@pytest.fixture
def patient(monkeypatch):
    """A crowd waits for one release's lock: on a slow machine for longer than who runs a service would."""
    for limit in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
        monkeypatch.setitem(pool._SETTINGS, limit, "120s")


async def test_the_same_approval_again_is_the_same_and_fifty_at_once_are_one(patient, gate, policy, ground):
    request = await opened(gate)
    document = single(policy, "release", request.id, package(), GOOD)
    answers = await asyncio.gather(*(give(gate, "dora", document) for _ in range(50)))
    assert sum(new for _, new in answers) == 1
    assert len({view for view, _ in answers}) == 1
    assert await ground.owner.fetchval("SELECT count(*) FROM approvals") == 1
    assert await standing(gate, request) == ("waiting", "approval-needed")


async def test_fifty_people_at_once_are_each_counted_once(patient, ground):
    crowd = [f"person-{number}" for number in range(50)]
    policy = approving_policy(rules={"approvals": "{ hours = 48, release = 8 }"}, approvers=crowd)
    gate = await ground.gate(policy)
    request = await opened(gate)
    documents = [(name, single(policy, "release", request.id, package(), GOOD)) for name in crowd]
    answers = await asyncio.gather(*(give(gate, name, document) for name, document in documents))
    assert all(new for _, new in answers)
    assert {view.approver for view, _ in answers} == set(crowd)
    assert await standing(gate, request) == ("queued", "queued")
    rows = await ground.sql("SELECT approver, count(*) AS n FROM approvals GROUP BY approver")
    assert {row["approver"]: row["n"] for row in rows} == dict.fromkeys(crowd, 1)


def later(hours):
    return moment_text(datetime.now(UTC) + timedelta(hours=hours))  # noqa: TID251 - PostgreSQL's clock is the system's


NEVER = {
    "for another instance": ({"origin": "other.example.org"}, "approval-origin"),
    "for another tier": ({"tier": "debs"}, "approval-not-foreseen"),
    "for a tier that nobody knows": ({"tier_name": "nobodys"}, "approval-elsewhere"),
    "under other rules": ({"rules": "00" * 32}, "approval-rules-changed"),
    "of an action that the tier does not know": ({"action": "quota"}, "approval-not-foreseen"),
    "of other bytes": ({"digest": "00" * 32}, "approval-of-other-bytes"),
    "whose window is over": ({"not_before": later(-30), "until": later(-1)}, "approval-out-of-window"),
    "whose window begins tomorrow": ({"not_before": later(24), "until": later(30)}, "approval-out-of-window"),
    "whose window is too long": ({"until": later(72)}, "approval-window-too-long"),
    "with another reason": ({"reason": "something else"}, "approval-reason"),
}


async def test_what_could_never_count_is_refused_and_leaves_nothing(gate, policy, ground):
    request = await opened(gate)
    said = {}
    for case, (changes, _) in NEVER.items():
        signed = dict(changes)
        name = signed.pop("tier_name", "packages")
        action = signed.pop("action", "release")
        approval = single(policy, action, request.id, package(), GOOD, **signed)
        approval = approval.replace(b'"tier":"packages"', f'"tier":"{name}"'.encode())
        said[case] = await code_of(give(gate, "dora", approval))
    assert said == {case: code for case, (_, code) in NEVER.items()}
    assert await ground.owner.fetchval("SELECT count(*) FROM approvals") == 0
    assert await standing(gate, request) == ("waiting", "approval-needed")


async def test_a_release_or_a_request_that_nobody_knows_is_not_approved_alone(gate, policy):
    request = await opened(gate)
    stranger = single(policy, "release", request.id, package("unheard"), GOOD)
    assert await code_of(give(gate, "dora", stranger), Missing) == "release-unknown"
    nobodys = single(policy, "release", "00000000-0000-4000-8000-000000000000", package(), GOOD)
    assert await code_of(give(gate, "dora", nobodys), Missing) == "request-unknown"
    other = await opened(gate, package("other"))
    crossed = single(policy, "release", other.id, package(), GOOD)
    assert await code_of(give(gate, "dora", crossed)) == "approval-of-other-bytes"
    await gate.withdraw(BUILDER, request.id)
    late = single(policy, "release", request.id, package(), GOOD)
    assert await code_of(give(gate, "dora", late), Conflict) == "request-settled"


async def test_nobody_approves_what_their_own_client_asked(ground):
    policy = approving_policy(rules=RELEASE_RULES, asks="dora")
    gate = await ground.gate(policy)
    request = await opened(gate)
    document = single(policy, "release", request.id, package(), GOOD)
    assert await code_of(give(gate, "dora", document)) == "approval-by-requester"
    whole, manifest = for_all(policy, "release", [(package(), GOOD)])
    await give(gate, "dora", whole, manifest=manifest)
    await give(gate, "emil", single(policy, "release", request.id, package(), GOOD))
    assert await standing(gate, request) == ("waiting", "approval-needed"), "nor by a manifest that names it"


async def test_keys_that_do_not_count_and_signatures_of_others_are_refused(ground):
    policy = approving_policy(rules=RELEASE_RULES, revoked_keys=("fred",))
    gate = await ground.gate(policy)
    request = await opened(gate)
    document = single(policy, "release", request.id, package(), GOOD)
    assert await code_of(give(gate, "fred", document), Forbidden) == "approver-key-revoked"
    assert await code_of(give(gate, "mallory", document), Forbidden) == "approver-unknown"
    forged = person("mallory").given(document)
    stolen = type(forged)(person("dora").key, document, forged.signature)
    assert await code_of(gate.approve(stolen, REASON, PEER)) == "approval-signature"
    changed = type(forged)(person("dora").key, document.replace(b"release", b"dispute"), person("dora").sign(document))
    assert await code_of(gate.approve(changed, REASON, PEER)) == "approval-signature"
    noise = b"attestor approval v1\n{}"
    assert await code_of(gate.approve(person("dora").given(noise), REASON, PEER), Malformed) == "approval-malformed"


async def test_a_manifest_lets_each_of_its_releases_through_and_no_other(gate, policy):
    known = [package(f"part-{number}") for number in range(60)]
    for release in known:
        await gate.admit(vote(release, GOOD, "alice", "bob"))
    asked = [(await gate.ask(BUILDER, asking(release, GOOD)))[0] for release in known[:-1]]
    outside = await opened(gate, package("outside"))
    unheard = package("unheard")
    for name in ("dora", "emil"):
        document, manifest = for_all(policy, "release", [*((release, GOOD) for release in known), (unheard, GOOD)])
        view, new = await give(gate, name, document, manifest=manifest)
        assert (new, view.pairs, view.release_id) == (True, 61, None)
        expected = {"dora": {("waiting", "approval-needed")}, "emil": {("queued", "queued")}}[name]
        assert {await standing(gate, one) for one in asked} == expected
    assert await standing(gate, outside) == ("waiting", "approval-needed")
    late = await opened(gate, unheard)
    assert await standing(gate, late) == ("queued", "queued"), "a release that came later"
    again, new = await give(gate, "emil", document, manifest=manifest)
    assert (again, new) == (view, False)
    shown = await gate.approval(view.digest)
    assert {(pair.release_id, pair.sha256) for pair in shown.pairs} == {
        (release.id, hashlib.sha256(GOOD).hexdigest()) for release in (*known, unheard)
    }


async def test_a_manifest_has_a_bound_and_is_taken_up_to_it(gate, policy):
    release_ids = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(MAX_MANIFEST + 1)]
    digest = hashlib.sha256(GOOD).hexdigest()
    manifest = encode_manifest((release_id, digest) for release_id in release_ids[:-1])
    whole = document(policy, "release", manifest=hashlib.sha256(manifest).hexdigest())
    view, new = await give(gate, "dora", whole, manifest=manifest)
    assert (new, view.pairs) == (True, MAX_MANIFEST)
    longer = manifest.replace(b"]]}", f'],["{max(release_ids)}x","{digest}"]]}}'.encode())
    longer = longer.replace(b'x"', b'"')
    too_long = document(policy, "release", manifest=hashlib.sha256(longer).hexdigest())
    assert await code_of(give(gate, "emil", too_long, manifest=longer), Malformed) == "manifest-malformed"


async def test_a_manifest_is_the_one_whose_digest_was_signed(gate, policy):
    document, _ = for_all(policy, "release", [(package(), GOOD)])
    _, longer = for_all(policy, "release", [(package(), GOOD), (package("more"), GOOD)])
    for brought in (None, longer):
        assert await code_of(give(gate, "dora", document, manifest=brought)) == "approval-manifest"
    request = await opened(gate)
    alone = single(policy, "release", request.id, package(), GOOD)
    assert await code_of(give(gate, "dora", alone, manifest=longer)) == "approval-manifest"
    view, _ = await give(gate, "dora", alone)
    assert (view.pairs, view.manifest) == (1, None)


async def test_an_approval_is_taken_back_by_its_approver_alone_and_its_request_waits_again(gate, policy, ground):
    request = await opened(gate)
    views = {}
    for name in ("dora", "emil"):
        views[name], _ = await give(gate, name, single(policy, "release", request.id, package(), GOOD))
    assert await standing(gate, request) == ("queued", "queued")
    digest = views["dora"].digest
    document = revocation(digest)
    other = gate.revoke_approval(digest, person("emil").given(document), PEER)
    assert await code_of(other, Forbidden) == "approval-of-other-approver"
    elsewhere = person("dora").given(revocation(digest, origin="other.example.org"))
    assert await code_of(gate.revoke_approval(digest, elsewhere, PEER)) == "approval-origin"
    crossed = gate.revoke_approval(views["emil"].digest, person("dora").given(document), PEER)
    assert await code_of(crossed) == "approval-differs"
    unknown = person("dora").given(revocation("00" * 32))
    assert await code_of(gate.revoke_approval("00" * 32, unknown, PEER), Missing) == "approval-unknown"
    forged = type(unknown)(person("dora").key, document, person("emil").sign(document))
    assert await code_of(gate.revoke_approval(digest, forged, PEER)) == "approval-signature"
    assert await standing(gate, request) == ("queued", "queued")

    for _ in range(2):
        view = await gate.revoke_approval(digest, person("dora").given(document), PEER)
        assert (view.state, view.spent) == ("revoked", 0)
    assert await standing(gate, request) == ("waiting", "approval-needed")
    await ground.settled()
    told = await ground.sql("SELECT convert_from(entry, 'UTF8')::jsonb AS e FROM log_entries WHERE kind = 'revocation'")
    assert [digest in row["e"] for row in told] == [True]
    await give(gate, "fred", single(policy, "release", request.id, package(), GOOD))
    assert await standing(gate, request) == ("queued", "queued")


async def test_a_spent_approval_is_not_taken_back(gate, policy, ground):
    request = await opened(gate)
    view, _ = await give(gate, "dora", single(policy, "release", request.id, package(), GOOD))
    await ground.sql("UPDATE approval_pairs SET spent_at = now()")
    given = person("dora").given(revocation(view.digest))
    assert await code_of(gate.revoke_approval(view.digest, given, PEER), Conflict) == "approval-spent"
    [shown] = (await gate.approvals(tier=None, approver=None, release=None, cursor=None, limit=9)).approvals
    assert (shown.state, shown.spent, shown.revoked_at) == ("spent", 1, None)


async def test_what_is_spent_lets_nothing_more_through_but_the_request_whose_decision_spent_it(gate, policy, ground):
    request = await opened(gate)
    for name in ("dora", "emil"):
        whole, manifest = for_all(policy, "release", [(package(), GOOD)])
        await give(gate, name, whole, manifest=manifest)
    await ground.sql("UPDATE approval_pairs SET spent_at = now()")
    await ground.sql("UPDATE signing_requests SET decided_at = now()")
    await gate.admit(vote(package(), GOOD, "carol"))
    assert await standing(gate, request) == ("queued", "queued")
    await ground.sql("UPDATE signing_requests SET state = 'refused'")
    again, _ = await gate.ask(BUILDER, asking(package(), GOOD))
    assert await standing(gate, again) == ("waiting", "approval-needed")


async def test_what_a_decision_spent_holds_for_its_request_also_when_its_window_is_over(gate, policy, ground):
    """The log has the decision, and signers sign by it: a device that was away overnight asks nobody to approve again."""
    request = await opened(gate)
    begun = datetime.now(UTC) - timedelta(hours=30)  # noqa: TID251 - PostgreSQL's clock is the system's
    for name in ("dora", "emil"):
        signed = single(policy, "release", request.id, package(), GOOD, now=begun)
        await ground.sql(
            """INSERT INTO approvals (document_sha256, approver, key, action, tier, document, signature, reason, until)
            VALUES (sha256($1), $2, $3, 'release', 'packages', $1, 's', 'r', now() - interval '6 hours')""",
            signed,
            name,
            person(name).key,
        )
    await ground.sql(
        """INSERT INTO approval_pairs SELECT document_sha256, release_id, q.sha256, now() - interval '20 hours'
        FROM approvals, signing_requests q"""
    )
    await ground.sql("UPDATE claims SET received_at = now() - interval '25 hours'")
    decided = "UPDATE signing_requests SET state = 'queued', reason = 'queued', decided_at = now() - interval '20 hours', decided_under = $1"
    await ground.sql(decided, policy.digest)
    await gate.admit(vote(package(), GOOD, "carol"))
    assert await standing(gate, request) == ("queued", "queued")
    await ground.sql("UPDATE signing_requests SET decided_under = 'another policy'")
    await gate.admit(withdrawal(package(), payload_digest(package(), GOOD), "carol"))
    assert await standing(gate, request) == ("waiting", "approval-needed")


async def test_the_list_is_filtered_and_comes_in_pages(gate, policy):
    request, other = await opened(gate), await opened(gate, package("other"))
    for name in PEOPLE:
        await give(gate, name, single(policy, "release", request.id, package(), GOOD))
    await give(gate, "dora", single(policy, "release", other.id, package("other"), GOOD))
    every = {"tier": None, "approver": None, "release": None, "cursor": None, "limit": 100}
    whole = (await gate.approvals(**every)).approvals
    assert [view.digest for view in whole] == sorted(view.digest for view in whole)
    first = await gate.approvals(**{**every, "limit": 3})
    rest = await gate.approvals(**{**every, "cursor": first.cursor})
    assert (first.approvals + rest.approvals, rest.cursor) == (whole, None)
    for name, value, count in (
        ("tier", "packages", 4),
        ("tier", "debs", 0),
        ("approver", "dora", 2),
        ("release", package().id, 3),
    ):
        found = (await gate.approvals(**{**every, name: value})).approvals
        assert len(found) == count, name
    assert {view.state for view in whole} == {"standing"}
    gate.load(approving_policy(rules={"approvals": "{ hours = 24, release = 2 }"}, serial=2))
    changed = (await gate.approvals(**every)).approvals
    assert {(view.state, view.why) for view in changed} == {("not-counting", "approval-rules-changed")}


async def test_what_waits_for_people_is_listed_with_all_that_they_must_see(gate, policy):
    request = await opened(gate)
    await opened(gate, package("other"))
    await give(gate, "dora", single(policy, "release", request.id, package(), GOOD))
    [one] = (await gate.awaiting_approval(request=request.id, cursor=None, limit=1)).wanted
    assert (one.action, one.reason, one.needed, one.approved_by) == ("release", "approval-needed", 2, ("dora",))
    assert (one.requester, one.release_id, one.artifact) == (
        "build-service",
        package().id,
        asking(package(), GOOD).artifact,
    )
    assert (one.terms.origin, one.terms.tier, one.terms.hours) == (policy.origin, "packages", 48)
    assert {link.operator for link in one.evidence} == {"alice", "bob"}
    for link in one.evidence:
        *_, operator, payload = link.envelope.split("/")
        assert await gate.envelope(package().id, payload, operator)
    first = await gate.awaiting_approval(request=None, cursor=None, limit=1)
    second = await gate.awaiting_approval(request=None, cursor=first.cursor, limit=1)
    assert {one.release_id for one in first.wanted + second.wanted} == {package().id, package("other").id}
    assert second.cursor is None
    await give(gate, "emil", single(policy, "release", request.id, package(), GOOD))
    assert (await gate.awaiting_approval(request=request.id, cursor=None, limit=1)).wanted == ()
    gate.load(approving_policy(rules={"approvals": "{ hours = 48, quota = 2 }"}, serial=2))
    assert (await gate.awaiting_approval(request=None, cursor=None, limit=9)).wanted == (), (
        "the tier asks nobody any more"
    )


async def test_a_dispute_is_for_people_only_where_n_operators_agree_in_spite_of_it(ground):
    policy = approving_policy(rules={"approvals": "{ hours = 48, dispute = 1 }"})
    gate = await ground.gate(policy)
    request = await opened(gate)
    lonely = package("lonely")
    await gate.admit(vote(lonely, GOOD, "alice"))
    few, _ = await gate.ask(BUILDER, asking(lonely, GOOD))
    for release in (package(), lonely):
        await gate.admit(vote(release, OTHER, "carol"))
    assert {await standing(gate, one) for one in (request, few)} == {("waiting", "disputed")}
    wanted = (await gate.awaiting_approval(request=None, cursor=None, limit=9)).wanted
    assert [(one.request, one.action) for one in wanted] == [(request.id, "dispute")]
    for one, release in ((request, package()), (few, lonely)):
        await give(gate, "dora", single(policy, "dispute", one.id, release, GOOD))
    assert await standing(gate, request) == ("queued", "queued")
    assert await standing(gate, few) == ("waiting", "disputed"), "no approval lowers n (P1)"


async def test_approvals_of_one_person_for_the_same_bytes_have_a_bound(gate, policy, ground):
    request = await opened(gate)
    for _ in range(MAX_STANDING):
        view, _ = await give(gate, "dora", single(policy, "release", request.id, package(), GOOD))
    one_more = single(policy, "release", request.id, package(), GOOD)
    assert await code_of(give(gate, "dora", one_more), Exhausted) == "too-many-approvals"
    whole, manifest = for_all(policy, "release", [(package(), GOOD), (package("more"), GOOD)])
    assert await code_of(give(gate, "dora", whole, manifest=manifest), Exhausted) == "too-many-approvals"
    assert await ground.owner.fetchval("SELECT count(*) FROM approvals") == MAX_STANDING
    await gate.revoke_approval(view.digest, person("dora").given(revocation(view.digest)), PEER)
    assert (await give(gate, "dora", one_more))[1]


async def test_refused_and_repeated_approvals_use_up_what_a_peer_may(ground, policy):
    gate = await ground.gate(policy, replays=Rate(per_minute=1, burst=2), ticks=lambda: 5 * 10**9)
    request = await opened(gate)
    document = single(policy, "release", request.id, package(), GOOD)
    assert (await give(gate, "dora", document))[1]
    assert not (await give(gate, "dora", document))[1]
    assert await code_of(give(gate, "mallory", document), Forbidden) == "approver-unknown"
    assert await code_of(give(gate, "emil", document), OverRate) == "peer-limit"
    gate = await ground.gate(policy, payloads=Rate(per_minute=1, burst=3), ticks=lambda: 5 * 10**9)
    for _ in range(3):
        await give(gate, "emil", single(policy, "release", request.id, package(), GOOD))
    one_more = single(policy, "release", request.id, package(), GOOD)
    assert await code_of(give(gate, "emil", one_more), OverRate) == "approver-limit"
    assert (await give(gate, "fred", single(policy, "release", request.id, package(), GOOD)))[1]


async def test_who_sends_a_manifest_again_pays_for_each_transaction_and_has_one_at_a_time(ground, policy, monkeypatch):
    """Anybody can: what was signed is public. Ten thousand releases are two hundred transactions each time."""
    monkeypatch.setattr(approve, "_TOGETHER", 1)
    gate = await ground.gate(policy, replays=Rate(per_minute=1, burst=4), ticks=lambda: 5 * 10**9)
    both = [package("one"), package("two")]
    for release in both:
        await opened(gate, release)
    document, manifest = for_all(policy, "release", [(release, GOOD) for release in both])
    view, new = await give(gate, "dora", document, manifest=manifest)
    assert new

    gate._approving._moving.add(bytes.fromhex(view.digest))
    gate.load(approving_policy(rules=RELEASE_RULES, serial=2))
    assert await give(gate, "dora", document, manifest=manifest) == (view, False), "while another's is under way"
    gate._approving._moving.clear()
    assert await give(gate, "dora", document, manifest=manifest) == (view, False), "two transactions, and nothing new"
    assert await code_of(give(gate, "dora", document, manifest=manifest), OverRate) == "peer-limit"
    assert gate._approving._moving == set()


async def test_tiers_say_what_is_left_of_each_quota(ground):
    policy = approving_policy()
    gate = await ground.gate(policy)
    page = await gate.tiers()
    assert (page.origin, page.policy_digest) == (policy.origin, policy.digest)
    by_name = {tier.name: tier for tier in page.tiers}
    assert by_name["debs"].quota is None
    assert by_name["debs"].approvals == {}
    packages = by_name["packages"]
    assert packages.approvals == {"downgrade": 2, "re-sign": 2, "dispute": 2, "quota": 2}
    year = datetime.now(UTC).year  # noqa: TID251 - as above
    assert (packages.quota.name, packages.quota.left, packages.quota.opens_at.year) == (str(year), 1, year + 1)
    await opened(gate)
    place = """INSERT INTO quota_places (tier, signing_key, period, release_id, sha256, spent)
        SELECT 'packages', 'packages', $1, release_id, sha256, $2 FROM signing_requests"""
    await ground.sql(place, str(year), False)
    [packages] = [tier for tier in (await gate.tiers()).tiers if tier.name == "packages"]
    assert (packages.quota.used, packages.quota.reserved, packages.quota.left) == (0, 1, 0)
    await ground.sql("UPDATE quota_places SET spent = true")
    [packages] = [tier for tier in (await gate.tiers()).tiers if tier.name == "packages"]
    assert (packages.quota.used, packages.quota.reserved, packages.quota.left) == (1, 0, 0)


async def test_two_people_do_not_share_one_document(gate, policy):
    request = await opened(gate)
    shared = single(policy, "release", request.id, package(), GOOD)
    await give(gate, "dora", shared)
    assert await code_of(give(gate, "emil", shared), Conflict) == "approval-taken"
    assert await standing(gate, request) == ("waiting", "approval-needed")
    await give(gate, "emil", single(policy, "release", request.id, package(), GOOD))
    assert await standing(gate, request) == ("queued", "queued")
