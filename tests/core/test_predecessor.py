"""A repository database against the one before it: what went back or vanished is named."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.errors import Malformed
from attestor.core.predecessor import MAX_PACKAGES, encode_packages, lost, packages_in, read_packages

BEFORE = {"bash": "5.2.15-1", "filesystem": "2025.10.12-1", "zlib": "1:1.3-2"}
NAMES = st.text("abcdefgh", min_size=1, max_size=3)
VERSIONS = st.builds("{}-{}".format, st.integers(1, 30), st.integers(1, 3))


@pytest.mark.parametrize(
    ("now", "sentence"),
    [
        pytest.param(
            BEFORE | {"bash": "5.2.14-1"}, "1 packages went back in version: bash 5.2.15-1 -> 5.2.14-1", id="older"
        ),
        pytest.param(
            BEFORE | {"zlib": "1.4-1"}, "1 packages went back in version: zlib 1:1.3-2 -> 1.4-1", id="the epoch is gone"
        ),
        pytest.param({"bash": "5.2.15-1", "zlib": "1:1.3-2"}, "1 packages vanished: filesystem", id="one is not there"),
        pytest.param(
            {"bash": "1-1"},
            "1 packages went back in version: bash 5.2.15-1 -> 1-1; 2 packages vanished: filesystem, zlib",
            id="both",
        ),
    ],
)
def test_what_is_lost_is_named(now, sentence):
    assert lost(BEFORE, now).sentence == sentence


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(BEFORE, id="the same"),
        pytest.param(BEFORE | {"bash": "5.3-1"}, id="newer"),
        pytest.param(BEFORE | {"new": "1-1"}, id="one more"),
        pytest.param(BEFORE | {"bash": "5.2.15-2"}, id="built again"),
    ],
)
def test_what_grows_loses_nothing(now):
    assert lost(BEFORE, now) is None


CIRCLE = ["5.2.1-1", "5.2..a-1", "5.2.-1", "5.2.0-1"]
"""Each is newer than the one before to vercmp, and the last is older than the first."""


def test_no_row_of_databases_leads_back_though_each_version_is_newer_than_the_one_before():
    steps = [lost({"bash": before}, {"bash": now}) is None for before, now in pairwise(CIRCLE)]
    assert steps == [True, False, True]
    assert lost({"bash": CIRCLE[-1]}, {"bash": CIRCLE[0]}) is None
    assert lost({"bash": CIRCLE[1]}, {"bash": CIRCLE[2]}).went_back == ("bash 5.2..a-1 -> 5.2.-1",)


TAILS = st.sampled_from(["0", "0.0", "0.1", "0.", "0..a", "0.a"])


@given(TAILS.filter(lambda version: version != "0."), st.lists(TAILS, min_size=1, max_size=4))
def test_law_databases_that_each_lose_nothing_lose_nothing_together(first, versions):
    rows = [{"bash": f"{version}-1"} for version in [first, *versions]]
    if all(lost(before, now) is None for before, now in pairwise(rows)):
        assert lost(rows[0], rows[-1]) is None


LONG = "1" * 513 + "-1"


@pytest.mark.parametrize(
    ("before", "now", "sees"),
    [
        pytest.param({}, {"bash": "5.2.-1"}, False, id="one that is new"),
        pytest.param({"bash": "5.2.-1"}, {"bash": "5.2.-1"}, False, id="one that stays"),
        pytest.param({"bash": "5.2.-1"}, {"bash": "5.3-1"}, False, id="one that is left"),
        pytest.param({"bash": "5.2-1"}, {"bash": LONG}, True, id="one that nobody can compare"),
        pytest.param({"bash": LONG}, {"bash": "5.2-1"}, True, id="from one that nobody can compare"),
    ],
)
def test_a_version_without_a_place_in_the_order_is_seen_where_it_takes_anothers_place(before, now, sees):
    assert (lost(before, now) is not None) is sees


def test_a_sentence_names_ten_and_counts_the_rest():
    before = {f"p{number:03}": "1-1" for number in range(400)}
    sentence = lost(before, {}).sentence
    assert sentence.startswith("400 packages vanished: p000, ")
    assert sentence.endswith("p009 and 390 more")


def test_name_and_version_are_split_at_the_last_two_hyphens():
    folders = frozenset({"gtk-doc-1.34.0-2", "lib32-glibc-2.40+r16-1"})
    assert packages_in(folders) == {"gtk-doc": "1.34.0-2", "lib32-glibc": "2.40+r16-1"}


def test_one_package_in_two_versions_is_refused():
    with pytest.raises(Malformed, match="in two versions"):
        packages_in(frozenset({"bash-1-1", "bash-2-1"}))


def test_more_packages_than_the_next_database_could_be_held_against_are_refused():
    folders = frozenset(f"p{number}-1-1" for number in range(MAX_PACKAGES))
    assert len(packages_in(folders)) == MAX_PACKAGES
    with pytest.raises(Malformed, match="200001 packages"):
        packages_in(folders | {"one-more-1-1"})


@given(st.dictionaries(NAMES, VERSIONS, max_size=6), st.dictionaries(NAMES, VERSIONS, max_size=6))
def test_nothing_is_lost_exactly_when_everything_is_there_and_not_older(before, now):
    def rank(version):
        return tuple(map(int, version.split("-")))

    kept = all(name in now and rank(now[name]) >= rank(version) for name, version in before.items())
    assert (lost(before, now) is None) is kept
    assert read_packages(encode_packages(before)) == before


@pytest.mark.parametrize(
    "raw", [b'{ "a":"1-1"}', b'{"b":"1-1","a":"1-1"}', b'{"a":1}', b"[]", b'{"a":"1","a":"2"}', b""]
)
def test_another_spelling_is_refused(raw):
    with pytest.raises(Malformed):
        read_packages(raw)
