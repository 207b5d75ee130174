"""P10: whatever holds a request back says what would have to change, also where nobody may approve anything."""

import pytest

from tests.core.test_obstacles import LIFTED, NEVER_LIFTED

CHANGE = {
    "other-digest-signed": "Give changed bytes a version of their own.",
    "disputed": "It ends when they take it back, or the policy suspends them or revokes the key.",
    "version-not-newer": "only a newer one is signed.",
    "quota-used": "the next period opens at 2026-",
    "packages-went-back": "One that lists them, none older than there, is signed.",
    "predecessor-missing": "bring it back from a backup.",
    "requester-not-allowed": "the policy would have to list it there.",
    "hash-state-not-allowed": "ask by upload or pull.",
    "no-claims": "2 operators must agree.",
    "not-reached": "1 of 2 needed operators agree; 1 more must attest the same bytes.",
    "other-digest-reached": "Ask for those bytes;",
    "sha512-not-agreed": "have them state both, or ask by upload or pull.",
    "content-missing": "upload them.",
    "content-differs": "Ask anew once the agreed ones are there.",
    "version-unordered": "name the artifact by another version.",
}
SITUATIONS = {code: situation for code, (*_, situation) in (LIFTED | NEVER_LIFTED).items()}


def test_each_obstacle_stands_here():
    assert CHANGE.keys() == SITUATIONS.keys()


@pytest.mark.parametrize(("code", "change"), CHANGE.items(), ids=CHANGE)
def test_its_sentence_says_what_would_have_to_change(code, change):
    answer = SITUATIONS[code].but(rules=None).judged()
    assert (answer.reason, change in answer.sentence) == (code, True), answer.sentence


def test_a_required_operator_that_is_missing_is_named():
    answer = SITUATIONS["not-reached"].but(
        claims=LIFTED["quota-used"][2].claims, tier={"required": frozenset({"carol"})}
    )
    assert "2 of 2 needed operators agree, and the tier requires carol among them." in answer.judged().sentence
