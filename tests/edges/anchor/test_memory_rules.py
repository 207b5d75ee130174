"""What every memory answers to the rules of tiers, held by the files and by the fake: places, versions, approvals, as of any entry."""

import asyncio
import itertools
from contextlib import AsyncExitStack
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestor.core.entries import SignatureEntry
from attestor.core.errors import Halted
from attestor.core.naming import parse_release
from attestor.core.past import RulesPast, RulesQuestion, WasSigned
from attestor.core.quota import Period, window_of
from tests.edges.anchor.conftest import in_files, in_plain
from tests.edges.anchor.logged import FOREIGN, KEY, decided_on, digest, fold, revoked


@cache
def package(version="1-1", arch="any", name="bash", suffix="zst"):
    purl = f"pkg:alpm/arch/{name}@{version}?arch={arch}"
    return parse_release("package", purl, f"{name}-{version}-{arch}.pkg.tar.{suffix}")


@cache
def deb(version, arch="all"):
    return parse_release("package", f"pkg:deb/debian/bash@{version}?arch={arch}", f"bash_{version}_{arch}.deb")


@cache
def database(number):
    return parse_release("database", f"pkg:generic/arch/core.db@{number}?arch=x86_64", "core.db.tar.gz")


def at(text):
    return datetime.fromisoformat(f"{text}T12:00:00+00:00")


NOW = at("2026-11-21")


def asking(release=None, sha256="a", **changes):
    values = {
        "tier": "packages",
        "signing_key": "packages",
        "period": None,
        "moment": NOW,
        "approvals": frozenset(),
        "before": None,
    }
    return RulesQuestion(release or package(), digest(sha256), **(values | changes))


def documents(*names):
    return frozenset(map(digest, names))


async def test_a_new_memory_answers_that_there_was_nothing(remembering):
    async with remembering() as memory:
        assert await memory.rules(asking()) == RulesPast(None, 0, None, frozenset())
        month = await memory.rules(asking(period=Period.MONTH, approvals=documents("d")))
        assert month == RulesPast(None, 0, window_of(Period.MONTH, NOW), frozenset())


# ------------------------------------------------------------------------------------------------ places of a quota

MONTH = Period.MONTH
FIRST, SECOND, THIRD = (package(f"{number}-1") for number in (1, 2, 3))
# (what was decided, what is asked, places used of which period)
PLACES = {
    "nothing": ([], {}, 0, "2026-11"),
    "another release in the same month": ([(FIRST, "2026-11-01")], {}, 1, "2026-11"),
    "two releases": ([(FIRST, "2026-11-01"), (SECOND, "2026-11-30")], {}, 2, "2026-11"),
    "one in the month before": ([(FIRST, "2026-10-31")], {}, 0, "2026-11"),
    "one in the same month of the year before": ([(FIRST, "2025-11-21")], {}, 0, "2026-11"),
    "its own bytes": ([(THIRD, "2026-11-01")], {}, 0, "2026-11"),
    "other bytes of its own release": ([(THIRD, "2026-11-01", "b")], {}, 1, "2026-11"),
    "one release twice": ([(FIRST, "2026-11-01"), (FIRST, "2026-11-02")], {}, 1, "2026-11"),
    "one in another tier": ([(FIRST, "2026-11-01", "a", {"tier": "isos"})], {}, 0, "2026-11"),
    "one with another key": ([(FIRST, "2026-11-01", "a", {"key": "isos"})], {}, 0, "2026-11"),
    "one that was approved beyond the quota": (
        [(FIRST, "2026-11-01", "a", {"approvals": [("quota", "d")]})],
        {},
        0,
        "2026-11",
    ),
    "one that was approved as a downgrade": (
        [(FIRST, "2026-11-01", "a", {"approvals": [("downgrade", "d")]})],
        {},
        1,
        "2026-11",
    ),
    "one of a month that a clock ahead has opened": ([(FIRST, "2026-12-24")], {}, 1, "2026-12"),
    "one before a clock stepped back over the border": (
        [(FIRST, "2026-11-30"), (SECOND, "2026-10-31")],
        {},
        2,
        "2026-11",
    ),
    "one after a clock stepped back, asked for by a clock that stepped back": (
        [(FIRST, "2026-11-30"), (SECOND, "2026-10-01")],
        {"moment": at("2026-10-02")},
        2,
        "2026-11",
    ),
    "three by days": ([(FIRST, "2026-11-21"), (SECOND, "2026-11-20")], {"period": Period.DAY}, 2, "2026-11-21"),
    "three by weeks": ([(FIRST, "2026-11-15"), (SECOND, "2026-11-16")], {"period": Period.WEEK}, 1, "2026-W47"),
    "three by years": ([(FIRST, "2025-12-31"), (SECOND, "2026-01-01")], {"period": Period.YEAR}, 1, "2026"),
    "none, as of the first of two": ([(FIRST, "2026-11-01"), (SECOND, "2026-11-02")], {"before": 0}, 0, "2026-11"),
    "one, as of the second of two": ([(FIRST, "2026-11-01"), (SECOND, "2026-12-02")], {"before": 1}, 1, "2026-11"),
}


def entries_of(decisions):
    return [
        [decided_on(release, at(day), *(rest[:1] or ("a",)), **(rest[1] if len(rest) > 1 else {}))]
        for release, day, *rest in decisions
    ]


@pytest.mark.parametrize(("decisions", "changes", "used", "period"), PLACES.values(), ids=PLACES)
async def test_places_are_used_by(remembering, decisions, changes, used, period):
    async with remembering() as memory:
        await fold(memory, entries_of(decisions), alone=False)
        known = await memory.rules(asking(THIRD, **({"period": MONTH} | changes)))
        assert (known.used, known.window.name) == (used, period)


# ------------------------------------------------------------------------------------------------ the newest version

ONE, TWO, EPOCH = package("1-1", "x86_64"), package("2-1", "x86_64"), package("1:0-1", "x86_64")
VERSIONS = {
    "nothing before": ([], TWO, None),
    "an older one": ([ONE], TWO, "1-1"),
    "the newest, not the latest": ([TWO, ONE], EPOCH, "2-1"),
    "an epoch is newer": ([EPOCH, TWO], package("3-1", "x86_64"), "1:0-1"),
    "one of another name": ([package("9-1", "x86_64", "zlib")], TWO, None),
    "one of another type": ([deb("9-1", "amd64")], TWO, None),
    "one of another architecture": ([package("9-1", "aarch64")], TWO, None),
    "one for any architecture": ([package("9-1", "any")], TWO, "9-1"),
    "one of an architecture, asked for any": ([package("9-1", "aarch64")], package("2-1", "any"), "9-1"),
    "the newer of any and its own": ([package("9-1", "any"), package("10-1", "x86_64")], TWO, "10-1"),
    "of every architecture, asked for any": ([package("9-1", "aarch64"), ONE], package("2-1", "any"), "9-1"),
    "itself": ([TWO], TWO, None),
    "itself behind an older one": ([ONE, TWO], TWO, None),
    "itself behind one for any architecture": ([package("1-1", "any"), TWO], TWO, "1-1"),
    "itself before a newer one": ([TWO, EPOCH], TWO, "1:0-1"),
    "the same version under another file name": ([TWO], package("2-1", "x86_64", suffix="xz"), "2-1"),
    "one without place in the order": ([package("9.-1", "x86_64"), ONE], TWO, "1-1"),
    "Debian's own order": ([deb("1.0-1"), deb("1.0~rc1-1")], deb("1.0-2", "amd64"), "1.0-1"),
    "a sequence by its numbers": ([database(9), database(10)], database(11), "10"),
}


@pytest.mark.parametrize(("decided", "asked", "newest"), VERSIONS.values(), ids=VERSIONS)
async def test_the_newest_version_is_of(remembering, decided, asked, newest):
    async with remembering() as memory:
        await fold(memory, [[decided_on(release, NOW)] for release in decided], alone=False)
        assert (await memory.rules(asking(asked))).newest == newest


async def test_the_newest_version_as_of_each_entry(remembering):
    rising = [ONE, EPOCH, TWO, package("2:0-1", "any")]
    async with remembering() as memory:
        await fold(memory, [[decided_on(release, NOW)] for release in rising], alone=False)
        known = [(await memory.rules(asking(package("5-1", "x86_64"), before=before))).newest for before in range(5)]
        assert known == [None, "1-1", "1:0-1", "1:0-1", "2:0-1"]


# ------------------------------------------------------------------------------------------------ approvals

APPROVED = {"approvals": [("quota", "d"), ("downgrade", "e")]}


async def test_an_approval_is_spent_on_its_bytes_from_its_decision_on(remembering):
    async with remembering() as memory:
        await fold(memory, [[], *entries_of([(FIRST, "2026-11-01", "a", APPROVED)]), []], alone=False)
        named = documents("d", "e", "f")
        for before, spent in ((0, ()), (1, ()), (2, "de"), (None, "de")):
            known = await memory.rules(asking(FIRST, before=before, approvals=named))
            assert known.unspendable == documents(*spent)
        # One manifest lets several through, each once.
        assert (await memory.rules(asking(SECOND, approvals=named))).unspendable == frozenset()
        assert (await memory.rules(asking(FIRST, "b", approvals=named))).unspendable == frozenset()
        assert (await memory.rules(asking(FIRST, approvals=documents("f")))).unspendable == frozenset()


async def test_a_revoked_approval_is_spent_by_nobody_from_there_on(remembering):
    async with remembering() as memory:
        await fold(memory, [[], [revoked("d")], [], [revoked("d")]], alone=False)
        for before, gone in ((0, ()), (1, ()), (2, "d"), (4, "d"), (None, "d")):
            for release in (FIRST, SECOND):
                known = await memory.rules(asking(release, before=before, approvals=documents("d", "e")))
                assert known.unspendable == documents(*gone)


def signature(release, sha256):
    return WasSigned(
        SignatureEntry(
            request="00000000-0000-4000-8000-000000000001",
            release=release.id,
            sha256=digest(sha256).hex(),
            decision=0,
            signature=digest("s").hex(),
            key=KEY,
            summary=digest("summary").hex(),
            anchor=FOREIGN,
        )
    )


RE_SIGN = {"approvals": [("re-sign", "d")]}
SIGNED_AGAIN = {
    "approved": ([(FIRST, "2026-11-01", "b", RE_SIGN)], None),
    "approved as a downgrade": ([(FIRST, "2026-11-01", "b", APPROVED)], "release-signed-twice"),
    "approved for another release": ([(SECOND, "2026-11-01", "b", RE_SIGN)], "release-signed-twice"),
    "approved for other bytes": ([(FIRST, "2026-11-01", "c", RE_SIGN)], "release-signed-twice"),
    "not approved": ([(FIRST, "2026-11-01", "b")], "release-signed-twice"),
}


@pytest.mark.parametrize(("decisions", "code"), SIGNED_AGAIN.values(), ids=SIGNED_AGAIN)
async def test_other_bytes_of_a_signed_release_are_signed_where_that_is(remembering, decisions, code):
    entries = [[signature(FIRST, "a")], *entries_of(decisions), [signature(FIRST, "b")]]
    async with remembering() as memory:
        if code is None:
            await fold(memory, entries, alone=False)
            known = await memory.release(FIRST.id)
            assert {one.sha256 for one in known.signed} == documents("a", "b")
            return
        with pytest.raises(Halted) as caught:
            await fold(memory, entries, alone=False)
        assert caught.value.code == code


# ------------------------------------------------------------------------------------------------ what databases list


async def test_what_the_database_before_lists_is_its_predecessors_word(remembering):
    async with remembering() as memory:
        entries = [
            decided_on(database(number), NOW, packages=listed) for number, listed in ((1, "x"), (2, None), (3, "y"))
        ]
        await fold(memory, [[entry] for entry in entries], alone=False)
        for asked, before, listed in ((4, None, "y"), (3, None, "x"), (4, 2, "x"), (4, 0, None), (1, 1, None)):
            known = await memory.rules(asking(database(asked), before=before))
            assert known.packages == (listed and digest(listed))
        assert (await memory.rules(asking(package()))).packages is None


# ------------------------------------------------------------------------------------------------ laws

RELEASES = st.sampled_from(
    [
        *(package(version, arch) for version in ("1-1", "2-1", "1:1-1", "1.-1") for arch in ("any", "x86_64", "aarch64")),
        package("2-1", "x86_64", suffix="xz"),
        package("1-1", "x86_64", "zlib"),
        *(deb(version, arch) for version in ("1-1", "2~a-1") for arch in ("all", "amd64")),
        *map(database, (1, 2, 10)),
    ]
)  # fmt: skip
DIGESTS = st.sampled_from("ab")
TIERS = st.sampled_from(("packages", "packages", "isos"))
# A clock may step anywhere; near borders of days, weeks, months and years.
MOMENTS = st.sampled_from(
    [
        datetime.fromisoformat(text)
        for text in (
            "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z", "2026-12-28T00:00:00Z", "2026-12-27T23:59:59Z",
            "2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z", "2026-12-01T12:00:00Z", "2027-01-04T00:00:00Z",
        )
    ]
)  # fmt: skip
WORDS = st.sampled_from("def")
APPROVALS = st.lists(st.tuples(st.sampled_from(("quota", "downgrade", "re-sign")), WORDS), max_size=2, unique=True)
DECISIONS = st.builds(
    decided_on,
    RELEASES,
    MOMENTS,
    DIGESTS,
    tier=TIERS,
    key=TIERS,
    approvals=APPROVALS | st.just([]),
    packages=st.sampled_from((None, "x", "y")),
)
HISTORIES = st.lists(st.lists(DECISIONS | DECISIONS | DECISIONS | st.builds(revoked, WORDS), max_size=1), max_size=14)
QUESTIONS = st.lists(
    st.builds(
        asking,
        RELEASES,
        DIGESTS,
        tier=TIERS,
        signing_key=TIERS,
        period=st.sampled_from((*Period, None)),
        moment=MOMENTS,
        approvals=st.just(documents("d", "e", "f")),
    ),
    min_size=1,
    max_size=4,
)


async def _answers(make, entries, questions, cut):
    with TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            memory = await stack.enter_async_context(make(Path(folder) / "anchor"))
            for part in (entries[:cut], entries[cut:]):
                await fold(memory, part, alone=False)
            return [
                await memory.rules(_as_of(question, before))
                for question in questions
                for before in (*range(len(entries) + 1), None)
            ]


def _as_of(question, before):
    return RulesQuestion(
        question.release,
        question.sha256,
        question.tier,
        question.signing_key,
        question.period,
        question.moment,
        question.approvals,
        before,
    )


@settings(max_examples=25)
@given(entries=HISTORIES, questions=QUESTIONS, cut=st.integers(0, 14))
def test_the_files_answer_what_the_plain_memory_answers_as_of_every_entry(entries, questions, cut):
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        files = runner.run(_answers(in_files, entries, questions, cut))
        assert files == runner.run(_answers(in_plain, entries, questions, 0))
        # Nothing that came later is known before it.
        for place, question in enumerate(questions):
            of_question = files[place * (len(entries) + 2) : (place + 1) * (len(entries) + 2)]
            assert of_question[-2] == of_question[-1]
            before = min(cut, len(entries))
            [shorter] = runner.run(_answers(in_plain, entries[:before], [_as_of(question, None)], 0))[-1:]
            assert of_question[before] == shorter


@settings(max_examples=20)
@given(entries=HISTORIES, question=QUESTIONS.map(lambda questions: questions[0]))
def test_law_no_clock_opens_a_period_that_was_left_and_a_place_stays_used(entries, question):
    """As entries are added and the asking clock stands still: the period only goes on, and within one the places only fill."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        answers = runner.run(_answers(in_plain, entries, [question], 0))
    for earlier, later in itertools.pairwise(answers):
        assert earlier.unspendable <= later.unspendable
        if question.period is not None:
            assert earlier.window.start <= later.window.start
            if earlier.window == later.window:
                assert earlier.used <= later.used
