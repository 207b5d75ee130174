"""P7: versions only rise, quotas hold, what is signed is not signed anew, whoever races for it and whatever the database says."""

import dataclasses
import hashlib

import pytest

from attestor.core.algorithm import Algorithm
from attestor.store.queue import PostgresQueue
from tests.attacks.conftest import GOOD
from tests.service.makers import BUILDER, asking, make_policy, package, payload_digest, vote, withdrawal
from tests.service.signers import sign_next, under

OTHER = b"another package"
ORDERED = {"version_order": '"alpm"'}
ONE_A_DAY = {"quota": '{ limit = 1, period = "day" }'}


@pytest.fixture
def ruled(scene, ground):
    """The scene under a policy whose tier of packages has these further rules."""

    async def load(rules):
        policy = make_policy(serial=2, rules=rules)
        scene.gate = await ground.gate(policy)
        scene.signing = under(scene.signing, policy)
        return scene

    return load


async def signed(scene, release, content=GOOD):
    request = await scene.queued(release, content)
    await scene.sign()
    await scene.caught_up()
    return request


def calls(scene):
    return scene.running.operations(Algorithm.ED25519)


def letting_in(scene, before):
    """The signer, where *before* happens after it has judged and right before its decision is enqueued."""

    class Overtaken(PostgresQueue):
        async def decide(self, job, concluded):
            await before()
            return await super().decide(job, concluded)

    queue = scene.signing.queue
    overtaken = dataclasses.replace(scene.signing, queue=Overtaken(queue._pool, queue._listener))
    return under(overtaken, overtaken.policy)


@pytest.mark.parametrize(
    ("before", "later"),
    [
        pytest.param(package("a", "2-1"), package("a", "1-9"), id="an older version"),
        pytest.param(package("a", "2-1", "x86_64"), package("a", "2-1", "any"), id="the same version for all machines"),
        pytest.param(package("a", "1:1-1"), package("a", "9-1"), id="the epoch is gone"),
        pytest.param(package("a", "2-1"), package("a", "1.0.-1"), id="a version that has no place in the order"),
    ],
)
async def test_an_older_version_is_not_signed(ruled, before, later):
    scene = await ruled(ORDERED)
    await signed(scene, before)
    made = calls(scene)
    request = await scene.queued(later, OTHER)
    await scene.sign()
    state, reason = await scene.standing(request)
    assert (state, reason in {"version-not-newer", "version-unordered"}) == ("refused", True)
    assert calls(scene) == made


@pytest.mark.parametrize(
    "later",
    [
        pytest.param(package("a", "2-2", "x86_64"), id="built again"),
        pytest.param(package("a", "2-1", "aarch64"), id="the same version for another machine"),
        pytest.param(package("b", "1-1", "x86_64"), id="another package"),
    ],
)
async def test_what_follows_or_stands_beside_is_signed(ruled, later):
    scene = await ruled(ORDERED)
    await signed(scene, package("a", "2-1", "x86_64"))
    request = await signed(scene, later, OTHER)
    assert await scene.standing(request) == ("signed", "signed")


async def test_of_two_versions_that_race_the_one_that_the_log_has_first_stands(ruled):
    scene = await ruled(ORDERED)
    older = await scene.queued(package("a", "1-1"))
    newer = await scene.queued(package("a", "2-1"), OTHER)

    async def the_newer_one():
        assert await scene.sign()

    await sign_next(letting_in(scene, the_newer_one))
    assert await scene.standing(newer) == ("signed", "signed")
    assert await scene.standing(older) == ("refused", "version-not-newer")
    assert await scene.signatures() == 1


async def test_a_quota_that_is_used_stays_used_whatever_the_database_says(ruled):
    scene = await ruled(ONE_A_DAY)
    await signed(scene, package("a"))
    made = calls(scene)
    request = await scene.queued(package("b"), OTHER)
    await scene.ground.sql("DELETE FROM quota_places")
    await scene.sign()
    assert await scene.standing(request) == ("waiting", "quota-used")
    [row] = await scene.ground.sql(
        "SELECT not_before > now() AS later, sentence FROM signing_requests WHERE state = 'waiting'"
    )
    assert row["later"]
    assert "the next period opens at" in row["sentence"]
    assert calls(scene) == made


async def test_two_that_race_for_the_last_place_get_one_signature(ruled):
    scene = await ruled(ONE_A_DAY)
    first = await scene.queued(package("a"))
    second = await scene.queued(package("b"), OTHER)

    async def the_second_one():
        # The database gives the same place away twice.
        await scene.ground.sql("DELETE FROM quota_places")
        assert await scene.sign()

    await sign_next(letting_in(scene, the_second_one))
    assert await scene.standing(second) == ("signed", "signed")
    assert await scene.standing(first) == ("waiting", "quota-used")
    assert await scene.signatures() == 1


async def test_who_comes_while_another_has_the_last_place_waits_for_its_end(ruled):
    scene = await ruled(ONE_A_DAY)
    await scene.queued(package("a"))
    later = await scene.queued(package("b"), OTHER)

    async def the_later_one():
        assert await scene.sign()
        assert await scene.standing(later) == ("waiting", "quota-reserved")

    await sign_next(letting_in(scene, the_later_one))
    assert await scene.signatures() == 1


async def other_bytes_agreed(scene):
    """Two operators take back what they said, and say other bytes of the release that is signed."""
    release = package()
    for name in ("alice", "bob"):
        await scene.gate.admit(withdrawal(release, payload_digest(release, GOOD), name))
    scene.place(release, OTHER)
    await scene.gate.admit(vote(release, OTHER, "alice", "bob"))


async def test_other_bytes_of_a_signed_release_are_refused_by_the_api_and_by_the_signer(ruled):
    scene = await ruled({})
    request = await signed(scene, package())
    await other_bytes_agreed(scene)
    with pytest.raises(Exception, match="other-digest-signed"):
        await scene.gate.ask(BUILDER, asking(package(), OTHER))
    made = calls(scene)
    # The database forgets, and the API is taken over: what the log says is signed, stays signed.
    await scene.ground.sql(
        "UPDATE signing_requests SET state = 'queued', sha256 = $1, sha512 = $2, size = $3",
        hashlib.sha256(OTHER).digest(),
        hashlib.sha512(OTHER).digest(),
        len(OTHER),
    )
    await scene.sign()
    assert await scene.standing(request) == ("refused", "other-digest-signed")
    assert calls(scene) == made
