"""P7: what a tier's rules hold back is signed only when enough people let exactly that through, once, and never for fewer votes."""

import asyncio
import hashlib
import subprocess

import pytest

from attestor.client.approving import gpg_fingerprint, sign_with_gpg, sign_with_ssh, ssh_fingerprint
from attestor.core.approvals import Given
from attestor.core.errors import Conflict, Rejected
from attestor.service import sign
from tests.gnupg import gnupg_home
from tests.service.approvers import (
    PEOPLE,
    REASON,
    approver_table,
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
FIRST, SECOND, THIRD = package("first"), package("second"), package("third")


class Rules:
    """A scene under a policy with a quota of one a year, and approvers."""

    def __init__(self, scene, policy):
        self.scene = scene
        self.policy = policy
        self.gate = scene.gate

    async def begin(self):
        self.gate.load(self.policy)
        await self.scene.loads(self.policy)

    async def asked(self, release, content=GOOD, voters=("alice", "bob")):
        self.scene.place(release, content)
        if voters:
            await self.gate.admit(vote(release, content, *voters))
        return (await self.gate.ask(BUILDER, asking(release, content)))[0]

    async def signed(self, request):
        await self.scene.sign()
        await self.scene.caught_up()
        return (await self.gate.request(BUILDER, request.id)).state == "signed"

    async def standing(self, request):
        view = await self.gate.request(BUILDER, request.id)
        return view.state, view.reason

    async def quota_used(self):
        """One release has taken the whole quota; another waits."""
        assert await self.signed(await self.asked(FIRST))
        request = await self.asked(SECOND)
        assert not await self.signed(request)
        assert await self.standing(request) == ("waiting", "quota-used")
        return request

    async def give(self, name, signed, manifest=None):
        return await self.gate.approve(person(name).given(signed, manifest), REASON, PEER)

    async def approve(self, action, request, release, content=GOOD, people=("dora", "emil")):
        return [await self.give(name, single(self.policy, action, request.id, release, content)) for name in people]

    async def work(self, times=3):
        for _ in range(times):
            await self.scene.sign()
        await self.scene.caught_up()

    async def spent(self):
        rows = await self.scene.ground.sql(
            "SELECT convert_from(entry, 'UTF8')::jsonb -> 'approvals' AS a FROM log_entries WHERE kind = 'decision' ORDER BY idx"
        )
        return [row["a"] for row in rows]


@pytest.fixture
async def rules(scene):
    made = Rules(scene, approving_policy(serial=2))
    await made.begin()
    return made


# --- The whole chain ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_keys(tool, tmp_path_factory):
    """Two people's own programs: a GNUPGHOME, and a key file of ssh-keygen."""
    gpg = [tool("gpg"), "--batch", "--quiet"]
    make = ("--passphrase", "", "--quick-generate-key", "Anna <anna@example.org>", "ed25519", "sign", "never")
    key_file = tmp_path_factory.mktemp("ssh") / "key"
    with gnupg_home(tool) as home:
        subprocess.run([*gpg, "--homedir", home, *make], check=True, capture_output=True, timeout=60)
        armored = subprocess.run(
            [*gpg, "--homedir", home, "--armor", "--export"], check=True, capture_output=True, timeout=60
        )
        subprocess.run([tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", key_file], check=True, timeout=60)
        yield home, armored.stdout.decode(), key_file


@pytest.mark.required_in_ci
async def test_a_used_quota_is_opened_by_two_people_one_with_gpg_and_one_with_ssh(scene, own_keys, monkeypatch):
    home, certificate, key_file = own_keys
    monkeypatch.setenv("GNUPGHOME", str(home))
    anna, ssh = gpg_fingerprint("anna@example.org"), ssh_fingerprint(key_file)
    public = key_file.with_suffix(".pub").read_text("utf-8").strip()
    tables = [approver_table("anna", anna, form="openpgp", text=certificate), approver_table("ben", ssh, text=public)]
    rules = Rules(scene, approving_policy(serial=2, tables=tables))
    await rules.begin()
    request = await rules.quota_used()
    [wanted] = (await rules.gate.awaiting_approval(request=None, cursor=None, limit=9)).wanted
    assert (wanted.request, wanted.action, wanted.needed, wanted.approved_by) == (request.id, "quota", 2, ())

    signed = single(rules.policy, "quota", request.id, SECOND, GOOD)
    await rules.gate.approve(Given(anna, signed, await asyncio.to_thread(sign_with_gpg, signed, anna)), REASON, PEER)
    assert await rules.standing(request) == ("waiting", "quota-used")
    assert not await rules.signed(request)
    signed = single(rules.policy, "quota", request.id, SECOND, GOOD)
    given = Given(ssh, signed, await asyncio.to_thread(sign_with_ssh, signed, key_file))
    await rules.gate.approve(given, REASON, PEER)
    assert await rules.signed(request)
    _, signature = await rules.gate.signature(BUILDER, request.id)
    assert signature
    listed = (await rules.gate.approvals(tier=None, approver=None, release=None, cursor=None, limit=9)).approvals
    assert {(view.approver, view.state) for view in listed} == {("anna", "spent"), ("ben", "spent")}


async def test_a_second_digest_and_a_dispute_are_each_let_through_by_their_own_action(scene):
    rules = Rules(scene, approving_policy(serial=2, rules={"approvals": "{ hours = 48, re_sign = 2, dispute = 2 }"}))
    await rules.begin()
    await rules.signed(await rules.asked(FIRST))
    request = await rules.asked(FIRST, OTHER, ())
    assert await rules.standing(request) == ("waiting", "other-digest-signed")
    for name, voters in (("alice", ("alice",)), ("bob", ("bob",))):
        await rules.gate.admit(withdrawal(FIRST, payload_digest(FIRST, GOOD), name))
        await rules.gate.admit(vote(FIRST, OTHER, *voters))
    await rules.approve("dispute", request, FIRST, OTHER)
    assert await rules.standing(request) == ("waiting", "other-digest-signed")
    await rules.approve("re-sign", request, FIRST, OTHER)
    assert await rules.signed(request)
    disputed = await rules.asked(SECOND)
    await rules.gate.admit(vote(SECOND, OTHER, "carol"))
    await rules.approve("re-sign", disputed, SECOND)
    await rules.work()
    assert await rules.standing(disputed) == ("waiting", "disputed")
    await rules.approve("dispute", disputed, SECOND)
    assert await rules.signed(disputed)


# --- What never counts -------------------------------------------------------------------------------------------------


async def test_one_person_fewer_than_needed_never_suffices_whatever_the_database_says(rules):
    request = await rules.quota_used()
    for _ in range(3):
        await rules.approve("quota", request, SECOND, people=["dora"])
    await rules.work()
    assert await rules.standing(request) == ("waiting", "quota-used")
    # A lying database: the same approval under another person's name, and the request put into the queue.
    await rules.scene.ground.sql(
        """INSERT INTO approvals (document_sha256, approver, key, action, tier, document, signature, reason, until)
        SELECT sha256(document || ' '), 'emil', $1, action, tier, document || ' ', signature, reason, until FROM approvals LIMIT 1""",
        person("emil").key,
    )
    await rules.scene.ground.sql(
        "INSERT INTO approval_pairs SELECT document_sha256, release_id, q.sha256 FROM approvals, signing_requests q "
        "WHERE approver = 'emil' AND q.state = 'waiting'"
    )
    await rules.scene.ground.sql(
        "UPDATE signing_requests SET state = 'queued', not_before = now() WHERE state = 'waiting'"
    )
    await rules.work()
    assert await rules.standing(request) == ("waiting", "quota-used")
    assert await rules.scene.signatures() == 1


def forged(rules, request, release, changes):
    """What an attacker with the database in hand could put there: signed by an approver, and not what it takes."""
    whole = {"request": request.id, "release": release.id, "digest": hashlib.sha256(GOOD).hexdigest()}
    return document(rules.policy, **({"action": "quota"} | whole | changes))


ELSEWHERE = {
    "of another action": {"action": "downgrade"},
    "of other bytes": {"digest": hashlib.sha256(OTHER).hexdigest()},
    "of another release": {"release": THIRD.id},
    "of another request": {"request": "00000000-0000-4000-8000-000000000000"},
    "of another instance": {"origin": "other.example.org"},
    "of another tier": {"tier": "debs"},
    "under other rules": {"rules": "00" * 32},
    "whose window is over": {"not_before": "2026-01-01T00:00:00Z", "until": "2026-01-01T12:00:00Z"},
    "whose window has not begun": {"not_before": "2035-01-01T00:00:00Z", "until": "2035-01-01T12:00:00Z"},
    "whose window is too long": {"until": "2035-01-01T12:00:00Z"},
}
_INSERT = """INSERT INTO approvals (document_sha256, approver, key, action, tier, document, signature, reason, until)
    VALUES (sha256($1), $2, $3, 'quota', 'packages', $1, $4, 'r', now() + interval '1 day')"""


async def test_a_signer_counts_no_approval_that_was_signed_for_anything_else(rules):
    """Rows that say otherwise are put past the API, of three people each: the signer reads what was signed."""
    request = await rules.quota_used()
    for changes in ELSEWHERE.values():
        for name in PEOPLE:
            signed = forged(rules, request, SECOND, changes)
            await rules.scene.ground.sql(_INSERT, signed, name, person(name).key, person(name).sign(signed))
    await pair_all(rules, request)
    await rules.work()
    assert await rules.standing(request) == ("waiting", "quota-used")
    assert (await rules.spent())[1:] == [], "or the decision names what it counted"
    assert await rules.scene.signatures() == 1


async def test_the_same_rows_with_nothing_changed_are_counted(rules):
    """So that the table above says something."""
    request = await rules.quota_used()
    for name in PEOPLE:
        signed = forged(rules, request, SECOND, {})
        await rules.scene.ground.sql(_INSERT, signed, name, person(name).key, person(name).sign(signed))
    await pair_all(rules, request)
    await rules.work()
    assert (await rules.standing(request))[0] == "signed"


async def pair_all(rules, request):
    """Each approval's row is for the request that waits, which is queued."""
    await rules.scene.ground.sql(
        "INSERT INTO approval_pairs SELECT document_sha256, $1, $2 FROM approvals",
        bytes.fromhex(request.release_id),
        hashlib.sha256(GOOD).digest(),
    )
    await rules.scene.ground.sql(
        "UPDATE signing_requests SET state = 'queued', not_before = now() WHERE state = 'waiting'"
    )


KEYS = {
    "of an approver whose key the new policy revokes": {"revoked_keys": ("emil",)},
    "of somebody who is no approver any more": {"approvers": ("dora", "fred")},
    "of the person who answers for the requester": {"asks": "emil"},
    "given under rules that changed": {
        "rules": {"quota": '{ limit = 1, period = "year" }', "approvals": "{ hours = 47, quota = 2 }"}
    },
    "given before an operator was suspended": {"suspended": ("carol",)},
}


@pytest.mark.parametrize("changes", KEYS.values(), ids=KEYS)
async def test_under_a_newer_policy_a_signer_counts_no_approval(rules, changes):
    request = await rules.quota_used()
    await rules.approve("quota", request, SECOND)
    later = approving_policy(serial=3, **changes)
    rules.gate.load(later)
    await rules.scene.loads(later)
    await rules.gate.reevaluate(50)
    await rules.work()
    assert await rules.standing(request) == ("waiting", "quota-used")
    assert await rules.scene.signatures() == 1


@pytest.mark.parametrize("action", ["quota", "dispute"])
async def test_no_approval_lowers_n(rules, action):
    release = package("lonely")
    request = await rules.asked(release, voters=("alice",))
    for each in {action, "re-sign", "downgrade", "quota", "dispute"}:
        await rules.approve(each, request, release, people=PEOPLE)
    await rules.scene.ground.sql("UPDATE signing_requests SET state = 'queued', not_before = now()")
    await rules.work()
    assert await rules.standing(request) == ("waiting", "not-reached")
    assert await rules.scene.signatures() == 0


# --- Once, and revocable until then ------------------------------------------------------------------------------------


async def test_an_approval_is_spent_once_and_the_next_request_of_the_same_bytes_needs_new_ones(rules, monkeypatch):
    """The first request comes to a decision and to no signature; the database forgets what that decision spent."""
    request = await rules.quota_used()
    for name in ("dora", "emil"):
        await rules.give(name, *for_all(rules.policy, "quota", [(SECOND, GOOD)]))

    async def refused(*_):
        raise Rejected("device-refused", "The device refuses for good.")

    with monkeypatch.context() as patched:
        patched.setattr(sign, "_with_pen", refused)
        assert not await rules.signed(request)
    assert await rules.standing(request) == ("aside", "device-refused")
    assert (await rules.spent())[-1].count('"action": "quota"') == 2
    await rules.scene.ground.sql("UPDATE signing_requests SET state = 'refused' WHERE state = 'aside'")
    await rules.scene.ground.sql("UPDATE approval_pairs SET spent_at = NULL")
    again = await rules.asked(SECOND)
    assert again.id != request.id
    await rules.work()
    assert await rules.standing(again) == ("waiting", "quota-used")
    await rules.approve("quota", again, SECOND)
    assert await rules.signed(again)


async def test_a_request_that_is_put_back_keeps_the_approvals_that_its_decision_spent(rules, monkeypatch):
    request = await rules.quota_used()
    views = [
        (name, view)
        for name, (view, _) in zip(("dora", "emil"), await rules.approve("quota", request, SECOND), strict=True)
    ]

    async def refused(*_):
        raise Rejected("device-refused", "The device refuses for good.")

    with monkeypatch.context() as patched:
        patched.setattr(sign, "_with_pen", refused)
        await rules.signed(request)
    for name, view in views:
        with pytest.raises(Conflict, match="approval-spent"):
            await rules.gate.revoke_approval(view.digest, person(name).given(revocation(view.digest)), PEER)
    await rules.gate.retry(BUILDER, request.id)
    assert await rules.signed(request)


async def test_an_older_version_needs_people_who_approve_a_downgrade(scene):
    approvals = "{ hours = 48, downgrade = 2, quota = 2 }"
    rules = Rules(scene, approving_policy(serial=2, rules={"version_order": '"alpm"', "approvals": approvals}))
    await rules.begin()
    newer, older = package("tool", "2-1"), package("tool", "1-1")
    assert await rules.signed(await rules.asked(newer))
    request = await rules.asked(older)
    assert not await rules.signed(request)
    assert await rules.standing(request) == ("waiting", "version-not-newer")
    await rules.approve("downgrade", request, older, people=["dora"])
    await rules.work()
    assert await rules.standing(request) == ("waiting", "version-not-newer")
    await rules.approve("downgrade", request, older, people=["emil"])
    assert await rules.signed(request)


@pytest.mark.parametrize("hidden", [False, True], ids=["shown", "hidden by the database"])
async def test_an_approval_that_was_taken_back_before_it_was_spent_never_counts(rules, hidden):
    request = await rules.quota_used()
    [(view, _)] = await rules.approve("quota", request, SECOND, people=["dora"])
    await rules.gate.revoke_approval(view.digest, person("dora").given(revocation(view.digest)), PEER)
    await rules.approve("quota", request, SECOND, people=["emil"])
    await rules.scene.caught_up()
    if hidden:
        await rules.scene.ground.sql("UPDATE approvals SET revoked_at = NULL, revocation = NULL")
        await rules.scene.ground.sql(
            "UPDATE signing_requests SET state = 'queued', not_before = now() WHERE state = 'waiting'"
        )
    await rules.work()
    assert await rules.standing(request) == ("waiting", "quota-used")
    await rules.approve("quota", request, SECOND, people=["fred"])
    assert await rules.signed(request)


async def test_a_manifest_that_is_taken_back_stands_where_it_was_spent(rules):
    request = await rules.quota_used()
    for name in ("dora", "emil"):
        signed, manifest = for_all(rules.policy, "quota", [(SECOND, GOOD), (THIRD, GOOD)])
        view, _ = await rules.give(name, signed, manifest)
    assert await rules.signed(request)
    back = await rules.gate.revoke_approval(view.digest, person("emil").given(revocation(view.digest)), PEER)
    assert (back.state, back.pairs, back.spent) == ("revoked", 2, 1)
    await rules.scene.caught_up()
    third = await rules.asked(THIRD)
    await rules.work()
    assert await rules.standing(third) == ("waiting", "quota-used")
    assert (await rules.standing(request))[0] == "signed"


async def test_a_decision_stands_though_what_it_spent_of_a_manifest_is_taken_back_before_the_signature(
    rules, monkeypatch
):
    """By the log's order: the decision entry came first, and what else the manifest names counts for nothing more."""
    request = await rules.quota_used()
    for name in ("dora", "emil"):
        signed, manifest = for_all(rules.policy, "quota", [(SECOND, GOOD), (THIRD, GOOD)])
        view, _ = await rules.give(name, signed, manifest)

    async def refused(*_):
        raise Rejected("device-refused", "The device refuses for good.")

    with monkeypatch.context() as patched:
        patched.setattr(sign, "_with_pen", refused)
        assert not await rules.signed(request)
    await rules.gate.revoke_approval(view.digest, person("emil").given(revocation(view.digest)), PEER)
    await rules.scene.caught_up()
    await rules.gate.retry(BUILDER, request.id)
    assert await rules.signed(request)
    third = await rules.asked(THIRD)
    await rules.work()
    assert await rules.standing(third) == ("waiting", "quota-used")


async def test_an_approval_that_is_taken_back_while_the_decision_is_made_is_not_spent(rules, monkeypatch):
    request = await rules.quota_used()
    views = [view for view, _ in await rules.approve("quota", request, SECOND)]
    decide = rules.scene.signing.queue.decide

    async def meanwhile(job, concluded):
        monkeypatch.undo()
        await rules.gate.revoke_approval(views[0].digest, person("dora").given(revocation(views[0].digest)), PEER)
        await decide(job, concluded)

    monkeypatch.setattr(
        type(rules.scene.signing.queue), "decide", lambda _self, job, concluded: meanwhile(job, concluded)
    )
    await rules.scene.sign()
    assert await rules.standing(request) == ("queued", "approvals-moved")
    await rules.scene.ground.sql("UPDATE signing_requests SET not_before = now() WHERE state = 'queued'")
    await rules.work()
    assert await rules.standing(request) == ("waiting", "quota-used")
    rows = await rules.scene.ground.sql("SELECT count(spent_at) AS n FROM approval_pairs")
    assert rows[0]["n"] == 0


async def test_a_spent_approval_is_not_taken_back_and_its_decision_stands(rules):
    request = await rules.quota_used()
    views = [view for view, _ in await rules.approve("quota", request, SECOND)]
    assert await rules.signed(request)
    with pytest.raises(Conflict) as raised:
        await rules.gate.revoke_approval(views[0].digest, person("dora").given(revocation(views[0].digest)), PEER)
    assert raised.value.code == "approval-spent"


async def test_an_approval_that_comes_while_a_signer_holds_the_request_is_not_lost(rules):
    request = await rules.quota_used()
    await rules.approve("quota", request, SECOND, people=["dora"])
    await rules.scene.ground.sql(
        "UPDATE signing_requests SET state = 'queued', not_before = now() WHERE state = 'waiting'"
    )
    evidence = rules.scene.signing.queue.evidence

    seen = {}

    async def early(job):
        found = await evidence(job)
        if not seen:
            seen["once"] = await rules.approve("quota", request, SECOND, people=["emil"])
        return found

    rules.scene.signing.queue.evidence = early
    await rules.scene.sign()
    del rules.scene.signing.queue.evidence
    assert await rules.standing(request) == ("waiting", "quota-used")
    [row] = await rules.scene.ground.sql(
        "SELECT not_before - now() < interval '6 seconds' AS soon FROM signing_requests WHERE state = 'waiting'"
    )
    assert row["soon"]
    await rules.scene.ground.sql("UPDATE signing_requests SET not_before = now() WHERE state = 'waiting'")
    assert await rules.gate.reevaluate(50) == 1
    assert await rules.signed(request)
