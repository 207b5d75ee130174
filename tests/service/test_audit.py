"""A log that lies is found out by who reads it and looks at what it rests on; an honest one is found clean."""

import hashlib
from contextlib import suppress
from dataclasses import replace

import pytest

from attestor.anchor.auditbook import FileAuditBook
from attestor.core.auditing import Finding
from attestor.core.entries import MAX_NOT_COUNTED, CountedVote, LateDissentEntry, PolicyEntry, UncountedVote
from attestor.core.entrybytes import encode_entry, received_entries, seal_entry
from attestor.core.errors import Conflict, Halted, Rejected, Unavailable
from attestor.core.policyfile import parse_policy
from attestor.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestor.service.audit import AGAIN
from attestor.service.examination import AT_ONCE
from tests.bundles import ANCHOR, policy_file
from tests.loghistory import received
from tests.logkeys import log_signer, seal
from tests.memorylog import MemoryLog
from tests.service.auditworld import (
    AGREED,
    BAD,
    DOUBTING,
    FIRST,
    GOOD,
    KEY,
    LAX,
    OPERATORS,
    SECOND,
    THIRD,
    World,
    looked,
    making,
    other,
    released,
)
from tests.service.makers import ORIGIN, package, payload_digest, vote


@pytest.fixture
def book(tmp_path):
    with FileAuditBook.opened(tmp_path / "state", KEY.verifier.name) as book:
        yield book


@pytest.fixture
def world():
    return World()


@pytest.fixture
def look(world, book):
    """`await look()` audits; what it waits for, and the codes with the indices that nobody acknowledged."""

    async def once(policies=(FIRST, SECOND), **more):
        return await looked(world, book, policies, **more)

    return once


# --- honest ---


def plain(world):
    world.policy()
    released(world)


def no_agreement_needed_for_a_refusal(world):
    world.policy()
    refusal = other(
        making(*AGREED).decision(), verdict="refuse", counted=(), evidence=None, anchor=None, created=None, key=None
    )
    world.tell(encode_entry(refusal))


def with_dissent_that_the_policy_allows(world):
    world.policy(LAX)
    released(world, *AGREED, ("carol", BAD), policy=LAX)


def with_dissent_that_was_withdrawn(world):
    world.policy()
    made = making(*AGREED, ("carol", BAD))
    world.receive(made.release, *AGREED, ("carol", BAD))
    made = replace(made, withdrawals=(world.withdraw(made.release, "carol", BAD),))
    world.sign(made, world.decide(made))


def takes_back(world, count):
    """Carol dissents *count* times and takes all of it back: what is weighed then, and the decision by an honest rule."""
    votes = (*AGREED, *(("carol", b"%d" % number) for number in range(count)))
    made = making(*votes)
    world.receive(made.release, *votes)
    return replace(
        made, withdrawals=tuple(world.withdraw(made.release, operator, said) for operator, said in votes[2:])
    )


def with_more_votes_withdrawn_than_a_decision_names(world):
    world.policy()
    made = takes_back(world, MAX_NOT_COUNTED + 2)
    assert len(made.decision().not_counted) == MAX_NOT_COUNTED
    world.sign(made, world.decide(made))


def with_a_vote_that_a_revoked_key_took_back(world):
    world.policy(DOUBTING)
    votes = (("alice", GOOD, "alice-2"), ("bob", GOOD), ("carol", GOOD))
    made = making(*votes, policy=DOUBTING)
    world.receive(made.release, *votes)
    made = replace(made, withdrawals=(world.withdraw(made.release, "alice", GOOD),))
    assert {vote.operator for vote in made.decision().counted} == {"bob", "carol"}
    world.sign(made, world.decide(made))


def with_a_vote_that_a_key_took_back_which_left_the_policy(world):
    world.policy(LAX)
    votes = (*AGREED, ("carol", GOOD))
    made = making(*votes, policy=LAX)
    world.receive(made.release, *votes)
    body = world.withdraw(made.release, "alice", GOOD, key="alice's former key")
    made = replace(made, withdrawals=(body,), taken_back=(("alice", payload_digest(made.release, GOOD)),))
    assert {vote.operator for vote in made.decision().counted} == {"bob", "carol"}
    world.sign(made, world.decide(made))


def with_a_failed_build(world):
    world.policy()
    released(world, *AGREED, ("carol", None))


def under_each_policy_in_its_time(world):
    world.policy()
    released(world)
    world.policy(SECOND)
    released(world, release=package("second"), policy=SECOND)


def decided_and_never_signed(world):
    world.policy()
    made = making(*AGREED)
    world.receive(made.release, *AGREED)
    world.decide(made)
    world.decide(made)


def decided_twice_and_signed_once(world):
    decided_and_never_signed(world)
    world.sign(making(*AGREED), 4)


def with_a_vote_between_decision_and_signature(world):
    world.policy()
    made = making(*AGREED)
    world.receive(made.release, *AGREED)
    index = world.decide(made)
    world.receive(made.release, ("carol", BAD))
    world.withdraw(made.release, "carol", BAD)
    world.sign(made, index)


def by_a_key_that_signs_beside_the_first(world):
    world.policy()
    released(world)
    made = making(*AGREED, key="p256")
    world.sign(made, world.decide(made))


def late_dissent(world):
    world.policy()
    released(world)
    world.receive(package(), ("carol", BAD))
    world.tell(
        encode_entry(
            LateDissentEntry(operator="carol", payload=payload_digest(package(), BAD).hex(), release=package().id)
        )
    )


@pytest.mark.parametrize(
    ("history_of", "policies", "notices"),
    [
        (plain, (FIRST,), []),
        (no_agreement_needed_for_a_refusal, (FIRST,), []),
        (with_dissent_that_the_policy_allows, (LAX,), []),
        (with_dissent_that_was_withdrawn, (FIRST,), []),
        (with_more_votes_withdrawn_than_a_decision_names, (FIRST,), []),
        (with_a_vote_that_a_revoked_key_took_back, (DOUBTING,), []),
        (with_a_vote_that_a_key_took_back_which_left_the_policy, (LAX,), []),
        (with_a_failed_build, (FIRST,), []),
        (under_each_policy_in_its_time, (FIRST, SECOND), []),
        (decided_and_never_signed, (FIRST,), []),
        (decided_twice_and_signed_once, (FIRST,), []),
        (with_a_vote_between_decision_and_signature, (FIRST,), []),
        (by_a_key_that_signs_beside_the_first, (FIRST,), []),
        (late_dissent, (FIRST,), [("late-dissent", 6)]),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
async def test_an_honest_log_is_clean(world, book, look, history_of, policies, notices):  # noqa: PLR0917 - fixtures and a row
    history_of(world)
    assert await look(policies) == (None, notices)
    assert all(finding.notice for finding in book.findings(100))
    assert book.judged() == world.log.size


async def test_what_a_former_signer_sealed_holds(world, look):
    world.policy()
    released(world)
    world.policy(THIRD, by="another")
    released(world, release=package("second"), policy=THIRD, by="another", sealed_by=seal("another"))
    assert await look((FIRST, THIRD)) == (None, [])


# --- lying ---


def no_votes(world):
    made = making(*AGREED, changed_decision=lambda entry: other(entry, counted=()))
    world.decide(made)


def too_few_votes(world):
    world.receive(package(), ("alice", GOOD))
    counted = (CountedVote(operator="alice", payload=payload_digest(package(), GOOD).hex()),)
    world.decide(making(*AGREED, changed_decision=lambda entry: other(entry, counted=counted)))


def one_vote_counted_for_two(world):
    world.receive(package(), ("alice", GOOD))
    world.receive(package(), ("bob", GOOD), log=False)
    body = vote(package(), GOOD, "alice")
    payload = payload_digest(package(), GOOD)
    world.envelopes[package().id, "bob", payload.hex()] = body
    entries = received_entries([("bob", payload, hashlib.sha256(body).digest(), package().id)])
    world.tell(*map(encode_entry, entries))
    world.decide(making(*AGREED))


def a_second_signature_on_a_vote_is_no_vote_that_was_logged(world):
    world.receive(package(), ("alice", GOOD, "alice", "bob"))
    counted = (CountedVote(operator="alice", payload=payload_digest(package(), GOOD).hex()),)
    world.decide(making(*AGREED, changed_decision=lambda entry: other(entry, counted=counted)))


def who_agrees_is_not_counted(world):
    votes = (*AGREED, ("carol", GOOD))
    world.receive(package(), *votes)
    world.decide(making(*votes, changed_decision=lambda entry: other(entry, counted=entry.counted[:2])))


def who_did_not_agree_is_counted(world):
    votes = (*AGREED, ("carol", None))
    world.receive(package(), *votes)
    strange = CountedVote(operator="carol", payload=payload_digest(package(), None).hex())
    world.decide(making(*votes, changed_decision=lambda entry: other(entry, counted=(*entry.counted, strange))))


def the_wrong_payload_is_counted(world):
    votes = (*AGREED, ("alice", None))
    world.receive(package(), *votes)
    strange = CountedVote(operator="alice", payload=payload_digest(package(), None).hex())
    world.decide(making(*votes, changed_decision=lambda entry: other(entry, counted=(strange, entry.counted[1]))))


def a_vote_that_was_never_received(world):
    world.receive(package(), ("alice", GOOD))
    world.receive(package(), ("bob", GOOD), log=False)
    world.decide(making(*AGREED))


def a_vote_that_was_received_later(world):
    world.receive(package(), ("alice", GOOD))
    world.decide(making(*AGREED))
    world.receive(package(), ("bob", GOOD))


def dissent_is_hidden(world):
    world.receive(package(), *AGREED, ("carol", BAD))
    world.decide(making(*AGREED))


def dissent_is_called_withdrawn(world):
    world.receive(package(), *AGREED, ("carol", BAD))
    said = UncountedVote(operator="carol", payload=payload_digest(package(), BAD).hex(), reason="withdrawn")
    world.decide(making(*AGREED, changed_decision=lambda entry: other(entry, not_counted=(said,))))


def others_than_the_first_withdrawn_are_named(world):
    made = takes_back(world, MAX_NOT_COUNTED + 2)
    last = made.dossier[0].votes[-1]
    strange = UncountedVote(operator=last.operator, payload=last.payload, reason="withdrawn")
    world.decide(
        replace(made, changed_decision=lambda entry: other(entry, not_counted=(*entry.not_counted[:-1], strange)))
    )


def as_many_as_may_be_named_hide_dissent(world):
    made = takes_back(world, MAX_NOT_COUNTED)
    world.receive(made.release, ("carol", BAD))
    world.decide(made)


def votes_that_nobody_cast_take_the_place_of_one_withdrawn(world):
    made = takes_back(world, 1)
    strange = tuple(
        UncountedVote(operator="alice", payload=f"{number:064x}", reason="key-unknown")
        for number in range(MAX_NOT_COUNTED)
    )
    world.decide(replace(made, changed_decision=lambda entry: other(entry, not_counted=strange)))


def fewer_are_named_than_were_withdrawn(world):
    made = takes_back(world, MAX_NOT_COUNTED + 2)
    world.decide(replace(made, changed_decision=lambda entry: other(entry, not_counted=entry.not_counted[:-1])))


def other_bytes_than_agreed(world):
    world.receive(package(), *AGREED)
    artifact = making(content=BAD).artifact()
    world.decide(making(*AGREED, changed_decision=lambda entry: other(entry, artifact=artifact)))


def another_size_than_agreed(world):
    world.receive(package(), *AGREED)
    changed = lambda entry: other(entry, artifact=other(entry.artifact, size=1))
    world.decide(making(*AGREED, changed_decision=changed))


def an_envelope_is_withheld(world):
    released(world)
    del world.envelopes[package().id, "bob", payload_digest(package(), GOOD).hex()]


def an_envelope_was_changed(world):
    released(world)
    world.envelopes[package().id, "bob", payload_digest(package(), GOOD).hex()] = vote(package(), GOOD, "bob", "alice")


def a_dissenting_envelope_is_withheld(world):
    votes = (*AGREED, ("carol", None))
    released(world, *votes)
    del world.envelopes[package().id, "carol", payload_digest(package(), None).hex()]


def another_tier(world):
    world.receive(package(), *AGREED)
    world.decide(making(*AGREED, changed_decision=lambda entry: other(entry, tier="others")))


def another_signing_key(world):
    world.receive(package(), *AGREED)
    world.decide(making(*AGREED, changed_decision=lambda entry: other(entry, signing_key="others")))


def another_id(world):
    world.receive(package("other"), *AGREED)
    world.decide(
        making(
            *AGREED, changed_decision=lambda entry: other(entry, release=other(entry.release, id=package("other").id))
        )
    )


def no_such_day(world):
    world.receive(package(), *AGREED)
    world.decide(making(*AGREED, changed_decision=lambda entry: other(entry, created="2026-02-30T12:00:00Z")))


def nobody_sealed_the_decision(world):
    world.receive(package(), *AGREED)
    world.decide(making(*AGREED), by=None)


def a_stranger_sealed_the_decision(world):
    world.receive(package(), *AGREED)
    world.decide(making(*AGREED), by="stranger")


def a_forged_decision_is_signed(world):
    nobody_sealed_the_decision(world)
    world.sign(making(*AGREED), 3)


def a_signature_without_decision(world):
    world.receive(package(), *AGREED)
    world.sign(making(*AGREED), 1)


def a_signature_before_its_decision(world):
    world.receive(package(), *AGREED)
    world.sign(making(*AGREED), 4)
    world.decide(making(*AGREED))


def a_signature_of_other_bytes(world):
    index = released(world)
    world.sign(making(*AGREED, changed_signed=lambda entry: other(entry, sha256="00" * 32)), index)


def two_digests_of_one_release(world):
    index = released(world)
    made = making(("alice", BAD), ("bob", BAD), content=BAD)
    world.receive(package(), ("alice", BAD), ("bob", BAD))
    world.sign(made, world.decide(made))
    assert index == 3


def two_signatures_by_one_key(world):
    released(world)
    made = making(*AGREED)
    world.sign(made, world.decide(made))


def a_policy_that_was_never_logged(world):
    world.receive(package(), *AGREED)
    world.decide(making(*AGREED, policy=SECOND))


def back_to_an_older_policy(world):
    world.policy(SECOND)
    world.policy(FIRST)


def under_the_older_policy(world):
    world.policy(SECOND)
    world.receive(package(), *AGREED)
    world.decide(making(*AGREED))


def two_policies_of_one_serial(world):
    world.tell(seal_entry(PolicyEntry(serial=7, digest=parse_policy(SECOND, "").digest, anchor=ANCHOR), seal()))


def no_entry_at_all(world):
    world.tell(b"{}")


def the_signature_is_another(world):
    released(world)
    world.spoilt = {"signature": b"another"}


def the_policy_is_another(world):
    released(world)
    world.spoilt = {"policy": SECOND}


def the_bundle_is_withheld(world):
    released(world)
    world.signed.clear()


def the_bundle_is_of_other_entries(world):
    released(world)
    made = making(*AGREED)
    world.signed.clear()
    world.sign(made, world.decide(made))


def the_evidence_leaves_out_a_vote(world):
    votes = (*AGREED, ("carol", None))
    world.receive(package(), *votes)
    made = making(*AGREED)
    world.sign(made, world.decide(made))


def the_evidence_leaves_out_a_withdrawal(world):
    world.receive(package(), *AGREED)
    world.withdraw(package(), "carol", BAD)
    made = making(*AGREED)
    world.sign(made, world.decide(made))


def what_was_taken_back_counts(world):
    votes = (*AGREED, ("carol", GOOD))
    world.receive(package(), *votes)
    body = world.withdraw(package(), "alice", GOOD, key="alice's former key")
    made = making(*votes, withdrawals=(body,))
    world.sign(made, world.decide(made))


@pytest.mark.parametrize(
    ("lie", "expected"),
    [
        (no_votes, [("decision-unsupported", 1)]),
        (too_few_votes, [("decision-unfounded", 2)]),
        (one_vote_counted_for_two, [("decision-unfounded", 3)]),
        (a_second_signature_on_a_vote_is_no_vote_that_was_logged, [("decision-unfounded", 2)]),
        (who_agrees_is_not_counted, [("decision-miscounted", 4)]),
        (who_did_not_agree_is_counted, [("decision-miscounted", 4)]),
        (the_wrong_payload_is_counted, [("decision-miscounted", 4)]),
        (a_vote_that_was_never_received, [("vote-not-received", 2)]),
        (a_vote_that_was_received_later, [("vote-not-received", 2)]),
        (dissent_is_hidden, [("decision-unfounded", 4)]),
        (others_than_the_first_withdrawn_are_named, [("decision-unfounded", 127)]),
        (as_many_as_may_be_named_hide_dissent, [("decision-unfounded", 124)]),
        (votes_that_nobody_cast_take_the_place_of_one_withdrawn, [("decision-unfounded", 5)]),
        (fewer_are_named_than_were_withdrawn, [("decision-unfounded", 127)]),
        (dissent_is_called_withdrawn, [("withdrawal-not-received", 4)]),
        (other_bytes_than_agreed, [("decision-unfounded", 3)]),
        (another_size_than_agreed, [("decision-unfounded", 3)]),
        (an_envelope_is_withheld, [("envelope-withheld", 3)]),
        (an_envelope_was_changed, [("envelope-differs", 3)]),
        (a_dissenting_envelope_is_withheld, [("envelope-withheld", 4)]),
        (another_tier, [("tier-differs", 3)]),
        (another_signing_key, [("tier-differs", 3)]),
        (another_id, [("release-differs", 3)]),
        (no_such_day, [("decision-undated", 3)]),
        (nobody_sealed_the_decision, [("seal-missing", 3)]),
        (a_stranger_sealed_the_decision, [("seal-unknown", 3)]),
        (a_forged_decision_is_signed, [("seal-missing", 3), ("decision-missing", 4)]),
        (a_signature_without_decision, [("decision-missing", 3)]),
        (a_signature_before_its_decision, [("decision-missing", 3)]),
        (a_signature_of_other_bytes, [("decision-differs", 5)]),
        (two_digests_of_one_release, [("decision-unfounded", 7), ("release-signed-twice", 8)]),
        (two_signatures_by_one_key, [("signature-twice", 6)]),
        (a_policy_that_was_never_logged, [("policy-unlogged", 3)]),
        (back_to_an_older_policy, [("policy-older", 2)]),
        (under_the_older_policy, [("policy-older", 4)]),
        (two_policies_of_one_serial, [("policy-forked", 1)]),
        (no_entry_at_all, [("entry-malformed", 1)]),
        (the_signature_is_another, [("bundle-signature", 4)]),
        (the_policy_is_another, [("bundle-policy", 4)]),
        (the_bundle_is_withheld, [("bundle-withheld", 4)]),
        (the_bundle_is_of_other_entries, [("bundle-other-entries", 4), ("signature-twice", 6)]),
        (the_evidence_leaves_out_a_vote, [("evidence-differs", 5)]),
        (the_evidence_leaves_out_a_withdrawal, [("evidence-differs", 5)]),
        (what_was_taken_back_counts, [("decision-unfounded", 5), ("evidence-differs", 6)]),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
async def test_a_lie_is_found_where_it_stands(world, book, look, lie, expected):
    world.policy()
    lie(world)
    assert await look() == (None, expected)
    assert not any(finding.notice for finding in book.findings(100))
    # What follows is judged all the same.
    world.spoilt = {}
    released(
        world,
        release=package("after"),
        policy=FIRST if lie not in {back_to_an_older_policy, under_the_older_policy} else SECOND,
    )
    assert (await look())[1] == expected
    assert book.judged() == world.log.size


# --- what it waits for ---


async def test_an_unknown_policy_is_waited_for_and_nothing_passes_unjudged(world, book, look):
    world.policy()
    released(world)
    world.policy(THIRD, by="another")
    world.receive(package("second"), ("alice", GOOD))
    world.decide(making(*AGREED, release=package("second"), policy=THIRD), by="another")

    waits, found = await look((FIRST,))
    assert (waits.code, waits.index, found, book.judged()) == ("policy-unknown", 5, [], 5)
    assert (await look((FIRST,)))[0] == waits
    assert await look((FIRST, THIRD)) == (None, [("vote-not-received", 7)])


async def test_a_policy_that_no_signer_sealed_holds_nobody_up(world, look):
    world.policy()
    world.tell(encode_entry(PolicyEntry(serial=99, digest="00" * 32, anchor=ANCHOR)))
    world.tell(seal_entry(PolicyEntry(serial=1, digest="00" * 32, anchor=ANCHOR), seal("stranger")))
    assert await look() == (None, [("seal-missing", 1), ("seal-unknown", 2)])


async def test_what_cannot_be_fetched_now_is_judged_later(world, book, look):
    plain(world)

    class Away:
        async def envelope(self, *_which):
            raise Unavailable("unreachable", "Nobody there.")

        bundle = envelope

    with pytest.raises(Unavailable):
        await look(served=Away())
    assert (book.judged(), book.count()) == (0, 0)
    assert await look() == (None, [])


async def test_a_bundle_that_the_service_cannot_make_is_found(world, look):
    plain(world)

    class Incomplete(World):
        async def bundle(self, _release, _digest):
            raise Unavailable("bundle-incomplete", "An envelope is gone.")

    served = Incomplete()
    served.envelopes = world.envelopes
    assert await look(served=served) == (None, [("bundle-withheld", 4)])


# --- another past ---


async def halted(look, book, code):
    with pytest.raises(Halted) as caught:
        await look()
    assert caught.value.code == code
    assert [finding.code for finding in book.findings(100)] == [code]
    return caught.value


async def test_a_log_that_went_back_halts_and_stays_found(world, book, look):
    plain(world)
    await look()
    world.log.stored = world.log.stored[:3]
    world.log.size = 3
    error = await halted(look, book, "log-rolled-back")
    assert error.sentence.count(f"{KEY.verifier.name}\n") == 2
    plain(world)
    with pytest.raises(Halted):
        await look()
    assert book.judged() == 5
    book.acknowledge()
    assert book.count() == 0


@pytest.mark.parametrize("grown", [0, 1, 300])
async def test_a_log_that_was_forked_halts(world, book, look, grown):
    plain(world)
    await look()
    world.log.stored[1] = world.log.stored[2]
    world.log.grow([received(number) for number in range(grown)])
    await halted(look, book, "log-forked")


async def test_a_log_that_went_back_is_known_even_where_nobody_came_to_judge_it(world, book, look):
    plain(world)

    class Away:
        async def envelope(self, *_which):
            raise Unavailable("unreachable", "Nobody there.")

    with pytest.raises(Unavailable):
        await look(served=Away())
    world.log.stored = world.log.stored[:3]
    world.log.size = 3
    await halted(look, book, "log-rolled-back")


async def test_entries_that_are_not_the_signed_ones_halt(world, book, look):
    plain(world)
    honest = MemoryLog(world.log.stored, KEY)
    world.log.stored[1] = world.log.stored[2]
    world.log.note = await honest.checkpoint()
    await halted(look, book, "tile-unproven")
    assert book.judged() == 0


async def test_an_old_entry_that_was_rewritten_since_is_found(world, book, look):
    world.tell(*(received(number) for number in range(AGAIN + 300)))
    await look()
    # Only its bytes: the hashes in the tiles are as they were.
    of_tile, changed = world.log.bytes_of, MemoryLog(world.log.stored, KEY)
    changed.stored[AGAIN + 260] = received(0)
    world.log.bytes_of = lambda tile: (of_tile if tile.level >= 0 else changed.bytes_of)(tile)
    assert await look() == (None, [])
    await halted(look, book, "log-rewritten")


@pytest.mark.parametrize(
    ("note", "code"),
    [
        (
            sign_checkpoint(Checkpoint(KEY.verifier.name, 5, bytes(32)), log_signer(ORIGIN)).replace(b"5", b"6", 1),
            "log-signature",
        ),
        (sign_checkpoint(Checkpoint(f"{ORIGIN}/other", 5, bytes(32)), log_signer(ORIGIN, "other")), "log-signature"),
        (sign_checkpoint(Checkpoint(KEY.verifier.name, 5, bytes(32)), KEY), "tile-unproven"),
        (sign_checkpoint(Checkpoint(KEY.verifier.name, 9, bytes(32)), KEY), "log-gap"),
    ],
    ids=["changed", "another log", "another root", "more than there is"],
)
async def test_a_checkpoint_that_is_not_the_logs_halts(world, book, look, note, code):
    plain(world)
    world.log.note = note
    await halted(look, book, code)


async def test_a_quorum_of_witnesses_is_waited_for(world, look):
    plain(world)
    needing = policy_file(operators=OPERATORS, quorum=1, witnesses={"one": "https://witness.example"})
    with pytest.raises(Unavailable, match="0 of 1 needed witnesses"):
        await look((needing,))


# --- going on ---


async def test_it_goes_on_where_it_was_stopped(world, book, look):
    world.policy()
    world.tell(*(received(number) for number in range(1000)))
    seen = []

    def stop(done, of):
        seen.append((done, of))
        if done >= 512:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        await look(progress=stop)
    assert (seen, book.judged()) == ([(0, 1001), (256, 1001), (512, 1001)], 512)
    world.log.asked.clear()
    seen.clear()
    assert await look(progress=lambda *done: seen.append(done)) == (None, [])
    assert seen == [(512, 1001), (768, 1001), (1001, 1001)]
    # The first two bundles once more, because an audit looks again at what it has judged.
    assert world.log.asked.count("tile/entries/002") == 1


async def test_nothing_is_fetched_for_what_was_judged(world, look):
    plain(world)
    await look()
    assert await look(served=object()) == (None, [])


async def test_few_are_fetched_at_the_same_time(world, look):
    world.policy()
    for number in range(40):
        made = making(*AGREED, release=package(f"p{number}"))
        world.receive(made.release, *AGREED)
        world.decide(made)
    assert await look() == (None, [])
    assert world.most == AT_ONCE


async def test_findings_stand_until_they_are_acknowledged(world, book, look):
    world.policy()
    nobody_sealed_the_decision(world)
    await look()
    assert await look() == (None, [("seal-missing", 3)])
    book.acknowledge()
    assert await look() == (None, [])


def test_a_book_is_of_one_log_and_of_one_process(tmp_path):
    with FileAuditBook.opened(tmp_path / "state", "one.example/log") as book:
        book.see(b"note")
        book.judge(3, [Finding(1, "a", "b"), Finding(0, "late-dissent", "c", notice=True), Finding(1, "a", "again")])
        with (
            pytest.raises(Conflict, match="Another audit"),
            FileAuditBook.opened(tmp_path / "state", "one.example/log"),
        ):
            pass
    with (
        pytest.raises(Rejected, match=r"one\.example/log"),
        FileAuditBook.opened(tmp_path / "state", "other.example/log"),
    ):
        pass
    with FileAuditBook.opened(tmp_path / "state", "one.example/log") as book:
        assert (book.note(), book.judged(), book.count()) == (b"note", 3, 2)
        assert book.findings(1) == (Finding(1, "a", "b"),)


def test_a_book_that_cannot_be_read_is_no_empty_one(tmp_path):
    with FileAuditBook.opened(tmp_path / "state", "one.example/log"):
        pass
    (tmp_path / "state/audit.sqlite3").write_bytes(b"something else" * 100)
    with pytest.raises(Rejected) as caught, FileAuditBook.opened(tmp_path / "state", "one.example/log"):
        pass
    assert caught.value.code == "audit-unreadable"


async def test_what_is_half_judged_is_judged_again(book):
    with suppress(ValueError), book.step():
        book.keep(0, b"raw", frozenset({"subject"}))
        book.judge(1, [Finding(0, "a", "b")])
        raise ValueError
    assert (book.judged(), book.count(), book.entry(0), book.about("subject", 9)) == (0, 0, None, [])
