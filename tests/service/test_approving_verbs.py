"""`attestor approvals`, `approve` and `status --tiers` against the real service: what an approver sees, signs and hands in."""

import asyncio
import hashlib
import io
import json
import re
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from attestor.api.listeners import Listener, serve
from attestor.cli.output import Exit
from attestor.client.approving import ssh_fingerprint
from attestor.client.calls import AttestorClient
from attestor.core import approvaldocuments
from attestor.core.approvaldocuments import read_approval, read_manifest
from attestor.core.strictjson import decode_base64
from tests.edges.cli.conftest import attestor, program  # noqa: F401 - the program, as people run it
from tests.gnupg import Keyring, gnupg_home
from tests.service.approvers import approver_table, approving_policy
from tests.service.makers import BUILDER, asking, make_policy, package, vote

GOOD, OTHER = b"the package", b"another package"
RULES = {"approvals": "{ hours = 48, release = 2 }", "quota": '{ limit = 3, period = "month" }'}
WHY = ("--reason", "Looked at the build log: it is right.")


class Desk:
    """One approver's desk: two key files, the policy file, and the service on a socket."""

    def __init__(self, gate, folder, program, policy, server):  # noqa: F811 - the fixture
        self.gate, self.folder, self.policy, self.server = gate, folder, policy, server
        self._program = program
        (folder / "policy.toml").write_bytes(policy.raw)

    async def attestor(self, *arguments):
        return await asyncio.to_thread(self._program, "attestor", *arguments, "--server", self.server)

    async def approve(self, *arguments, who="anna", yes=True):
        key = ("--gpg", who) if "@" in who else ("--ssh", self.folder / who)
        trusted = ("--policy", self.folder / "policy.toml")
        return await self.attestor("approve", *arguments, *key, *trusted, *(["--yes"] if yes else []))

    async def opened(self, release=None, content=GOOD):
        release = release or package()
        await self.gate.admit(vote(release, content, "alice", "bob"))
        return (await self.gate.ask(BUILDER, asking(release, content)))[0].id

    async def standing(self, request):
        return (await self.gate.request(BUILDER, request)).state


@pytest.fixture(scope="module")
def keys(tool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("anna", "ben"):
        subprocess.run(
            [tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True, timeout=60
        )
    return folder


@pytest.fixture(scope="module")
def keyring(tool):
    """The GNUPGHOME of Cora, who has one key."""
    with gnupg_home(tool) as home:
        keyring = Keyring(tool("gpg"), home)
        keyring.key("cora", life="never")
        yield keyring


@asynccontextmanager
async def serving(ground, keys, program, socket, *more):  # noqa: F811 - the fixture
    """The service under a policy that knows Anna's and Ben's keys, and *more* approvers."""
    tables = [
        approver_table(name, ssh_fingerprint(keys / name), text=(keys / f"{name}.pub").read_text().strip())
        for name in ("anna", "ben")
    ]
    policy = approving_policy(rules=RULES, tables=[*tables, *more])
    gate = await ground.gate(policy)
    running = await serve(
        [Listener(f"unix:{socket}", frozenset({"read", "submit"}))], gate, registry=CollectorRegistry()
    )
    yield Desk(gate, keys, program, policy, f"unix:{socket}")
    await running.stop()


@pytest_asyncio.fixture
async def desk(ground, keys, program, tmp_path):  # noqa: F811 - the fixture
    async with serving(ground, keys, program, tmp_path / "s") as desk:
        yield desk


@pytest_asyncio.fixture
async def desk_of_three(ground, keys, keyring, program, tmp_path, monkeypatch):  # noqa: F811, PLR0917 - the fixtures
    """Anna and Ben sign with ssh-keygen, Cora with gpg."""
    monkeypatch.setenv("GNUPGHOME", str(keyring.home))
    [fingerprint] = keyring.fingerprints("cora")
    cora = approver_table("cora", fingerprint, form="openpgp", text=keyring.export(fingerprint))
    async with serving(ground, keys, program, tmp_path / "s", cora) as desk:
        yield desk


async def test_two_people_look_sign_and_hand_in_and_the_request_goes_on(desk):
    request = await desk.opened()
    listed = await desk.attestor("approvals", "--wanted")
    assert (listed.code, request in listed.out, "0 of 2" in listed.out) == (Exit.YES, True, True)
    first = await desk.approve(request, *WHY)
    assert first.code == Exit.PENDING, first.err
    shown = " ".join(first.out.split())
    for seen in (
        package().file_name, package().purl, package().id, hashlib.sha256(GOOD).hexdigest(), f"{len(GOOD)} bytes",
        "asked by build-service", "[approval-needed]", f"/v1/releases/{package().id}/envelopes/alice/",
        "verified here by your policy file: 2 of 2 operators (alice, bob) agree on these bytes", "1 more must approve",
    ):  # fmt: skip
        assert seen in shown
    [signed] = re.findall(r"byte for byte:\n(.*)\n\n", first.err, re.DOTALL)
    digest = hashlib.sha256(signed.encode()).hexdigest()
    kept = await desk.gate.approval(digest)
    assert decode_base64(kept.document) == signed.encode(), "what was shown is what was signed"
    document = read_approval(signed.encode())
    assert (document.request, document.release, document.digest) == (
        request,
        package().id,
        hashlib.sha256(GOOD).hexdigest(),
    )
    again = await desk.approve(request, *WHY)
    assert again.code == Exit.PENDING, "the same person again"
    second = await desk.approve(request, *WHY, who="ben")
    assert (second.code, "Enough people approved it." in second.out) == (Exit.YES, True)
    assert await desk.standing(request) == "queued"
    listed = await desk.attestor("approvals", "--json")
    assert sorted(one["approver"] for one in json.loads(listed.out)) == ["anna", "anna", "ben"]
    over = await desk.approve(request, *WHY)
    assert (over.code, "approval-not-wanted" in over.err) == (Exit.ERROR, True)


@pytest.mark.required_in_ci
async def test_one_signs_with_gpg_and_another_with_ssh_keygen_and_each_takes_back_their_own(desk_of_three):
    desk, cora = desk_of_three, "cora@example.org"
    request = await desk.opened()
    first = await desk.approve(request, *WHY, "--json", who=cora)
    assert first.code == Exit.PENDING, first.err
    given = json.loads(first.out)
    assert (given["approver"], given["state"], given["action"]) == ("cora", "standing", "release")
    assert "agree on these bytes" in first.err, "what she saw before she signed"
    second = await desk.approve(request, *WHY)
    assert second.code == Exit.YES, second.err
    assert await desk.standing(request) == "queued"

    others = await desk.approve("--revoke", given["digest"])
    assert (others.code, "approval-of-other-approver" in others.err) == (Exit.ERROR, True)
    taken = await desk.approve("--revoke", given["digest"], "--json", who=cora)
    assert (taken.code, json.loads(taken.out)["state"]) == (Exit.YES, "revoked"), taken.err
    assert await desk.standing(request) == "waiting"
    stranger = await desk.approve(request, *WHY, who="nobody@example.org")
    assert (stranger.code, "approval-key" in stranger.err) == (Exit.ERROR, True)


async def test_a_manifest_is_made_of_what_waits_and_approved_at_once(desk, tmp_path):
    requests = [await desk.opened(package(f"part-{number}")) for number in range(3)]
    file = tmp_path / "manifest.json"
    made = await desk.attestor("approvals", "--manifest-out", file, "--tier", "packages", "--action", "release")
    assert (made.code, "3 releases" in made.err) == (Exit.YES, True)
    assert len(read_manifest(file.read_bytes())) == 3
    whole = ("--manifest", file, "--tier", "packages", "--action", "release", *WHY)
    for who, code in (("anna", Exit.PENDING), ("ben", Exit.YES)):
        said = await desk.approve(*whole, who=who)
        assert (said.code, "3 releases, 3 of them wait for this now" in said.out) == (code, True), said.err
    assert {await desk.standing(request) for request in requests} == {"queued"}
    empty = await desk.attestor("approvals", "--manifest-out", file)
    assert (empty.code, "manifest-empty" in empty.err) == (Exit.ERROR, True)


async def test_an_approval_is_taken_back(desk):
    request = await desk.opened()
    for who in ("anna", "ben"):
        await desk.approve(request, *WHY, who=who)
    listed = json.loads((await desk.attestor("approvals", "--approver", "anna", "--json")).out)
    [digest] = [one["digest"] for one in listed]
    others = await desk.approve("--revoke", digest, who="ben")
    assert (others.code, "approval-of-other-approver" in others.err) == (Exit.ERROR, True)
    said = await desk.approve("--revoke", digest)
    assert (said.code, "revoked" in said.out) == (Exit.YES, True), said.err
    assert await desk.standing(request) == "waiting"


async def test_whose_approvals_is_no_question_about_what_waits(desk, tmp_path):
    await desk.opened()
    for asked in (("--wanted",), ("--manifest-out", tmp_path / "manifest.json")):
        refused = await desk.attestor("approvals", *asked, "--approver", "anna")
        assert (refused.code, "[usage]" in refused.err, refused.out) == (Exit.ERROR, True, "")
    assert not (tmp_path / "manifest.json").exists()


async def test_who_is_shown_some_of_the_approvals_is_told_so(desk):
    request = await desk.opened()
    for who in ("anna", "ben"):
        await desk.approve(request, *WHY, who=who)
    for more, shown, told in (((), 2, False), (("--limit", "2"), 2, False), (("--limit", "1"), 1, True)):
        listed = await desk.attestor("approvals", "--json", *more)
        assert (len(json.loads(listed.out)), "There are more than these" in listed.err) == (shown, told)
    chosen = await desk.attestor("approvals", "--json", "--limit", "1", "--approver", "ben")
    assert (len(json.loads(chosen.out)), chosen.err) == (1, "")


async def test_of_more_than_a_manifest_holds_the_rest_is_for_another(desk, tmp_path, monkeypatch):
    monkeypatch.setattr(approvaldocuments, "MAX_MANIFEST", 2)
    for number in range(3):
        await desk.opened(package(f"part-{number}"))
    file = tmp_path / "manifest.json"
    made = await desk.attestor("approvals", "--manifest-out", file)
    assert (made.code, "2 releases" in made.err, "1 more wait" in made.err) == (Exit.YES, True, True), made.err
    assert len(read_manifest(file.read_bytes())) == 2


async def test_the_approval_that_is_taken_back_is_the_one_that_was_named_whatever_the_service_shows(desk, monkeypatch):
    shown = [await desk.opened(package(name)) for name in ("one", "two")]
    named, other = [json.loads((await desk.approve(each, *WHY, "--json")).out)["digest"] for each in shown]
    truth = AttestorClient.approval
    monkeypatch.setattr(AttestorClient, "approval", lambda client, _digest: truth(client, other))
    said = await desk.approve("--revoke", named)
    assert (said.code, f'"approval":"{named}"' in said.err) == (Exit.YES, True), said.err
    stands = [(await desk.gate.approval(digest)).approval.state for digest in (named, other)]
    assert stands == ["revoked", "standing"]


async def test_without_a_terminal_nothing_is_signed_unless_it_is_said_and_at_one_no_is_no(desk, monkeypatch):
    request = await desk.opened()
    unasked = await desk.approve(request, *WHY, yes=False)
    assert (unasked.code, "not-confirmed" in unasked.err) == (Exit.ERROR, True)

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    refused = await desk.approve(request, *WHY, yes=False)
    assert refused.code == Exit.ERROR
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert (await desk.approve(request, *WHY, yes=False)).code == Exit.PENDING
    assert len((await desk.gate.approvals(tier=None, approver=None, release=None, cursor=None, limit=9)).approvals) == 1


async def test_a_service_that_says_other_rules_than_the_approvers_own_file_is_not_signed_for(desk):
    request = await desk.opened()
    (desk.folder / "policy.toml").write_bytes(desk.policy.raw.replace(b"release = 2", b"release = 1"))
    said = await desk.approve(request, *WHY)
    assert (said.code, "approval-rules-changed" in said.err) == (Exit.ERROR, True)
    (desk.folder / "policy.toml").write_bytes(make_policy().raw)
    said = await desk.approve(request, *WHY)
    assert (said.code, "approval-rules-changed" in said.err) == (Exit.ERROR, True)


async def test_votes_that_the_service_only_claims_are_seen_not_to_be_there(desk, ground):
    """The database states alice's vote once more as bob's, and the API believes it: the approver's own look does not."""
    await desk.gate.admit(vote(package(), GOOD, "alice"))
    bobs = [name for name, key in desk.policy.keys_by_fingerprint.items() if key.operator == "bob"]
    for statement in (
        "INSERT INTO envelopes SELECT 'bob', payload_digest, body, received_at FROM envelopes",
        "INSERT INTO claims SELECT release_id, 'bob', payload_digest, form, keys, outcome, sha256, sha512, size, received_at FROM claims",
        "UPDATE claims SET keys = $1::text[] WHERE operator = 'bob'",
    ):
        await ground.sql(statement, *([bobs] if "$1" in statement else []))
    request = (await desk.gate.ask(BUILDER, asking(package(), GOOD)))[0]
    assert request.reason == "approval-needed"
    said = await desk.approve(request.id, *WHY)
    shown = " ".join(said.out.split())
    assert "1 of 2 operators (alice) are all that agree: WITHOUT MORE VOTES NOTHING IS SIGNED" in shown


WRONG = {
    "nothing to approve": (*WHY, "--ssh", "anna"),
    "two things": ("00000000-0000-4000-8000-000000000000", "--revoke", "ab" * 32, *WHY, "--ssh", "anna"),
    "no key": ("00000000-0000-4000-8000-000000000000", *WHY),
    "two keys": ("00000000-0000-4000-8000-000000000000", *WHY, "--ssh", "anna", "--gpg", "anna"),
    "no reason": ("00000000-0000-4000-8000-000000000000", "--ssh", "anna"),
    "a manifest without a tier": ("--manifest", "manifest", *WHY, "--ssh", "anna", "--action", "quota"),
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_what_is_not_said_is_asked_for(attestor, arguments, tmp_path, monkeypatch):  # noqa: F811 - the fixture
    monkeypatch.chdir(tmp_path)
    (tmp_path / "manifest").write_bytes(b"{}")
    said = attestor("approve", *arguments, "--server", f"unix:{tmp_path}/nobody")
    assert (said.code, "[usage]" in said.err) == (Exit.ERROR, True)


async def test_another_action_and_a_window_beyond_the_tiers_are_refused_before_anything_is_signed(desk):
    request = await desk.opened()
    for more, code in ((("--action", "quota"), "approval-action"), (("--hours", 49), "approval-window-too-long")):
        said = await desk.approve(request, *WHY, *more)
        assert (said.code, code in said.err) == (Exit.ERROR, True)
    unknown = await desk.approve("00000000-0000-4000-8000-000000000000", *WHY)
    assert (unknown.code, "approval-not-wanted" in unknown.err) == (Exit.ERROR, True)


async def test_status_says_what_is_left_of_each_quota_and_when_it_opens(desk):
    said = await desk.attestor("status", "--tiers")
    line = next(each for each in said.out.splitlines() if each.startswith("packages"))
    assert "3 of 3 a month" in line
    assert "0 used, 0 reserved" in line
    assert re.search(r"\d{4}-\d\d-01 00:00Z", line)
    assert "release: 2" in line
    [tier] = json.loads((await desk.attestor("status", "--tiers", "--tier", "packages", "--json")).out)["tiers"]
    assert (tier["quota"]["left"], tier["approvals"]) == (3, {"release": 2})
    assert (await desk.attestor("status", "--tiers", "--tier", "nobodys")).code == Exit.ERROR
