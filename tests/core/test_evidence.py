"""The signer's reading of envelopes: nothing that a database says of them is believed."""

from datetime import UTC, datetime

import pytest

from attestor.core.evidence import read_evidence
from tests.service.makers import deb, make_policy, package, payload_digest, vote, withdrawal

NOW = datetime(2026, 6, 1, tzinfo=UTC)
GOOD = b"the package"
POLICY = make_policy()


def read(*envelopes, withdrawals=(), policy=POLICY):
    return read_evidence(package(), [("whoever", raw, NOW) for raw in envelopes], withdrawals, policy)


def operators(reading):
    return sorted(claim.operator for claim in reading.claims)


def test_the_operator_is_who_signed_and_not_who_the_database_names():
    assert operators(read(vote(package(), GOOD, "alice"))) == ["alice"]


def test_one_payload_in_many_rows_and_wrappings_is_one_claim_of_an_operator():
    rows = [vote(package(), GOOD, "alice"), vote(package(), GOOD, "alice"), vote(package(), GOOD, "alice-2")]
    assert operators(read(*rows)) == ["alice"]


SAYS_NOTHING = {
    "an unknown key's envelope": vote(package(), GOOD, "mallory"),
    "an envelope about another release": vote(deb(), GOOD, "alice"),
    "a withdrawal in place of an attestation": withdrawal(package(), payload_digest(package(), GOOD), "alice"),
    "a broken envelope": vote(package(), GOOD, "alice")[:-5],
    "an empty row": b"",
    "an envelope with a byte of its payload changed": vote(package(), GOOD, "alice").replace(
        b'"payload":"ey', b'"payload":"eX'
    ),
}


@pytest.mark.parametrize("case", SAYS_NOTHING)
def test_no_claim_comes_from(case):
    assert read(SAYS_NOTHING[case]).claims == ()


def test_a_key_that_the_signers_policy_revoked_says_nothing():
    assert read(vote(package(), GOOD, "alice"), policy=make_policy(revoked=["alice"])).claims == ()


def test_a_withdrawal_takes_back_what_its_signer_stated():
    taken = payload_digest(package(), GOOD)
    assert read(withdrawals=[withdrawal(package(), taken, "alice-2")]).withdrawn == {("alice", taken)}


def test_what_a_revoked_key_took_back_is_in_doubt_until_one_that_counts_did_too():
    taken, policy = payload_digest(package(), GOOD), make_policy(revoked=["alice-2"])
    first, second = (withdrawal(package(), taken, key) for key in ("alice-2", "alice"))
    of_thief, of_both = (read(withdrawals=said, policy=policy) for said in ([first], [second, first]))
    pair = {("alice", taken)}
    assert (of_thief.withdrawn, of_thief.doubted, of_thief.unverified(pair)) == (frozenset(), pair, frozenset())
    assert (of_both.withdrawn, of_both.doubted, of_both.unverified(pair)) == (pair, frozenset(), frozenset())


TAKES_NOTHING = {
    "for another release": withdrawal(package("other"), payload_digest(package(), GOOD), "alice"),
    "for another instance": withdrawal(package(), payload_digest(package(), GOOD), "alice", origin="elsewhere"),
    "by an unknown key": withdrawal(package(), payload_digest(package(), GOOD), "mallory"),
    "that is an attestation": vote(package(), GOOD, "alice"),
    "that is nothing": b"{}",
}


@pytest.mark.parametrize("case", TAKES_NOTHING)
def test_nothing_is_taken_back_by_a_withdrawal(case):
    assert read(withdrawals=[TAKES_NOTHING[case]]).withdrawn == frozenset()
