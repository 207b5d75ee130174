"""Decisions as they are shown: a stable code, a sentence that says it all, and how long it may be shown."""

from datetime import UTC, datetime

import pytest

from attestor.core.views import FOREVER, decision_view, holds_until, ungoverned_view, vote_view
from tests.core.test_authorisation import GOOD, NOW, OTHER, POLICY, TIER, claim, decided, sha256
from tests.service.makers import make_policy

SHOWN = {
    "nobody": ((), "pending", "not-reached", "0 of 2 needed operators agree; 2 more must attest the same bytes."),
    "one": (("alice",), "pending", "not-reached", "1 of 2 needed operators agree; 1 more must attest the same bytes."),
    "two": (("alice", "bob"), "reached", "reached", "2 of 2 needed operators agree on these bytes: alice, bob."),
}


@pytest.mark.parametrize("case", SHOWN)
def test_a_decision_with_votes_of(case):
    voters, state, reason, sentence = SHOWN[case]
    view = decision_view(decided(*map(claim, voters)), TIER, POLICY)
    assert (view.state, view.reason, view.sentence) == (state, reason, sentence)
    assert (view.agreeing, view.policy_digest) == (voters, POLICY.digest)


def test_a_disputed_one_names_who_dissents():
    view = decision_view(decided(claim("alice"), claim("bob"), claim("carol", OTHER)), TIER, POLICY)
    assert (view.state, view.dissenting) == ("disputed", ("carol",))
    assert "carol" in view.sentence


def test_a_reached_one_shows_no_sha512_that_too_few_state():
    view = decision_view(decided(claim("alice"), claim("bob", sha512=None)), TIER, POLICY)
    assert (view.sha256, view.sha512, view.size) == (sha256(GOOD).hex(), None, len(GOOD))


def test_one_without_a_tier_says_so_and_counts_nobody():
    view = ungoverned_view("No tier.", POLICY)
    assert (view.state, view.reason, view.sentence, view.agreeing) == ("pending", "no-tier", "No tier.", ())


def test_an_evaluation_holds_until_the_next_key_begins_or_ends():
    ends = datetime(2026, 7, 1, tzinfo=UTC)
    policy = make_policy(valid_until={"bob": "2026-07-01T00:00:00Z"})
    assert holds_until(policy, [claim("alice"), claim("bob")], NOW) == ends
    assert holds_until(policy, [claim("bob")], ends) == FOREVER
    assert holds_until(policy, [], NOW) == FOREVER


def test_a_vote_shows_why_it_does_not_count():
    suspended = make_policy(suspended=["bob"])
    tally = decided(claim("alice"), claim("bob"), policy=suspended).tally
    assert (vote_view(claim("alice"), tally.uncounted).counted, vote_view(claim("bob"), tally.uncounted).reason) == (
        True,
        "operator-suspended",
    )
