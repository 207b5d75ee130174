"""Admission over the real database: what is kept, what is answered, and what leaves no trace."""

import asyncio

import pytest

from attestor.core.errors import Exhausted, Forbidden, Missing, Rejected
from attestor.core.wire import Receipt
from tests.service.makers import (
    BUILDER,
    asking,
    iso,
    lines_of,
    make_policy,
    package,
    payload_digest,
    vote,
    withdrawal,
)

GOOD, OTHER = b"the package", b"another package"


def line(receipt):
    [only] = receipt.releases
    return only.decision


async def test_a_receipt_names_the_payload_and_says_how_many_are_missing(gate):
    receipt = await gate.admit(vote(package(), GOOD, "alice"))
    assert (receipt.payload_digest, receipt.replay) == (payload_digest(package(), GOOD).hex(), False)
    assert (line(receipt).state, line(receipt).missing, line(receipt).agreeing) == ("pending", 1, ("alice",))
    assert line(await gate.admit(vote(package(), GOOD, "bob"))).state == "reached"


async def test_the_same_envelope_again_is_a_replay_that_changes_no_row(gate, ground):
    await gate.admit(vote(package(), GOOD, "alice"))
    before = await ground.rows()
    receipt = await gate.admit(vote(package(), GOOD, "alice"))
    assert receipt.replay
    assert line(receipt).agreeing == ("alice",)
    assert await ground.rows() == before


async def test_another_wrapping_by_another_key_of_the_operator_keeps_the_first_envelope(gate):
    first = vote(package(), GOOD, "alice")
    await gate.admit(first)
    assert (await gate.admit(vote(package(), GOOD, "alice-2"))).replay
    assert await gate.envelope(package().id, payload_digest(package(), GOOD).hex(), "alice") == first


async def test_nothing_is_revived_after_a_withdrawal_by_another_wrapping(gate):
    await gate.admit(vote(package(), GOOD, "alice"))
    await gate.admit(withdrawal(package(), payload_digest(package(), GOOD), "alice"))
    receipt = await gate.admit(vote(package(), GOOD, "alice-2"))
    assert receipt.replay
    assert line(receipt).agreeing == ()


async def test_nothing_is_revived_after_a_revocation_by_another_wrapping(gate, ground):
    await gate.admit(vote(package(), GOOD, "alice"))
    later = await ground.gate(make_policy(serial=2, revoked=["alice"]))
    receipt = await later.admit(vote(package(), GOOD, "alice-2"))
    assert receipt.replay
    assert line(receipt).agreeing == ()


async def test_one_payload_countersigned_by_two_operators_is_two_votes(gate, ground):
    receipt = await gate.admit(vote(package(), GOOD, "alice", "bob"))
    assert (line(receipt).state, line(receipt).agreeing) == ("reached", ("alice", "bob"))
    assert (await ground.rows())["claims"] == 2


async def test_two_keys_of_one_operator_are_one_vote(gate, ground):
    receipt = await gate.admit(vote(package(), GOOD, "alice", "alice-2"))
    assert (line(receipt).state, line(receipt).agreeing) == ("pending", ("alice",))
    assert (await ground.rows())["claims"] == 1


async def test_a_countersignature_that_comes_later_adds_only_the_new_operator(gate, ground):
    await gate.admit(vote(package(), GOOD, "alice"))
    receipt = await gate.admit(vote(package(), GOOD, "alice", "bob"))
    assert (receipt.replay, line(receipt).agreeing) == (False, ("alice", "bob"))
    assert (await ground.rows())["claims"] == 2


async def test_an_old_envelope_sent_again_by_a_stranger_changes_nothing(gate, ground):
    old = vote(package(), OTHER, "alice")
    await gate.admit(old)
    await gate.admit(withdrawal(package(), payload_digest(package(), OTHER), "alice"))
    await gate.admit(vote(package(), GOOD, "alice", log=b"again"))
    before, decided = await ground.rows(), (await gate.release(package().id)).decision
    assert (await gate.admit(old)).replay
    assert await ground.rows() == before
    assert (await gate.release(package().id)).decision == decided


async def test_the_ninth_payload_of_an_operator_on_a_release_is_refused_and_others_go_on(gate, ground):
    for number in range(8):
        await gate.admit(vote(package(), GOOD, "alice", log=b"%d" % number))
    before = await ground.rows()
    with pytest.raises(Exhausted) as refused:
        await gate.admit(vote(package(), GOOD, "alice", log=b"ninth"))
    assert refused.value.code == "too-many-payloads"
    assert await ground.rows() == before
    assert line(await gate.admit(vote(package(), GOOD, "bob"))).state == "reached"


async def test_the_ninth_payload_is_refused_within_one_transaction_too(gate, ground):
    raw = [vote(package(), GOOD, "alice", log=b"%d" % number) for number in range(10)]
    answers = [answer async for answer in gate.admit_batch(lines_of(*raw))]
    assert [isinstance(answer, Receipt) for answer in answers] == [True] * 8 + [False] * 2
    assert (await ground.rows())["claims"] == 8


async def test_the_same_payload_twice_at_once_is_kept_once(gate, ground):
    raw = vote(package(), GOOD, "alice")
    receipts = await asyncio.gather(*[gate.admit(raw) for _ in range(20)])
    assert sorted(receipt.replay for receipt in receipts) == [False] + [True] * 19
    assert (await ground.rows())["claims"] == 1


async def test_hundreds_that_arrive_together_share_few_transactions_and_none_is_lost(gate, ground):
    releases = [package(f"name{number}") for number in range(100)]
    raw = [vote(release, GOOD, name) for release in releases for name in ("alice", "bob", "carol")]
    before = await ground.sql("SELECT pg_current_xact_id()::text::bigint AS x")
    receipts = await asyncio.gather(*[gate.admit(each) for each in raw])
    after = await ground.sql("SELECT pg_current_xact_id()::text::bigint AS x")
    assert len(receipts) == 300
    assert after[0]["x"] - before[0]["x"] < 20
    assert (await ground.rows())["claims"] == 300
    for release in releases:
        assert (await gate.release(release.id)).decision.agreeing == ("alice", "bob", "carol")


async def test_submissions_one_by_one_are_all_answered(gate):
    """A worker that has just ended must not be taken for one that will take what arrives now."""

    async def many(name):
        for number in range(50):
            await gate.admit(vote(package(f"{name}{number}"), GOOD, name))

    async with asyncio.timeout(30):
        await asyncio.gather(*[many(name) for name in ("alice", "bob", "carol")])
        await gate.drain()


async def test_a_batch_is_answered_in_order_with_bad_lines_in_between(gate, ground):
    good = [vote(package(f"name{number}"), GOOD, "alice") for number in range(300)]
    raw = []
    for number, each in enumerate(good):
        raw.append(each)
        if number % 7 == 0:
            raw.append(b"{" if number % 2 else vote(package(f"name{number}"), GOOD, "mallory"))
    answers = [answer async for answer in gate.admit_batch(lines_of(*raw))]
    codes = [answer.releases[0].file_name if isinstance(answer, Receipt) else answer.code for answer in answers]
    expected = []
    for number in range(300):
        expected.append(f"name{number}-1-1-any.pkg.tar.zst")
        if number % 7 == 0:
            expected.append("not-json" if number % 2 else "unknown-key")
    assert codes == expected
    assert (await ground.rows())["claims"] == 300


async def test_an_operator_that_equivocates_votes_for_nothing_until_it_takes_one_back(ground):
    gate = await ground.gate(make_policy(dissent_limit=1))
    await gate.admit(vote(package(), GOOD, "alice"))
    await gate.admit(vote(package(), GOOD, "bob"))
    torn = line(await gate.admit(vote(package(), OTHER, "alice")))
    assert (torn.state, torn.agreeing, torn.equivocating) == ("pending", ("bob",), ("alice",))
    healed = line(await gate.admit(withdrawal(package(), payload_digest(package(), OTHER), "alice-2")))
    assert (healed.state, healed.agreeing, healed.equivocating) == ("reached", ("alice", "bob"), ())
    assert len({v.payload_digest for v in (await gate.release(package().id)).votes}) == 2


async def test_a_withdrawal_again_is_a_replay(gate, ground):
    await gate.admit(vote(package(), GOOD, "alice"))
    raw = withdrawal(package(), payload_digest(package(), GOOD), "alice")
    assert not (await gate.admit(raw)).replay
    before = await ground.rows()
    assert (await gate.admit(raw)).replay
    assert await ground.rows() == before


async def test_a_withdrawal_by_an_operator_and_one_that_stated_nothing_leaves_every_vote(gate, ground):
    await gate.admit(vote(package(), GOOD, "alice"))
    both = withdrawal(package(), payload_digest(package(), GOOD), "alice", "bob")
    refused, receipt = [a async for a in gate.admit_batch(lines_of(both, vote(package(), GOOD, "carol")))]
    assert refused.code == "payload-unknown"
    assert line(receipt).agreeing == ("alice", "carol")
    assert (await ground.rows())["withdrawals"] == 0


async def test_a_withdrawal_takes_a_payload_back_from_its_own_release_only(gate, ground):
    """A payload may name many releases (provenance); its withdrawal names one, for the API as for the signer."""
    digest = payload_digest(package(), GOOD)
    await gate.admit(vote(package(), GOOD, "alice"))
    await gate.admit(vote(package("other"), GOOD, "bob"))
    await ground.sql(
        """INSERT INTO claims SELECT $1, operator, payload_digest, form, keys, outcome, sha256, sha512, size, received_at
           FROM claims WHERE operator = 'alice'""",
        bytes.fromhex(package("other").id),
    )
    await gate.admit(withdrawal(package(), digest, "alice"))
    assert (await gate.release(package().id)).decision.agreeing == ()
    assert (await gate.release(package("other").id)).decision.agreeing == ("alice", "bob")
    assert not (await gate.admit(withdrawal(package("other"), digest, "alice"))).replay
    assert (await gate.release(package("other").id)).decision.agreeing == ("bob",)


REFUSED = {
    "a withdrawal for another instance": (
        withdrawal(package(), payload_digest(package(), GOOD), "alice", origin="elsewhere.example.org"),
        Rejected,
        "other-origin",
    ),
    "a withdrawal of a payload that nobody stated": (
        withdrawal(package(), payload_digest(package(), OTHER), "alice"),
        Missing,
        "payload-unknown",
    ),
    "a withdrawal of another operator's payload": (
        withdrawal(package(), payload_digest(package(), GOOD), "bob"),
        Missing,
        "payload-unknown",
    ),
    "a withdrawal for a release that nobody attested": (
        withdrawal(package("unknown"), payload_digest(package(), GOOD), "alice"),
        Missing,
        "release-unknown",
    ),
    "a vote by an unknown key": (vote(package(), GOOD, "mallory"), Forbidden, "unknown-key"),
    "a vote on a release that no tier governs": (vote(iso(), GOOD, "alice"), Missing, "no-tier"),
    "something that is no envelope": (b"[]", Rejected, "unknown-format"),
    "nothing at all": (b"", Rejected, "not-json"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_after_a_refusal_nothing_is_kept(ground, case):
    gate = await ground.gate(make_policy(without=["isos"]))
    await gate.admit(vote(package(), GOOD, "alice"))
    before = await ground.rows()
    raw, error, code = REFUSED[case]
    with pytest.raises(error) as refused:
        await gate.admit(raw)
    assert refused.value.code == code
    assert await ground.rows() == before


async def test_a_vote_by_a_revoked_key_is_refused_and_not_kept(ground):
    gate = await ground.gate(make_policy(revoked=["alice"]))
    before = await ground.rows()
    with pytest.raises(Forbidden) as refused:
        await gate.admit(vote(package(), GOOD, "alice"))
    assert refused.value.code == "key-revoked"
    assert await ground.rows() == before


async def test_a_withdrawal_by_a_revoked_key_takes_nothing_back(gate, ground):
    await gate.admit(vote(package(), GOOD, "alice"))
    later = await ground.gate(make_policy(serial=2, revoked=["alice-2"]))
    with pytest.raises(Forbidden) as refused:
        await later.admit(withdrawal(package(), payload_digest(package(), GOOD), "alice-2"))
    assert refused.value.code == "key-revoked"
    assert (await ground.rows())["withdrawals"] == 0


async def test_a_database_error_for_one_envelope_fails_only_that_one(gate, ground):
    await ground.sql(
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF (SELECT purl FROM releases WHERE id = new.release_id) LIKE '%/cursed@%' THEN
               RAISE EXCEPTION 'cursed' USING ERRCODE = 'check_violation'; END IF; RETURN new; END $$"""
    )
    await ground.sql("CREATE TRIGGER cursed BEFORE INSERT ON claims FOR EACH ROW EXECUTE FUNCTION refuse()")
    ground.stack.push_async_callback(ground.sql, "DROP FUNCTION refuse CASCADE")
    releases = [package("one"), package("cursed"), package("three")]
    answers = await asyncio.gather(*[gate.admit(vote(r, GOOD, "alice")) for r in releases], return_exceptions=True)
    assert [getattr(answer, "code", "kept") for answer in answers] == ["kept", "database-refused", "kept"]
    assert (await ground.rows())["claims"] == 2


async def test_a_lost_hint_after_the_commit_does_not_turn_the_answer_into_an_error(gate, ground):
    await gate.admit(vote(package(), GOOD, "alice"))
    await ground.sql("REVOKE EXECUTE ON FUNCTION pg_notify(text, text) FROM PUBLIC")
    ground.stack.push_async_callback(ground.sql, "GRANT EXECUTE ON FUNCTION pg_notify(text, text) TO PUBLIC")
    receipt = await gate.admit(vote(package(), GOOD, "bob"))
    assert (receipt.replay, line(receipt).state) == (False, "reached")


async def test_dissent_sends_a_queued_request_back_and_its_withdrawal_queues_it_again(gate):
    await gate.admit(vote(package(), GOOD, "alice"))
    await gate.admit(vote(package(), GOOD, "bob"))
    opened, _ = await gate.ask(BUILDER, asking(package(), GOOD))
    assert opened.state == "queued"
    await gate.admit(vote(package(), OTHER, "carol"))
    shown = await gate.request(BUILDER, opened.id)
    assert (shown.state, shown.reason) == ("waiting", "disputed")
    await gate.admit(withdrawal(package(), payload_digest(package(), OTHER), "carol"))
    assert (await gate.request(BUILDER, opened.id)).state == "queued"


async def test_equivocation_that_takes_agreement_away_sends_a_queued_request_back(ground):
    gate = await ground.gate(make_policy(dissent_limit=1))
    await gate.admit(vote(package(), GOOD, "alice", "bob"))
    opened, _ = await gate.ask(BUILDER, asking(package(), GOOD))
    await gate.admit(vote(package(), OTHER, "alice"))
    shown = await gate.request(BUILDER, opened.id)
    assert (shown.state, shown.reason) == ("waiting", "not-reached")


async def test_the_vote_that_reaches_agreement_queues_the_request_in_its_own_transaction(gate, ground):
    opened, _ = await gate.ask(BUILDER, asking(package(), GOOD))
    assert (opened.state, opened.reason) == ("waiting", "no-claims")
    await gate.admit(vote(package(), GOOD, "alice"))
    shown = await gate.request(BUILDER, opened.id)
    assert (shown.state, shown.reason) == ("waiting", "not-reached")
    await gate.admit(vote(package(), GOOD, "bob"))
    assert (await gate.request(BUILDER, opened.id)).state == "queued"
    [same] = await ground.sql(
        """SELECT q.xmin = d.xmin AND d.xmin = c.xmin AS same FROM signing_requests q JOIN decisions d USING (release_id)
           JOIN claims c USING (release_id) WHERE c.operator = 'bob'"""
    )
    assert same["same"]


async def test_a_request_for_other_bytes_than_agreed_waits_and_says_so(gate):
    await gate.admit(vote(package(), GOOD, "alice", "bob"))
    opened, _ = await gate.ask(BUILDER, asking(package(), OTHER))
    assert (opened.state, opened.reason) == ("waiting", "other-digest-reached")


async def test_a_failed_build_is_evidence_and_no_vote(gate):
    await gate.admit(vote(package(), GOOD, "alice", "bob"))
    decided = line(await gate.admit(vote(package(), None, "carol")))
    assert (decided.state, decided.failed) == ("reached", ("carol",))
