"""P6: dissent that comes once the decision entry is on its way is logged and alarms, and changes nothing; what takes votes away does."""

import dataclasses

import pytest

from attestor.core.entrybytes import read_entry
from attestor.core.errors import Unavailable
from attestor.service.conclude import Conclusions
from attestor.store.queue import PostgresQueue
from tests.attacks.conftest import GOOD
from tests.logkeys import seal
from tests.service.makers import make_policy, package, payload_digest, vote, withdrawal
from tests.service.signers import sign_next, under

OTHER = b"other bytes"


async def given_back(scene, state):
    """A signer concludes and then cannot go on: its request is in the queue again, or waits for what the log will name."""

    class Failing(PostgresQueue):
        async def renew(self, *_):
            raise Unavailable("device-unavailable", "The device does not answer.")

    queue = Failing(scene.signing.queue._pool, scene.signing.queue._listener)
    await sign_next(dataclasses.replace(scene.signing, queue=queue))
    assert await scene.standing() == ("queued", "device-unavailable")
    await scene.caught_up()
    if state == "waiting":
        await scene.ground.sql("UPDATE signing_requests SET state = 'waiting', reason = 'votes-not-logged'")
    await scene.ground.sql("UPDATE signing_requests SET not_before = now()")


async def logged(scene, kind):
    await scene.caught_up()
    rows = await scene.ground.sql("SELECT entry FROM log_entries WHERE kind = $1 ORDER BY idx", kind)
    return [read_entry(row["entry"]) for row in rows]


LATE = {
    "a dissent": (vote(package(), OTHER, "carol"), "carol"),
    "a contradiction by one who agreed": (vote(package(), OTHER, "bob"), "bob"),
    "two against it at once": (vote(package(), OTHER, "bob", "carol"), "bob carol"),
}


@pytest.mark.parametrize("state", ["queued", "waiting"])
@pytest.mark.parametrize(("comes", "who"), LATE.values(), ids=LATE)
async def test_late_dissent_changes_nothing_and_is_told(scene, comes, who, state):
    await scene.queued()
    await given_back(scene, state)
    await scene.gate.admit(comes)
    assert (await scene.standing())[0] == "queued"
    assert (await scene.gate.release(package().id)).decision.state == "disputed", "everybody sees it"
    assert [operator for operator, _ in scene.ground.lookout.late] == who.split()
    await scene.caught_up()
    await scene.sign()
    assert await scene.standing() == ("signed", "signed")
    [decision] = await logged(scene, "decision")
    assert {counted.operator for counted in decision.counted} == {"alice", "bob"}
    assert [entry.operator for entry in await logged(scene, "late-dissent")] == who.split()


async def test_one_that_waits_and_is_disputed_late_is_looked_at_by_the_sweep(scene):
    """It was given back, and dissent came in, in an order in which no vote would look at it again."""
    await scene.queued()
    await given_back(scene, "queued")
    await scene.gate.admit(vote(package(), OTHER, "carol"))
    await scene.ground.sql(
        "UPDATE signing_requests SET state = 'waiting', reason = 'disputed', updated_at = now(), not_before = now()"
    )
    assert await scene.gate.reevaluate(10) == 1
    assert await scene.standing() == ("queued", "queued")
    assert await scene.gate.reevaluate(10) == 0


@pytest.mark.parametrize("state", ["queued", "waiting"])
async def test_a_vote_taken_back_still_counts_against_it_whoever_dissented(scene, state):
    await scene.queued()
    await given_back(scene, state)
    await scene.gate.admit(vote(package(), OTHER, "carol"))
    await scene.gate.admit(withdrawal(package(), payload_digest(package(), GOOD), "bob"))
    assert (await scene.standing())[0] == "waiting"
    await scene.caught_up()
    async with scene.untouched():
        assert await scene.sign() is None
    assert await scene.signatures() == 0


@pytest.mark.parametrize(
    "change", [{"revoked": ["alice"]}, {"suspended": ["bob"]}, {}], ids=["key", "operator", "none"]
)
async def test_under_another_policy_nothing_is_late_for_it(scene, change):
    """It would be decided anew there, with every vote: so it waits, as the signer would let it."""
    await scene.queued()
    await given_back(scene, "queued")
    await scene.gate.admit(vote(package(), OTHER, "carol"))
    policy = make_policy(serial=2, **change)
    await (await scene.ground.gate(policy)).reevaluate(10)
    assert await scene.standing() == ("waiting", "disputed")
    scene.signing = under(scene.signing, policy)
    await scene.ground.sql("UPDATE signing_requests SET state = 'queued'")
    await scene.sign()
    assert (await scene.standing())[0] == "waiting"
    assert await scene.signatures() == 0


async def test_an_api_that_lets_everything_pass_makes_the_signer_sign_nothing_more(scene):
    """Dissent before the decision: the API's role may queue it all the same, and the signer judges for itself."""
    await scene.queued()
    await scene.gate.admit(vote(package(), OTHER, "carol"))
    assert await scene.standing() == ("waiting", "disputed")
    await scene.as_api("UPDATE signing_requests SET state = 'queued'")
    await scene.aware()
    async with scene.untouched():
        await scene.sign()
    assert await scene.standing() == ("waiting", "disputed")


async def test_dissent_between_the_look_and_the_entry_is_in_time(scene):
    """The signer has judged and the entry is not told yet: no entry is told, and none is late."""
    await scene.queued()

    class Slow(PostgresQueue):
        async def decide(self, *parts):
            await scene.gate.admit(vote(package(), OTHER, "carol"))
            await super().decide(*parts)

    queue = Slow(scene.signing.queue._pool, scene.signing.queue._listener)
    parts = queue, scene.signing.past, scene.signing.policy, seal()
    await sign_next(dataclasses.replace(scene.signing, queue=queue, conclusions=Conclusions(*parts)))
    assert await scene.standing() == ("queued", "evidence-moved")
    await scene.gate.reevaluate(10)
    await scene.caught_up()
    await scene.ground.sql("UPDATE signing_requests SET not_before = now()")
    await scene.sign()
    assert await scene.standing() == ("waiting", "disputed")
    assert await logged(scene, "decision") == []
    assert scene.ground.lookout.late == []
