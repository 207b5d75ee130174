"""P6, over crashes: a decision in the log is the decision of whoever claims next, unless it does not stand any more."""

import dataclasses
import hashlib
from datetime import timedelta

import pytest

from attestor.app.clock import now
from attestor.core.entrybytes import read_entry
from attestor.store.queue import PostgresQueue
from tests.attacks.conftest import GOOD
from tests.service.makers import BUILDER, asking, make_policy, package, payload_digest, vote, withdrawal
from tests.service.signers import sign_next, under, verified

OTHER = b"other bytes"


class KilledError(BaseException):
    """The process ends here: nothing catches it, nothing is given back."""


async def killed_after_its_decision(scene, **changes):
    """A signer concludes, proves its entry, and dies before it renews the lease; then the lease is over."""

    class Dying(PostgresQueue):
        async def renew(self, *_):
            raise KilledError

    queue = Dying(scene.signing.queue._pool, scene.signing.queue._listener)
    with pytest.raises(KilledError):
        await sign_next(dataclasses.replace(scene.signing, queue=queue, **changes))
    await scene.caught_up()
    await scene.ground.sql(
        "UPDATE signing_requests SET lease_until = now() - interval '1 second' WHERE state = 'claimed'"
    )


async def logged(scene, kind):
    rows = await scene.ground.sql("SELECT idx, entry FROM log_entries WHERE kind = $1 ORDER BY idx", kind)
    return [(row["idx"], read_entry(row["entry"])) for row in rows]


LATE = {
    "nothing": (None, 0),
    "a dissent": (vote(package(), OTHER, "carol"), 1),
    "a third vote for it": (vote(package(), GOOD, "carol"), 0),
    "a failed build": (vote(package(), None, "carol"), 0),
    "a contradiction by one who agreed": (vote(package(), OTHER, "bob"), 1),
}


@pytest.mark.parametrize(("comes", "dissents"), LATE.values(), ids=LATE)
async def test_a_later_claim_signs_under_the_decision_that_it_finds_after(scene, device, comes, dissents):
    request = await scene.queued()
    await killed_after_its_decision(scene)
    if comes is not None:
        await scene.gate.admit(comes)
        await scene.caught_up()
    await scene.sign()
    await scene.caught_up()
    [(index, decision)] = await logged(scene, "decision")
    [(_, entry)] = await logged(scene, "signature")
    _, signature = await scene.gate.signature(BUILDER, request)
    assert (decision.number, entry.decision) == (0, index)
    created = verified(device[1], "packages", signature, GOOD).created
    assert created.strftime("%Y-%m-%dT%H:%M:%SZ") == decision.created
    assert len(await logged(scene, "late-dissent")) == dissents


async def test_under_another_policy_it_decides_anew_under_the_next_number(scene):
    await scene.queued()
    await killed_after_its_decision(scene)
    policy = make_policy(serial=2)
    await (await scene.ground.gate(policy)).reevaluate(10)
    scene.signing = under(scene.signing, policy)
    await scene.sign()
    await scene.caught_up()
    decisions = await logged(scene, "decision")
    [(_, entry)] = await logged(scene, "signature")
    assert [(made.number, made.policy.serial) for _, made in decisions] == [(0, 1), (1, 2)]
    assert entry.decision == decisions[1][0]


async def test_under_another_policy_a_dissent_that_came_after_the_first_decision_is_not_late_any_more(scene):
    await scene.queued()
    await killed_after_its_decision(scene)
    await scene.gate.admit(vote(package(), OTHER, "carol"))
    await scene.caught_up()
    policy = make_policy(serial=2)
    await (await scene.ground.gate(policy)).reevaluate(10)
    scene.signing = under(scene.signing, policy)
    await scene.sign()
    assert await scene.standing() == ("waiting", "disputed")
    assert len(await logged(scene, "decision")) == 1


async def test_a_vote_taken_back_after_the_decision_and_given_anew_leads_to_a_decision_of_its_own(scene):
    """The first one does not stand without it, and the new one came after it."""
    await scene.queued()
    await killed_after_its_decision(scene)
    await scene.gate.admit(withdrawal(package(), payload_digest(package(), GOOD), "bob"))
    await scene.caught_up()
    await scene.sign()
    assert await scene.standing() == ("waiting", "not-reached")
    await scene.gate.admit(vote(package(), GOOD, "bob", log=b"again"))
    await scene.caught_up()
    await scene.sign()
    assert await scene.standing() == ("signed", "signed")
    await scene.caught_up()
    [_, (index, second)] = await logged(scene, "decision")
    [(_, entry)] = await logged(scene, "signature")
    assert (second.number, entry.decision) == (1, index)


async def test_a_decision_on_another_request_of_the_release_in_between_blocks_nothing(scene):
    first = await scene.queued()
    await killed_after_its_decision(scene)
    await scene.ground.sql("UPDATE signing_requests SET state = 'waiting', lease_until = NULL")
    for name in ("alice", "bob"):
        await scene.gate.admit(withdrawal(package(), payload_digest(package(), GOOD), name))
    scene.place(package(), OTHER)
    await scene.gate.admit(vote(package(), OTHER, "alice", "bob"))
    second, _ = await scene.gate.ask(BUILDER, asking(package(), OTHER))
    await scene.caught_up()
    await killed_after_its_decision(scene)
    await scene.ground.sql("UPDATE signing_requests SET state = 'waiting', lease_until = NULL")
    for name in ("alice", "bob"):
        await scene.gate.admit(withdrawal(package(), payload_digest(package(), OTHER), name))
    scene.place(package(), GOOD)
    await scene.gate.admit(vote(package(), GOOD, "alice", "bob", log=b"again"))
    await scene.caught_up()
    assert await scene.standing(first) == ("queued", "queued")
    await scene.sign()
    assert await scene.standing(first) == ("signed", "signed")
    await scene.caught_up()
    decisions = [(entry.request, entry.number) for _, entry in await logged(scene, "decision")]
    assert decisions[:3] == [(first, 0), (second.id, 1), (first, 2)]


async def test_a_decision_whose_time_has_not_come_is_not_signed_under(scene):
    await scene.queued()
    await killed_after_its_decision(scene, now=lambda: now() + timedelta(seconds=4.5))
    await scene.sign()
    assert await scene.standing() == ("aside", "signing-time")
    assert await scene.signatures() == 0


async def refusals(scene):
    return [entry for _, entry in await logged(scene, "decision") if entry.verdict == "refuse"]


async def test_what_the_signer_refuses_is_logged_once_and_at_most_sixteen_times_for_a_release(scene):
    for number in range(18):
        await scene.queued()
        scene.place(package(), b"swapped")
        await scene.sign()
        await scene.ground.settled()
        assert len(await refusals(scene)) == min(number + 1, 16)
    assert {entry.reason for entry in await refusals(scene)} == {"content-differs"}
    assert len({entry.request for entry in await refusals(scene)}) == 16


async def test_what_the_api_refuses_at_one_stroke_is_logged_at_most_sixteen_times_too(scene):
    for number in range(18):
        await scene.gate.ask(BUILDER, asking(package(), b"%d" % number))
    await scene.queued()
    await scene.sign()
    await scene.gate.admit(vote(package(), GOOD, "carol"))
    await scene.ground.settled()
    [row] = await scene.ground.sql("SELECT count(*) AS n FROM signing_requests WHERE state = 'refused'")
    assert row["n"] == 18
    assert [entry.reason for entry in await refusals(scene)] == ["other-digest-signed"] * 16
    assert hashlib.sha256(GOOD).hexdigest() not in {entry.artifact.sha256 for entry in await refusals(scene)}


async def test_a_refusal_that_the_log_holds_already_stops_no_request_in_its_claim(scene):
    """The API's role may tell a refusal of any request; the signer's own then needs none."""
    request = await scene.queued()
    scene.place(package(), b"swapped")

    class Telling(PostgresQueue):
        async def give_back(self, job, after, *why, entry=None):
            await scene.as_api(
                "INSERT INTO log_outbox (subject, kind, number, entry) VALUES ($1, $2, $3, $4)",
                entry.subject,
                entry.kind,
                entry.number,
                entry.entry,
            )
            await scene.ground.settled()
            await super().give_back(job, after, *why, entry=entry)

    queue = Telling(scene.signing.queue._pool, scene.signing.queue._listener)
    await sign_next(dataclasses.replace(scene.signing, queue=queue))
    assert await scene.standing(request) == ("refused", "content-differs")
