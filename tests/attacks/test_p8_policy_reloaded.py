"""P1, P8: a policy that is loaded while a request is under way decides it: what it takes away is not signed any more."""

import dataclasses
from contextlib import asynccontextmanager

import pytest

from attestor.app.release_key import ReleaseKey
from attestor.core.entries import PolicyEntry
from attestor.core.entrybytes import outgoing, read_entry, seal_entry
from attestor.service.conclude import Conclusions
from attestor.store.queue import PostgresQueue
from tests.logkeys import seal
from tests.service.makers import make_policy
from tests.service.signers import sign_next, under

TAKEN_AWAY = {
    "a revoked key": {"revoked": ["alice"]},
    "a suspended operator": {"suspended": ["bob"]},
    "a key that ended": {"valid_until": {"alice": "2026-01-01T00:00:00Z"}},
    "a higher threshold": {"threshold": 3},
    "nothing at all": {},
}


async def logged(scene, kind):
    await scene.caught_up()
    rows = await scene.ground.sql("SELECT entry FROM log_entries WHERE kind = $1 ORDER BY idx", kind)
    return [read_entry(row["entry"]) for row in rows]


def at_the_pen(scene, happens):
    """The signer, with *happens* when it has its place at the HSM and has looked once more."""

    class Looking(Conclusions):
        async def superseded(self):
            if await scene.ground.owner.fetchval("SELECT decided_at IS NOT NULL FROM signing_requests"):
                await happens()
            return await super().superseded()

    parts = scene.signing.queue, scene.signing.past, scene.signing.policy, seal()
    return dataclasses.replace(scene.signing, conclusions=Looking(*parts))


async def reload_all(scene, policy):
    """API and signer load *policy*; the signer brings it into the log, as a process does by itself."""
    scene.later = await scene.ground.gate(policy)
    scene.signing = under(scene.signing, policy)


@pytest.mark.parametrize("change", TAKEN_AWAY.values(), ids=TAKEN_AWAY)
async def test_nothing_is_asked_of_the_hsm_once_a_policy_was_loaded_that_has(scene, change):
    """Also where it takes nothing away: it is decided and logged anew under the policy that is in force."""
    await scene.queued()
    policy = make_policy(serial=2, **change)
    before = scene.running.operations("ed25519")
    await sign_next(at_the_pen(scene, lambda: reload_all(scene, policy)))
    assert await scene.standing() == ("waiting", "policy-changed")
    assert scene.running.operations("ed25519") == before
    assert [entry.policy.serial for entry in await logged(scene, "decision")] == [1]
    await scene.later.reevaluate(10)
    agreed = not change
    assert await scene.standing() == (("queued", "queued") if agreed else ("waiting", "not-reached"))
    assert (await scene.sign() is not None) is agreed
    assert await scene.signatures() == agreed
    assert scene.running.operations("ed25519") == before + agreed


async def test_nothing_is_asked_of_the_hsm_once_another_signer_has_logged_a_newer_policy(scene):
    """This one has not been given the file yet."""
    await scene.queued()

    async def another_signer():
        entry = PolicyEntry(serial=2, digest=make_policy(serial=2).digest, anchor=scene.signing.past.anchor_id)
        await scene.signing.queue.tell(outgoing(seal_entry(entry, seal())), [])
        await scene.caught_up()

    before = scene.running.operations("ed25519")
    await sign_next(at_the_pen(scene, another_signer))
    assert await scene.standing() == ("waiting", "policy-changed")
    assert scene.running.operations("ed25519") == before


async def test_nothing_is_asked_of_the_hsm_once_the_api_has_decided_under_another_policy(scene):
    await scene.queued()
    later = await scene.ground.gate(make_policy(serial=2))
    before = scene.running.operations("ed25519")

    class Waiting(ReleaseKey):
        @asynccontextmanager
        async def slot(self, lane):
            async with super().slot(lane) as pen:
                await later.reevaluate(10)
                yield pen

    key = scene.signing.signers["packages"]
    waiting = Waiting(**{field.name: getattr(key, field.name) for field in dataclasses.fields(key)})
    await sign_next(dataclasses.replace(scene.signing, signers={**scene.signing.signers, "packages": waiting}))
    assert await scene.standing() == ("waiting", "policies-differ")
    assert scene.running.operations("ed25519") == before


async def test_no_decision_stands_in_the_log_behind_a_policy_that_replaced_its_own(scene):
    """Another signer logs a newer policy while this one decides, and this one's memory does not know it yet."""
    await scene.queued()
    await scene.aware()
    entry = PolicyEntry(serial=2, digest="ab" * 32, anchor=scene.signing.past.anchor_id)

    class Racing(PostgresQueue):
        async def decide(self, *parts):
            await self.tell(outgoing(seal_entry(entry, seal())), [])
            await super().decide(*parts)

    queue = Racing(scene.signing.queue._pool, scene.signing.queue._listener)
    conclusions = Conclusions(queue, scene.signing.past, scene.signing.policy, seal())
    await sign_next(dataclasses.replace(scene.signing, queue=queue, conclusions=conclusions))
    assert await scene.standing() == ("waiting", "policy-changed")
    assert await logged(scene, "decision") == []
