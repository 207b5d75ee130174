"""A repository database against the one before it: what went back or vanished is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.errors import Malformed
from attestor.core.predecessor import encode_packages, lost, packages_in, read_packages

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
