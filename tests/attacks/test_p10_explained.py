"""P10: the whole chain can be read afterwards: who said what, who asked, what was signed with which key on whose word."""

import hashlib

from tests.attacks.conftest import GOOD
from tests.service.makers import package, payload_digest, vote, withdrawal


async def test_of_a_signed_release_the_chain_names_bytes_key_time_and_operators(scene):
    await scene.queued()
    await scene.sign()
    told = await scene.gate.explain(package().id)
    assert [event.what for event in told.events] == ["queued", "signed"]
    detail = told.events[-1].detail
    for named in (
        hashlib.sha256(GOOD).hexdigest(),
        scene.signing.signers["packages"].fingerprint,
        "alice, bob",
        "packages",
    ):
        assert named in detail
    assert {vote.operator for vote in told.release.votes if vote.counted} == {"alice", "bob"}
    assert list(told.release.requests) == [told.events[-1].request]


async def test_what_was_withdrawn_disputed_and_refused_stays_in_the_chain(scene):
    await scene.queued()
    await scene.gate.admit(vote(package(), b"other", "carol"))
    await scene.gate.admit(withdrawal(package(), payload_digest(package(), b"other"), "carol"))
    scene.place(package(), b"swapped")
    await scene.sign()
    told = await scene.gate.explain(package().id)
    assert [event.what for event in told.events] == ["queued", "waiting", "withdrawn", "queued", "refused"]
    assert all(event.detail for event in told.events)
    assert {vote.operator: vote.reason for vote in told.release.votes}["carol"] == "withdrawn"
