"""Before an approver signs: a service that contradicts itself is not believed, and what is signed is written here."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from attestor.client.approvals import draft, draft_revocation, everything_wanted, look, manifest_of, tier_of
from attestor.core.approvaldocuments import read_approval, read_manifest, read_revocation
from attestor.core.approvalwire import Terms, TierPage, TierView, WantedApproval, WantedPage
from attestor.core.entries import moment
from attestor.core.errors import Missing, Rejected
from attestor.core.wire import Artifact, ReleaseName, ReleaseView
from tests.edges.api.standin import decision
from tests.service.makers import package

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REQUEST = "11111111-2222-4333-8444-555555555555"
TERMS = Terms(origin="attestor.example.org", tier="packages", rules="ab" * 32, hours=48)
RELEASE = package("tool")
WANTED = WantedApproval(
    request=REQUEST, requester="build-service", release=ReleaseName("package", RELEASE.purl, RELEASE.file_name),
    release_id=RELEASE.id, artifact=Artifact(5, "cd" * 32, "cd" * 64), action="quota", reason="quota-used",
    sentence="Used.", needed=2, approved_by=(), terms=TERMS, decision=decision(), signed=(), evidence=(),
    release_path="/", since=NOW,
)  # fmt: skip
VIEW = ReleaseView(
    id=RELEASE.id, kind="package", purl=RELEASE.purl, file_name=RELEASE.file_name, decision=decision(), votes=(), requests=()
)  # fmt: skip
TIER = TierView(
    name="packages", kind="package", purl="p", threshold=2, operators=(), signing_key="k", version_order="none", quota=None,
    approvals={}, terms=TERMS,
)  # fmt: skip


@dataclass
class Service:
    """What a service says, true or not."""

    wanted: tuple = (WANTED,)
    view: ReleaseView = VIEW
    page: TierPage = TierPage(origin=TERMS.origin, policy_serial=1, policy_digest="ab" * 32, tiers=(TIER,))  # noqa: RUF009 - frozen

    async def awaiting_approval(self, **_):
        return WantedPage(wanted=self.wanted, cursor=None)

    async def release(self, _):
        return self.view

    async def tiers(self):
        return self.page


def other(value, **members):
    return msgspec.structs.replace(value, **members)


async def test_what_agrees_with_itself_is_shown():
    looked = await look(Service(), REQUEST, None, NOW)
    assert (looked.wanted, looked.release, looked.counted) == (WANTED, VIEW, None)


LIES = {
    "another request": {"wanted": (other(WANTED, request=REQUEST.replace("1", "2")),)},
    "names of another release": {"wanted": (other(WANTED, release=ReleaseName("package", package("b").purl, package("b").file_name)),)},
    "the id of another release": {"wanted": (other(WANTED, release_id=package("b").id),), "view": other(VIEW, id=package("b").id)},
    "the id of another release behind these names": {"wanted": (other(WANTED, release_id=package("b").id),)},
    "a release of another name": {"view": other(VIEW, file_name="tool-1-1-any.pkg.tar.xz")},
    "rules that are not the tier's": {"wanted": (other(WANTED, terms=other(TERMS, rules="00" * 32)),)},
    "another tier's terms": {"wanted": (other(WANTED, terms=other(TERMS, tier="debs")),)},
    "another origin": {"page": TierPage(origin="other", policy_serial=1, policy_digest="", tiers=(TIER,))},
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_a_service_that_contradicts_itself_is_not_signed_for(lie):
    with pytest.raises(Rejected) as raised:
        await look(Service(**lie), REQUEST, None, NOW)
    assert raised.value.code == "service-differs"


async def test_a_release_in_a_list_is_the_one_that_its_names_say():
    """A manifest is made of such a list, and people see the names alone."""
    assert await everything_wanted(Service(), tier=None, action=None) == [WANTED]
    assert await everything_wanted(Service(), tier="debs", action=None) == []
    lying = Service(wanted=(WANTED, other(WANTED, release_id=package("b").id)))
    with pytest.raises(Rejected, match="service-differs"):
        await everything_wanted(lying, tier=None, action=None)


async def test_what_waits_for_nobody_and_a_tier_that_is_not_there_are_said():
    with pytest.raises(Missing, match="approval-not-wanted"):
        await look(Service(wanted=()), REQUEST, None, NOW)
    with pytest.raises(Missing, match="no-tier"):
        await tier_of(Service(), "debs", None)
    assert await tier_of(Service(), "packages", None) == TIER


def test_what_is_signed_names_exactly_what_was_shown():
    pair = (RELEASE.id, "cd" * 32)
    one = draft(TERMS, "quota", reason="why", hours=None, now=NOW, request=(REQUEST, pair))
    read = read_approval(one.document)
    assert (read.request, read.release, read.digest, read.manifest) == (REQUEST, *pair, None)
    assert (read.origin, read.tier, read.rules, read.action) == (TERMS.origin, TERMS.tier, TERMS.rules, "quota")
    assert read.reason == hashlib.sha256(b"why").hexdigest()
    assert moment(read.not_before) <= NOW < moment(read.until) == moment(read.not_before) + timedelta(hours=24)
    assert one.digest == hashlib.sha256(one.document).hexdigest()
    again = draft(TERMS, "quota", reason="why", hours=None, now=NOW, request=(REQUEST, pair))
    assert again.document != one.document, "each has a nonce of its own"
    short = draft(other(TERMS, hours=2), "quota", reason="why", hours=None, now=NOW, request=(REQUEST, pair))
    assert moment(read_approval(short.document).until) <= NOW + timedelta(hours=2)
    with pytest.raises(Rejected, match="approval-window-too-long"):
        draft(TERMS, "quota", reason="why", hours=49, now=NOW, request=(REQUEST, pair))
    assert read_revocation(draft_revocation("here.example", "ab" * 32)).approval == "ab" * 32


def test_a_manifest_is_of_one_tier_and_action():
    both = [WANTED, other(WANTED, release_id=package("b").id)]
    assert read_manifest(manifest_of(both)) == {(one.release_id, "cd" * 32) for one in both}
    many = draft(TERMS, "quota", reason="why", hours=1, now=NOW, manifest=manifest_of(both))
    assert read_approval(many.document).manifest == hashlib.sha256(manifest_of(both)).hexdigest()
    with pytest.raises(Rejected, match="--tier packages --action downgrade, --tier packages --action quota"):
        manifest_of([*both, other(WANTED, action="downgrade")])
    with pytest.raises(Rejected, match="manifest-empty"):
        manifest_of([])
