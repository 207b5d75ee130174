"""What every memory promises (attestor/service/logports.py), held by the files and by the fake that other tests use."""

import asyncio
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestor.core.errors import Halted
from attestor.core.past import NOTHING, Forged, LoggedDecision, LoggedSignature, Receipt
from attestor.core.tlog.merkle import EMPTY
from tests.edges.anchor.conftest import in_files, in_plain
from tests.edges.anchor.logged import (
    FOREIGN,
    KEY,
    checkpoint,
    decided,
    digest,
    fold,
    leaf,
    note,
    policy,
    received,
    signed,
    tree,
    withdrawn,
)

R = digest("r").hex()


async def test_a_new_memory_knows_its_anchor_and_nothing_else(remembering):
    async with remembering() as memory:
        assert len(memory.anchor_id) == 32
        assert await memory.anchor() == checkpoint(0)
        assert await memory.frontier() == EMPTY
        assert await memory.release(R) == NOTHING
        assert await memory.policy() is None
        assert await memory.forged() == 0


async def test_what_is_settled_stays_and_the_anchor_is_there(remembering):
    async with remembering() as memory:
        assert await fold(memory, [[received("r")], []]) == 2
        assert await fold(memory, [[]] * 3) == 5
        assert await memory.frontier() == tree(5)
        assert await memory.anchor() == checkpoint(5)
        assert (await memory.release(R)).received == {("one", digest("p")): Receipt(0, digest("e"))}


async def test_what_is_not_settled_leaves_nothing(remembering):
    async with remembering() as memory:
        await fold(memory, [[]])
        async with memory.catching_up(alone=True) as step:
            assert (await step.take([leaf(1)], [(1, received("r"))])).size == 2
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the context's own end is tested
            async with memory.catching_up(alone=True) as step:
                await step.take([leaf(1)], [(1, received("r"))])
                raise ZeroDivisionError
        assert await memory.frontier() == tree(1)
        assert await memory.anchor() == checkpoint(1)
        assert await memory.release(R) == NOTHING


async def test_a_step_takes_often_and_tells_how_far_it_is(remembering):
    async with remembering() as memory, memory.catching_up(alone=True) as step:
        assert await step.take((), ()) == EMPTY
        assert await step.take([leaf(0), leaf(1)], ()) == tree(2)
        assert await step.take([leaf(2)], ()) == tree(3)
        await step.settle(checkpoint(3), note(checkpoint(3)))
        assert await step.take((), ()) == tree(3)


@pytest.mark.parametrize("other", [0, 1, 3], ids="{} entries".format)
async def test_the_anchor_moves_only_to_what_was_folded(remembering, other):
    async with remembering() as memory:
        async with memory.catching_up(alone=True) as step:
            await step.take([leaf(0), leaf(1)], ())
            with pytest.raises(ValueError, match="folded"):
                await step.settle(checkpoint(other), note(checkpoint(other)))
        assert await memory.anchor() == checkpoint(0)


async def test_leaves_come_back_in_their_places(remembering):
    async with remembering() as memory:
        for count in (1, 254, 1, 1, 300, 143):
            await fold(memory, [[]] * count)
        for start, end in [(0, 0), (0, 1), (0, 700), (255, 257), (256, 512), (511, 513), (699, 700), (700, 700)]:
            assert await memory.leaves(start, end) == [leaf(index) for index in range(start, end)]


ENTRIES = [
    [received("r", "one", "p", "first"), received("s", "one", "p", "first")],
    [received("r", "one", "p", "second"), received("r", "two", "p", "third"), received("r", "one", "q", "fourth")],
    [withdrawn("r", "one", "p", "w1")],
    [withdrawn("r", "one", "p", "w2")],
    [withdrawn("r", "one", "p", "w1")],
    [Forged("seal-missing")],
    [Forged("seal-invalid")],
]


async def test_the_first_receipt_stands_and_withdrawals_gather(remembering):
    async with remembering() as memory:
        await fold(memory, ENTRIES[:2])
        await fold(memory, ENTRIES[2:])
        known = await memory.release(R)
        assert known.received == {
            ("one", digest("p")): Receipt(0, digest("first")),
            ("two", digest("p")): Receipt(1, digest("third")),
            ("one", digest("q")): Receipt(1, digest("fourth")),
        }
        assert known.withdrawn == {("one", digest("p")): frozenset({digest("w1"), digest("w2")})}
        assert (await memory.release(digest("s").hex())).received == {("one", digest("p")): Receipt(0, digest("first"))}
        assert await memory.forged() == 2


async def test_the_latest_decision_counts_and_the_first_signature_of_each_key(remembering):
    async with remembering() as memory:
        ours = memory.anchor_id
        before, latest = decided("r", ours, 0), decided("r", ours, 1)
        await fold(memory, [[before], [signed("r", ours, key="B" * 40)], [latest], [signed("r", ours, signature="t")]])
        await fold(memory, [[signed("r", ours, signature="u")], [decided("s", ours)]])
        known = await memory.release(R)
        assert known.decision == LoggedDecision(2, latest.entry, latest.raw)
        request, artifact = latest.entry.request, digest("artifact")
        assert known.signed == (
            LoggedSignature(1, request, artifact, "B" * 40, digest("s"), 0),
            LoggedSignature(3, request, artifact, KEY, digest("t"), 0),
        )


async def test_the_policy_is_the_one_of_the_highest_serial(remembering):
    async with remembering() as memory:
        ours = memory.anchor_id
        await fold(
            memory, [[policy(3, "c", ours)], [policy(7, "g", ours)], [policy(5, "e", ours)], [policy(7, "g", ours)]]
        )
        assert await memory.policy() == (7, digest("g").hex())


# Each entry by another anchor's signer, or by ours; the anchor was made at three entries.
CONTRADICTIONS = {
    "two digests of a release": ([None, "s:x", "s:y"], True, "release-signed-twice"),
    "two digests by two keys": ([None, "s:x", "k:y"], True, "release-signed-twice"),
    "two digests, not alone": ([None, "s:x", "s:y"], False, "release-signed-twice"),
    "one digest by two keys": ([None, "s:x", "k:x"], True, None),
    "a serial with two digests": (["p:a", None, "p:b"], True, "policy-forked"),
    "a serial with two digests, not alone": (["p:a", None, "p:b"], False, "policy-forked"),
    "a policy again": (["p:a", "p:a"], True, None),
    "another signer's policy before the anchor": ([None, None, "fp:a"], True, None),
    "another signer's policy at the anchor": ([None, None, None, "fp:a"], True, "other-signer"),
    "another signer's decision before the anchor": ([None, None, "fd:"], True, None),
    "another signer's decision at the anchor": ([None, None, None, "fd:"], True, "other-signer"),
    "another signer's signature before the anchor": ([None, None, "fs:x"], True, None),
    "another signer's signature at the anchor": ([None, None, None, "fs:x"], True, "other-signer"),
    "another signer's policy, not alone": ([None, None, None, "fp:a"], False, None),
    "another signer's decision, not alone": ([None, None, None, "fd:"], False, None),
    "another signer's signature, not alone": ([None, None, None, "fs:x"], False, None),
    "our own entries": ([None, None, None, "p:a", "d:", "s:x"], True, None),
    "votes of anybody": ([None, None, None, "v:"], True, None),
}


def spelled(word, ours):
    if word is None:
        return []
    kind, _, name = word.partition(":")
    anchor = FOREIGN if kind.startswith("f") else ours
    return [
        {
            "s": lambda: signed("r", anchor, sha256=name),
            "k": lambda: signed("r", anchor, sha256=name, key="B" * 40),
            "p": lambda: policy(1, name, anchor),
            "d": lambda: decided("r", anchor),
            "v": lambda: received("r"),
        }[kind[-1]]()
    ]


@pytest.mark.parametrize(("words", "alone", "code"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
async def test_contradictions_halt(remembering, words, alone, code):
    async with remembering(3) as memory:
        words = [*words, *[None] * (6 - len(words))]
        entries = [spelled(word, memory.anchor_id) for word in words]
        if code is None:
            assert await fold(memory, entries, alone=alone) == 6
            return
        with pytest.raises(Halted) as caught:
            await fold(memory, entries, alone=alone)
        assert caught.value.code == code
        assert await memory.frontier() == EMPTY


async def test_a_contradiction_is_met_against_what_was_settled(remembering):
    async with remembering() as memory:
        ours = memory.anchor_id
        await fold(memory, [[signed("r", ours)], [policy(1, "a", ours)]])
        for entry, code in (
            (signed("r", ours, sha256="y"), "release-signed-twice"),
            (policy(1, "b", ours), "policy-forked"),
        ):
            with pytest.raises(Halted) as caught:
                await fold(memory, [[received("r")], [entry]])
            assert caught.value.code == code
        assert await memory.frontier() == tree(2)
        assert not (await memory.release(R)).received


async def test_what_was_taken_before_a_contradiction_can_be_settled(remembering):
    async with remembering() as memory:
        ours = memory.anchor_id
        async with memory.catching_up(alone=True) as step:
            await step.take([leaf(0)], [(0, signed("r", ours))])
            with pytest.raises(Halted):
                await step.take([leaf(1)], [(1, received("r")), (1, signed("r", ours, sha256="y"))])
            assert await step.take((), ()) == tree(1)
            await step.settle(checkpoint(1), note(checkpoint(1)))
        known = await memory.release(R)
        assert [one.index for one in known.signed] == [0]
        assert not known.received


async def test_one_writer_at_a_time(remembering):
    async with remembering() as memory:
        open_now = most = 0

        async def write():
            nonlocal open_now, most
            async with memory.catching_up(alone=True) as step:
                open_now += 1
                most = max(most, open_now)
                frontier = await step.take((), ())
                after = await step.take([leaf(frontier.size)], ())
                await asyncio.sleep(0)
                await step.settle(checkpoint(after.size), note(checkpoint(after.size)))
                open_now -= 1

        await asyncio.gather(*(write() for _ in range(8)))
        assert most == 1
        assert await memory.frontier() == tree(8)


NAMES = st.sampled_from("ab")
FACTS = st.one_of(
    st.builds(received, NAMES, NAMES, NAMES, NAMES),
    st.builds(withdrawn, NAMES, NAMES, NAMES, NAMES),
    st.builds(lambda release, number: decided(release, FOREIGN, number), NAMES, st.integers(0, 3)),
    # Rarely other bytes, so that most histories are whole and some halt.
    st.builds(
        lambda release, sha256, key, made: signed(release, FOREIGN, sha256, key * 40, made),
        NAMES,
        st.sampled_from(["x"] * 6 + ["y"]),
        st.sampled_from("AB"),
        NAMES,
    ),
    st.builds(
        lambda serial, name: policy(serial, f"{serial}{name}", FOREIGN), st.integers(1, 3), st.sampled_from("aaaaaab")
    ),
    st.just(Forged("seal-missing")),
)
# Many entries without facts between the others, so that tiles fill and are left in the middle.
HISTORIES = st.lists(st.tuples(st.integers(0, 200), st.lists(FACTS, max_size=3)), min_size=1, max_size=12).map(
    lambda parts: [entry for silence, facts in parts for entry in (*[[]] * silence, facts)]
)


async def _folded(make, entries, cuts):
    """(what the memory then says, or the code that halted it)."""
    with TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            memory = await stack.enter_async_context(make(Path(folder) / "anchor"))
            ends = sorted({*(cut % (len(entries) + 1) for cut, _ in cuts), len(entries)})
            halted = None
            with suppress(Halted):
                try:
                    await _fold_in_pieces(
                        memory, entries, ends, {end: cut for end, (_, cut) in zip(ends, cuts, strict=False)}
                    )
                except Halted as error:
                    halted = error.code
                    raise
            if halted:
                return halted
            return (
                await memory.frontier(),
                await memory.leaves(0, len(entries)),
                await memory.policy(),
                await memory.forged(),
                [await memory.release(digest(name).hex()) for name in "ab"],
            )


async def _fold_in_pieces(memory, entries, ends, settled_at):
    start = 0
    while start < len(entries):
        async with memory.catching_up(alone=False) as step:
            for end in [end for end in ends if end > start]:
                facts = [(at, fact) for at in range(start, end) for fact in entries[at]]
                await step.take([leaf(at) for at in range(start, end)], facts)
                start = end
                if settled_at.get(end) or end == len(entries):
                    await step.settle(checkpoint(end), note(checkpoint(end)))
                    break


@settings(max_examples=25)
@given(entries=HISTORIES, cuts=st.lists(st.tuples(st.integers(0, 3000), st.booleans()), max_size=8))
def test_any_way_of_folding_comes_to_the_same_memory(entries, cuts):
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        assert runner.run(_folded(in_files, entries, cuts)) == runner.run(_folded(in_plain, entries, ()))
