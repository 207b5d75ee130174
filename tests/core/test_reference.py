"""No policy and no history leads to a signature that a naive evaluator, written from the design alone, would refuse (issue 4).

The real path (attestor/service/case.py over the fold of attestor/anchor) is driven step by step in tests/reference/world.py; the
evaluator (tests/reference/evaluator.py) is asked at each look of a signer: before the decision entry, and before the HSM.
``ATTESTOR_REFERENCE_EXAMPLES`` sets how many histories are tried, drawn anew each time, and made small where one breaks the law.
"""

import os
import subprocess
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.reference import evaluator as plain
from tests.reference.histories import LIFTS, History
from tests.reference.policies import RELEASES, some_policy
from tests.reference.tongues import ACTIONS, alpm, plain_release
from tests.reference.world import World

EXAMPLES = os.environ.get("ATTESTOR_REFERENCE_EXAMPLES")
STEPS = 16
# No rule of a tier: a clock that stepped back behind the decision; a decision that the log holds already, or that has to be made anew.
_OF_THE_PATH = {"signing-time", "decided-already", "decision-void", "policy-changed"}


class Tally:
    """Every look must be one that the reference agrees with; and what all of them were."""

    def __init__(self):
        self.seen = Counter()

    def looked(self, history, asked, look):
        world = history.world
        if look.step == "judge":
            why = plain.why_not(world.events, asked.plain, world.now)
        else:
            why = plain.why_not_now(world.events, asked.place, asked.plain, world.now)
        told = "\n".join(history.told)
        if look.allowed:
            assert not why, f"{look.step} allows what the reference refuses for {sorted(why)}, after:\n{told}"
            self.seen[look.step] += 1
            if look.step == "call":
                self.seen.update(_spent(world, asked))
        else:
            assert why or look.reason in _OF_THE_PATH, (
                f"{look.step}: {look.reason}, and the reference has no reason, after:\n{told}"
            )
            self.seen[look.reason] += 1


def _spent(world, asked):
    documents = world.events[asked.place].documents
    return {
        f"spent {event.action}"
        for event in world.events
        if isinstance(event, plain.Approved) and event.document in documents
    }


def test_no_history_leads_to_a_signature_that_the_reference_refuses():
    """And nothing is refused without a reason of the reference's; every obstacle and every exception was met."""
    tally = Tally()

    @settings(
        max_examples=int(EXAMPLES or 400),
        derandomize=EXAMPLES is None,
        database=None,
        # Seeded generators spread better than what can be made small, which takes minutes.
        phases=[Phase.generate] if EXAMPLES is None else list(Phase),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=EXAMPLES is None))
    def histories(random):
        History(lambda options: random.choice(list(options)), tally.looked).go(STEPS)

    histories()
    met = {"judge", "call", "signed-already", *LIFTS, *(f"spent {action}" for action in ACTIONS)}
    assert {each for each in met if not tally.seen[each]} == set(), tally.seen


# ------------------------------------------------------------------------------------------------ the evaluator itself

FOO = alpm("foo", "1-1", "x86_64")


def plainly(operators=1, **rules):
    """A world of one tier over packages, n of n, with *rules*."""
    policy = some_policy(lambda options: next(iter(options)))
    names = ("alice", "bob", "carol")[:operators]
    keys = tuple(replace(policy.keys[0], name=name, owner=name) for name in (*names, f"{names[0]}-2"))
    keys = tuple(replace(key, owner=key.name.partition("-")[0]) for key in keys)
    tier = replace(
        policy.tiers[0],
        operators=frozenset(names),
        n=operators,
        dissent_limit=0,
        required=frozenset(),
        order="alpm",
        quota=None,
        approvals={},
    )
    return World(replace(policy, keys=keys, tiers=(replace(tier, **rules),)))


def agreed(world, release=FOO, label="A"):
    for key in world.policy.keys:
        if key.name == key.owner:
            world.vote(key, release, label)
    return world.ask(release, label, "builder")


def brought(world, asked):
    """What the real path says; where it signs, that is kept."""
    look = world.judge(asked)
    world.append(asked)
    if look.allowed:
        look = world.call(asked)
        if look.allowed:
            world.keep_signature(asked)
    return look


def both(world, asked):
    """Whether the real path, and the reference, would let it be signed now."""
    why = plain.why_not(world.events, asked.plain, world.now)
    return world.judge(asked).allowed, sorted(why)


def test_what_is_plainly_right_is_signed_and_allowed():
    world = plainly(operators=3)
    asked = agreed(world)
    assert both(world, asked) == (True, [])
    assert brought(world, asked).allowed
    assert both(world, asked) == (False, ["signed-already"])


@pytest.mark.parametrize(
    ("first", "then", "reasons"),
    [
        pytest.param(("2-1", "x86_64"), ("1-1", "x86_64"), ["downgrade"], id="older"),
        pytest.param(("2-1", "any"), ("1-1", "x86_64"), ["downgrade"], id="older than one for any machine"),
        pytest.param(("2-1", "any"), ("2-1", "x86_64"), ["downgrade"], id="no newer"),
        pytest.param(("2-1", "aarch64"), ("1-1", "x86_64"), [], id="of another machine"),
        pytest.param(("9-1", "x86_64"), ("1:1-1", "x86_64"), [], id="of a newer epoch"),
    ],
)
def test_versions_rise(first, then, reasons):
    world = plainly()
    assert brought(world, agreed(world, alpm("foo", *first))).allowed
    assert both(world, agreed(world, alpm("foo", *then))) == (not reasons, reasons)


@pytest.mark.parametrize(
    ("period", "later", "open_again"),
    [
        pytest.param("day", timedelta(hours=3), False, id="the same day"),
        pytest.param("day", timedelta(hours=4), True, id="midnight"),
        pytest.param("week", timedelta(days=2, hours=3), False, id="Sunday"),
        pytest.param("week", timedelta(days=2, hours=4), True, id="Monday"),
        pytest.param("month", timedelta(days=3, hours=3), False, id="the month's last hour"),
        pytest.param("month", timedelta(days=3, hours=4), True, id="the month after"),
        pytest.param("year", timedelta(days=34, hours=3), False, id="the year's last hour"),
        pytest.param("year", timedelta(days=34, hours=4), True, id="the year after"),
        pytest.param("month", timedelta(days=-40), False, id="a clock that stepped back"),
    ],
)
def test_quotas_open_with_the_calendar(period, later, open_again):
    """It is the evening of a Friday, 27 November 2026, 20:00 UTC."""
    world = plainly(quota=(1, period))
    assert brought(world, agreed(world)).allowed
    other = agreed(world, alpm("bar", "1-1", "x86_64"))
    assert both(world, other) == (False, ["quota"])
    world.now += later
    assert both(world, other) == (open_again, [] if open_again else ["quota"])


def test_versions_that_are_drawn_are_ordered_as_by_the_programs_that_install_them(tool):
    def vercmp(one, other):
        return int(subprocess.run([tool("vercmp"), one, other], capture_output=True, text=True, check=True).stdout)

    versions = {release.version for release in RELEASES["packages"]}
    for one, other in product(versions, versions):
        first, second = plain.parts(one), plain.parts(other)
        assert vercmp(one, other) == (first > second) - (first < second), (one, other)


def test_what_was_taken_back_stays_so_when_the_key_leaves_the_policy():
    """Design §5: a withdrawal is final. Alice votes with one key, takes it back with the other, which is then removed."""
    world = plainly()
    asked = agreed(world)
    world.withdraw(world.votes[0], FOO, world.policy.keys[1])
    assert both(world, asked) == (False, ["not-reached"])
    world.change_policy(replace(world.policy, serial=2, keys=world.policy.keys[:1]))
    # Nobody can verify by now that it was Alice: it ends no dispute either.
    assert both(world, asked) == (False, ["disputed", "not-reached"])


def test_what_a_stolen_key_took_back_neither_counts_nor_ends_a_dispute():
    world = plainly(operators=3, n=2)
    asked = agreed(world)
    world.vote(world.policy.keys[0], FOO, "B")
    assert both(world, asked) == (False, ["disputed"])
    world.withdraw(world.votes[-1], FOO, world.policy.keys[-1])
    assert both(world, asked) == (True, [])
    stolen = replace(world.policy.keys[-1], revoked=True)
    world.change_policy(replace(world.policy, serial=2, keys=(*world.policy.keys[:-1], stolen)))
    assert both(world, asked) == (False, ["disputed"])
    # A sound key of the operator says the same: both stand in the log, and the dispute is over.
    sound = next(key for key in world.policy.keys if key.owner == world.votes[-1].operator and not key.revoked)
    world.withdraw(world.votes[-1], FOO, sound)
    assert both(world, asked) == (True, [])


def test_what_is_drawn_of_versions_is_enough_to_go_wrong_with():
    """As texts they are in another order, and each line has two releases of one version."""
    versions = [plain_release(release).version for release in RELEASES["packages"]]
    assert sorted(versions) != sorted(versions, key=plain.parts)
    assert len(set(versions)) < len(versions)
