"""Which releases follow each other: one line of each kind, type, namespace and name, and what one machine could have of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.lineage import follow_each_other, lineage_of, order_of
from attestor.core.naming import parse_release
from attestor.core.versions import VersionOrder


def package(name="bash", version="1-1", arch="any", suffix="zst"):
    purl = f"pkg:alpm/arch/{name}@{version}?arch={arch}"
    return parse_release("package", purl, f"{name}-{version}-{arch}.pkg.tar.{suffix}")


BASH = package()
DEB = parse_release("package", "pkg:deb/debian/bash@1-1?arch=amd64", "bash_1-1_amd64.deb")
DATABASE = parse_release("database", "pkg:generic/arch/core.db@7?arch=x86_64", "core.db.tar.gz")
ISO = parse_release("iso", "pkg:generic/arch/archlinux-iso@2025.10.01?arch=x86_64", "archlinux-2025.10.01-x86_64.iso")
ARTIX = parse_release("package", "pkg:alpm/artix/bash@1-1?arch=any", "bash-1-1-any.pkg.tar.zst")

SAME = {
    "another version": package(version="2-1"),
    "another architecture": package(arch="x86_64"),
    "another compression": package(suffix="xz"),
}
OTHER = {
    "another name": package("zlib"),
    "a name that begins the same": package("bash-completion"),
    "another namespace": ARTIX,
    "another purl type": DEB,
    "another kind": DATABASE,
}


@pytest.mark.parametrize("other", SAME.values(), ids=SAME)
def test_in_one_line_with_a_package_is_its(other):
    assert lineage_of(other) == lineage_of(BASH)
    assert other.id != BASH.id


@pytest.mark.parametrize("other", OTHER.values(), ids=OTHER)
def test_in_another_line_than_a_package_is(other):
    assert lineage_of(other) != lineage_of(BASH)


def test_a_line_is_told_by_four_words_and_no_word_runs_into_the_next():
    for release in (BASH, DEB, DATABASE, ISO, ARTIX, *OTHER.values()):
        words = [release.kind.value, release.type, release.namespace, release.name]
        assert lineage_of(release).split("/") == words


@pytest.mark.parametrize(
    ("release", "order"),
    [(BASH, VersionOrder.ALPM), (DEB, VersionOrder.DEBIAN), (DATABASE, VersionOrder.SEQUENCE), (ISO, VersionOrder.SEQUENCE)],
    ids=["a package of Arch", "a package of Debian", "a database", "an ISO"],
)  # fmt: skip
def test_versions_are_ordered_as_whoever_installs_it_would(release, order):
    assert order_of(release) is order


ARCHES = ("any", "all", "x86_64", "aarch64", "amd64", "i686")


@pytest.mark.parametrize(
    ("arch", "other", "follows"),
    [
        ("x86_64", "x86_64", True),
        ("x86_64", "any", True),
        ("any", "aarch64", True),
        ("any", "any", True),
        ("amd64", "all", True),
        ("x86_64", "aarch64", False),
        ("x86_64", "x86_64_v3", False),
        ("x86_64", "ANY", False),
    ],
)
def test_one_machine_could_have_both(arch, other, follows):
    assert follow_each_other(arch, other) is follow_each_other(other, arch) is follows


@given(st.sampled_from(ARCHES), st.sampled_from(ARCHES))
def test_law_what_is_installed_on_all_follows_and_is_followed_by_everything(arch, other):
    assert follow_each_other(arch, arch)
    assert follow_each_other(arch, other) == (arch == other or bool({arch, other} & {"any", "all"}))
