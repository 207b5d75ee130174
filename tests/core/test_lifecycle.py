"""The life of a signing request: exactly the documented steps, and a conflict for anything else."""

import itertools

import pytest

from attestor.core.errors import Conflict
from attestor.core.lifecycle import LIVE, TRANSITIONS, Event, State, moved

# From design §6 and ops/decisions/0006; one line is one step.
DOCUMENTED = {
    "waiting reached queued",
    "waiting claim claimed",
    "waiting refuse refused",
    "waiting withdraw withdrawn",
    "queued lost waiting",
    "queued claim claimed",
    "queued refuse refused",
    "queued set-aside aside",
    "queued withdraw withdrawn",
    "claimed yield queued",
    "claimed lost waiting",
    "claimed sign signed",
    "claimed refuse refused",
    "claimed set-aside aside",
    "aside retry queued",
}


def test_the_table_is_exactly_the_documented_one():
    assert {f"{state} {event} {after}" for (state, event), after in TRANSITIONS.items()} == DOCUMENTED


@pytest.mark.parametrize("line", sorted(DOCUMENTED))
def test_a_documented_step_is_taken(line):
    state, event, after = line.split()
    assert moved(State(state), Event(event)) is State(after)


@pytest.mark.parametrize(
    ("state", "event"),
    [
        pair
        for pair in itertools.product(State, Event)
        if not any(line.startswith(" ".join(pair) + " ") for line in DOCUMENTED)
    ],
)
def test_anything_else_is_a_conflict(state, event):
    with pytest.raises(Conflict) as refused:
        moved(state, event)
    assert refused.value.code == "request-state"
    assert f"{state} cannot take the step '{event}'" in refused.value.sentence


def test_only_a_claimed_request_is_ever_signed():
    assert [step for step, after in TRANSITIONS.items() if after is State.SIGNED] == [(State.CLAIMED, Event.SIGN)]


@pytest.mark.parametrize("state", [State.SIGNED, State.REFUSED, State.WITHDRAWN])
def test_an_end_is_final(state):
    assert not [event for known, event in TRANSITIONS if known is state]


def test_asking_again_joins_whatever_can_still_move():
    assert {state for state, _ in TRANSITIONS} == LIVE


@pytest.mark.parametrize("state", sorted(LIVE))
def test_every_live_state_can_still_end_signed(state):
    reachable, seen = {state}, set()
    while reachable:
        at = reachable.pop()
        seen.add(at)
        reachable |= {after for (known, _), after in TRANSITIONS.items() if known is at} - seen
    assert State.SIGNED in seen
