"""Names of releases: one spelling each, and three names that agree."""

import hashlib
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packageurl import PackageURL

from attestor.core.errors import Rejected
from attestor.core.naming import Kind, could_be_scope, parse_release, release_named

BASH = ("package", "pkg:alpm/arch/bash@5.3-1?arch=x86_64", "bash-5.3-1-x86_64.pkg.tar.zst")

GOOD = {
    "an Arch package": BASH,
    "any architecture": (
        "package",
        "pkg:alpm/arch/filesystem@2025.10.12-1?arch=any",
        "filesystem-2025.10.12-1-any.pkg.tar.zst",
    ),
    "an uncompressed package": ("package", "pkg:alpm/arch/bash@5.3-1?arch=x86_64", "bash-5.3-1-x86_64.pkg.tar"),
    "a plus in name and version": (
        "package",
        "pkg:alpm/arch/libstdc%2B%2B@1.0%2Br3-1?arch=x86_64",
        "libstdc++-1.0+r3-1-x86_64.pkg.tar.zst",
    ),
    "an epoch, whose colon stays": (
        "package",
        "pkg:alpm/arch/vim@1:9.1-1.2?arch=x86_64",
        "vim-1:9.1-1.2-x86_64.pkg.tar.zst",
    ),
    "an at sign and a caret": (
        "package",
        "pkg:alpm/arch/%40a@1%5E2-1?arch=any",
        "@a-1^2-1-any.pkg.tar.xz",
    ),
    "a tilde, which stays": ("package", "pkg:alpm/arch/a@1~rc1-1?arch=any", "a-1~rc1-1-any.pkg.tar.xz"),
    "a name with dashes and digits": (
        "package",
        "pkg:alpm/arch/a-1-2@3-4?arch=any",
        "a-1-2-3-4-any.pkg.tar.zst",
    ),
    "a Debian package": ("package", "pkg:deb/debian/bash@5.2.15-2?arch=amd64", "bash_5.2.15-2_amd64.deb"),
    "a Debian epoch, which the file name leaves out": (
        "package",
        "pkg:deb/debian/bash@1:5.2-2?arch=amd64",
        "bash_5.2-2_amd64.deb",
    ),
    "a Debian binary rebuild": (
        "package",
        "pkg:deb/debian/librust-as-slice-dev@0.2.1-1%2Bb2?arch=amd64",
        "librust-as-slice-dev_0.2.1-1+b2_amd64.deb",
    ),
    "a database": ("database", "pkg:generic/arch/extra.db@17?arch=x86_64", "extra.db.tar.gz"),
    "the first database": ("database", "pkg:generic/arch/extra.files@0?arch=x86_64", "extra.files.tar"),
    "an ISO": (
        "iso",
        "pkg:generic/arch/archlinux-iso@2025.10.01?arch=x86_64",
        "archlinux-2025.10.01-x86_64.iso",
    ),
    "a VM image": (
        "vm",
        "pkg:generic/arch/Arch-Linux-vm@20251001.3?arch=x86_64",
        "Arch-Linux-20251001.3-x86_64.qcow2",
    ),
}


@pytest.mark.parametrize("names", GOOD.values(), ids=GOOD)
def test_accepts(names):
    release = parse_release(*names)
    assert (release.kind, release.purl, release.file_name) == names
    assert release.id == hashlib.sha256("\n".join(names).encode()).hexdigest()


def spelled_by_library(purl):
    # The library lower-cases the names of alpm and deb after it has encoded them, and their hex digits with them.
    return re.sub("%[0-9a-f]{2}", lambda found: found[0].upper(), PackageURL.from_string(purl).to_string())


@pytest.mark.parametrize("names", GOOD.values(), ids=GOOD)
def test_the_library_spells_it_alike(names):
    """packageurl-python is an independent reading of the specification; it is asked only about what we accept."""
    release, meant = parse_release(*names), PackageURL.from_string(names[1])
    assert (meant.type, meant.namespace, meant.name) == (release.type, release.namespace, release.name)
    assert (meant.version, meant.qualifiers, meant.subpath) == (release.version, {"arch": release.arch}, None)
    assert spelled_by_library(names[1]) == names[1]


def test_the_id_of_a_release_is_known():
    """Computed by coreutils: printf 'package\\nPURL\\nFILE' | sha256sum."""
    assert parse_release(*BASH).id == "557953f607320758c05cb009c1ad64e5f2797754b56e848d84902a945bec14f9"


def refused(*names):
    with pytest.raises(Rejected) as error:
        parse_release(*names)
    return error.value


BAD_PURLS = {
    "nothing": "",
    "no scheme": "alpm/arch/bash@5.3-1?arch=x86_64",
    "upper-case scheme": "PKG:alpm/arch/bash@5.3-1?arch=x86_64",
    "slashes after the scheme": "pkg://alpm/arch/bash@5.3-1?arch=x86_64",
    "upper-case type": "pkg:ALPM/arch/bash@5.3-1?arch=x86_64",
    "another type": "pkg:npm/arch/bash@5.3-1?arch=x86_64",
    "the type of another kind": "pkg:generic/arch/bash@5.3-1?arch=x86_64",
    "upper-case namespace": "pkg:alpm/Arch/bash@5.3-1?arch=x86_64",
    "no namespace": "pkg:alpm/bash@5.3-1?arch=x86_64",
    "an empty namespace": "pkg:alpm//bash@5.3-1?arch=x86_64",
    "two namespaces": "pkg:alpm/arch/extra/bash@5.3-1?arch=x86_64",
    "a namespace of dots": "pkg:alpm/../bash@5.3-1?arch=x86_64",
    "upper-case name": "pkg:alpm/arch/Bash@5.3-1?arch=x86_64",
    "an empty name": "pkg:alpm/arch/@5.3-1?arch=x86_64",
    "a name of dots": "pkg:alpm/arch/..@5.3-1?arch=x86_64",
    "no version": "pkg:alpm/arch/bash?arch=x86_64",
    "an empty version": "pkg:alpm/arch/bash@?arch=x86_64",
    "a version without pkgrel": "pkg:alpm/arch/bash@5.3?arch=x86_64",
    "an epoch of zero": "pkg:alpm/arch/bash@0:5.3-1?arch=x86_64",
    "an epoch with leading zero": "pkg:alpm/arch/bash@01:5.3-1?arch=x86_64",
    "an encoded colon": "pkg:alpm/arch/bash@1%3A5.3-1?arch=x86_64",
    "a bare plus": "pkg:alpm/arch/bash+@5.3-1?arch=x86_64",
    "lower-case hex": "pkg:alpm/arch/bash%2b@5.3-1?arch=x86_64",
    "a letter encoded": "pkg:alpm/arch/%62ash@5.3-1?arch=x86_64",
    "an encoded slash": "pkg:alpm/arch/ba%2Fsh@5.3-1?arch=x86_64",
    "an encoded NUL": "pkg:alpm/arch/bash%00@5.3-1?arch=x86_64",
    "an encoded percent": "pkg:alpm/arch/bash%252B@5.3-1?arch=x86_64",
    "escapes that make another escape": "pkg:alpm/arch/bash%%402B@5.3-1?arch=x86_64",
    "half an escape": "pkg:alpm/arch/bash%2@5.3-1?arch=x86_64",
    "an encoded tilde": "pkg:alpm/arch/bash@5.3%7E1-1?arch=x86_64",
    "no qualifier": "pkg:alpm/arch/bash@5.3-1",
    "another qualifier": "pkg:alpm/arch/bash@5.3-1?os=x86_64",
    "two qualifiers": "pkg:alpm/arch/bash@5.3-1?arch=x86_64&distro=arch",
    "two qualifiers in the other order": "pkg:alpm/arch/bash@5.3-1?a=b&arch=x86_64",
    "one qualifier twice": "pkg:alpm/arch/bash@5.3-1?arch=x86_64&arch=x86_64",
    "an empty architecture": "pkg:alpm/arch/bash@5.3-1?arch=",
    "upper-case architecture": "pkg:alpm/arch/bash@5.3-1?arch=X86_64",
    "upper-case qualifier": "pkg:alpm/arch/bash@5.3-1?ARCH=x86_64",
    "a subpath": "pkg:alpm/arch/bash@5.3-1?arch=x86_64#usr",
    "an empty subpath": "pkg:alpm/arch/bash@5.3-1?arch=x86_64#",
    "a newline at the end": "pkg:alpm/arch/bash@5.3-1?arch=x86_64\n",
    "a newline within": "pkg:alpm/arch/ba\nsh@5.3-1?arch=x86_64",
    "a NUL": "pkg:alpm/arch/ba\0sh@5.3-1?arch=x86_64",
    "a space in front": " pkg:alpm/arch/bash@5.3-1?arch=x86_64",
    "digits of another script": "pkg:alpm/arch/bash@٥.٣-١?arch=x86_64",
    "a letter of another script": "pkg:alpm/arch/bаsh@5.3-1?arch=x86_64",
    "half a surrogate pair": "pkg:alpm/arch/b\ud800sh@5.3-1?arch=x86_64",
    "too long": f"pkg:alpm/arch/{'b' * 500}@5.3-1?arch=x86_64",
}


@pytest.mark.parametrize("purl", BAD_PURLS.values(), ids=BAD_PURLS)
def test_refuses_the_purl_with(purl):
    assert refused("package", purl, BASH[2]).code == "purl-not-canonical"


@pytest.mark.parametrize(
    "lenient",
    [
        "pkg:ALPM/Arch/bash@5.3-1?arch=x86_64",
        "pkg://alpm/arch/bash@5.3-1?arch=x86_64",
        "pkg:alpm/arch/%62ash@5.3-1?arch=x86_64",
    ],
)
def test_the_refusal_names_the_canonical_form(lenient):
    assert f"its canonical form is {BASH[1]}" in refused("package", lenient, BASH[2]).sentence


BAD_FILE_NAMES = {
    "nothing": "",
    "a folder": "extra/bash-5.3-1-x86_64.pkg.tar.zst",
    "the folder above": "../bash-5.3-1-x86_64.pkg.tar.zst",
    "two dots": "..",
    "a backslash": "a\\bash-5.3-1-x86_64.pkg.tar.zst",
    "a NUL": "bash-5.3-1-x86_64.pkg.tar.zst\0",
    "a newline": "bash-5.3-1-x86_64.pkg.tar.zst\n",
    "a space": "bash -5.3-1-x86_64.pkg.tar.zst",
    "a quote": 'bash"-5.3-1-x86_64.pkg.tar.zst',
    "a dash in front": "-bash-5.3-1-x86_64.pkg.tar.zst",
    "a dot in front": ".bash-5.3-1-x86_64.pkg.tar.zst",
    "a letter of another script": "bаsh-5.3-1-x86_64.pkg.tar.zst",
    "half a surrogate pair": "b\ud800sh-5.3-1-x86_64.pkg.tar.zst",
    "256 bytes": "b" * 256,
}


@pytest.mark.parametrize("file_name", BAD_FILE_NAMES.values(), ids=BAD_FILE_NAMES)
def test_refuses_the_file_name_with(file_name):
    assert refused("package", BASH[1], file_name).code == "file-name-invalid"


ISO = "pkg:generic/arch/archlinux-iso@2025.10.01?arch=x86_64"
DISAGREEING = {
    "another name": ("package", BASH[1], "dash-5.3-1-x86_64.pkg.tar.zst"),
    "another version": ("package", BASH[1], "bash-5.4-1-x86_64.pkg.tar.zst"),
    "another architecture": ("package", BASH[1], "bash-5.3-1-any.pkg.tar.zst"),
    "another case": ("package", BASH[1], "Bash-5.3-1-x86_64.pkg.tar.zst"),
    "a signature's file": ("package", BASH[1], "bash-5.3-1-x86_64.pkg.tar.zst.sig"),
    "an unknown ending": ("package", BASH[1], "bash-5.3-1-x86_64.pkg.tar.exe"),
    "a Debian file under an alpm purl": ("package", BASH[1], "bash_5.3-1_x86_64.deb"),
    "an escaped file name": (
        "package",
        "pkg:alpm/arch/a%2B@1-1?arch=any",
        "a%2B-1-1-any.pkg.tar.zst",
    ),
    "an alpm epoch that the file leaves out": (
        "package",
        "pkg:alpm/arch/bash@1:5.3-1?arch=x86_64",
        "bash-5.3-1-x86_64.pkg.tar.zst",
    ),
    "a Debian architecture with an underscore": (
        "package",
        "pkg:deb/debian/bash@5?arch=a_b",
        "bash_5_a_b.deb",
    ),
    "a package's file for a database": ("database", "pkg:generic/arch/extra.db@1?arch=any", BASH[2]),
    "a database of another name": ("database", "pkg:generic/arch/core.db@1?arch=any", "extra.db.tar.gz"),
    "a sequence with a leading zero": ("database", "pkg:generic/arch/extra.db@01?arch=any", "extra.db.tar.gz"),
    "a sequence that is no number": ("database", "pkg:generic/arch/extra.db@1a?arch=any", "extra.db.tar.gz"),
    "an ISO's purl with a VM's file": ("iso", ISO, "archlinux-2025.10.01-x86_64.qcow2"),
    "a VM's kind with an ISO's names": ("vm", ISO, "archlinux-2025.10.01-x86_64.iso"),
    "a dash that could belong to name or version": (
        "iso",
        "pkg:generic/arch/archlinux-iso@2025-10?arch=x86_64",
        "archlinux-2025-10-x86_64.iso",
    ),
}


@pytest.mark.parametrize("names", DISAGREEING.values(), ids=DISAGREEING)
def test_refuses_names_that_disagree_by(names):
    assert refused(*names).code == "names-disagree"


@pytest.mark.parametrize("kind", ["", "Package", "packages", "package\n", "file"])
def test_refuses_the_kind(kind):
    assert refused(kind, *BASH[1:]).code == "kind-unknown"


@pytest.mark.parametrize("names", [n for n in GOOD.values() if n[0] != "database" and "1:5.2-2" not in n[1]])
def test_a_file_name_alone_is_its_release_within_a_scope(names):
    release = parse_release(*names)
    assert release_named(release.kind, release.type, release.namespace, release.file_name) == release


def test_a_database_s_file_name_alone_is_no_release():
    assert release_named(Kind.DATABASE, "generic", "arch", "extra.db.tar.gz") is None


@pytest.mark.parametrize("file_name", BAD_FILE_NAMES.values(), ids=BAD_FILE_NAMES)
def test_no_release_is_named_by_a_file_name_with(file_name):
    assert release_named(Kind.PACKAGE, "alpm", "arch", file_name) is None


@pytest.mark.parametrize(
    ("kind", "purl_type", "namespace", "file_name"),
    [
        (Kind.PACKAGE, "deb", "debian", BASH[2]),
        (Kind.PACKAGE, "alpm", "*", BASH[2]),
        (Kind.PACKAGE, "alpm", "Arch", BASH[2]),
        (Kind.PACKAGE, "generic", "arch", BASH[2]),
        (Kind.VM, "generic", "arch", "archlinux-2025.10.01-x86_64.iso"),
        (Kind.PACKAGE, "alpm", "arch", "bash-5.3-1-_x86.pkg.tar.zst"),
        (Kind.PACKAGE, "alpm", "arch", f"{'+' * 200}-5.3-1-any.pkg.tar.zst"),
    ],
    ids=[
        "another type's",
        "no wildcard",
        "odd namespace",
        "wrong type for the kind",
        "another kind's",
        "odd architecture",
        "a purl over the limit",
    ],
)
def test_a_file_name_names_no_release_outside_its_scope(kind, purl_type, namespace, file_name):
    assert release_named(kind, purl_type, namespace, file_name) is None


def test_which_scopes_could_ever_match():
    assert could_be_scope(Kind.PACKAGE, "alpm", "arch", None)
    assert could_be_scope(Kind.PACKAGE, "alpm", "arch", "x86_64")
    assert not could_be_scope(Kind.PACKAGE, "generic", "arch", None)
    assert not could_be_scope(Kind.PACKAGE, "alpm", "*", None)
    assert not could_be_scope(Kind.PACKAGE, "alpm", "arch", "")
    assert not could_be_scope(Kind.PACKAGE, "alpm", "arch/x", "any")


ODD = st.sampled_from(
    [*string.ascii_lowercase[:4], *"AB019.-_+~^:@%/?#=& \n\0é", "%2B", "%2b", "%40", "%5E", "%7E", "%3A"]
)
WORDS = st.lists(ODD, min_size=1, max_size=6).map("".join)
SANE = st.text("ab1.+_-", min_size=1, max_size=5)


@given(
    name=WORDS,
    version=WORDS,
    arch=st.sampled_from(["any", "x86_64", "x-86", ""]),
    purl_type=st.sampled_from(["alpm", "deb"]),
)
def test_law_what_is_accepted_is_spelled_as_the_library_spells_it(name, version, arch, purl_type):
    purl = f"pkg:{purl_type}/arch/{name}@{version}?arch={arch}"
    meant = (
        name.replace("%2B", "+").replace("%40", "@").replace("%5E", "^"),
        version.replace("%2B", "+").replace("%5E", "^"),
    )
    file_name = f"{meant[0]}-{meant[1]}-{arch}.pkg.tar" if purl_type == "alpm" else f"{meant[0]}_{meant[1]}_{arch}.deb"
    try:
        release = parse_release("package", purl, file_name)
    except Rejected:
        return
    assert spelled_by_library(purl) == purl
    assert (release.name, release.version) == meant


@given(name=SANE, version=SANE, release=st.sampled_from(["1", "1.2", "x"]), ending=st.sampled_from(["", ".zst", ".xz"]))
def test_law_a_package_s_file_name_and_its_purl_give_each_other(name, version, release, ending):
    file_name = f"{name}-{version}-{release}-any.pkg.tar{ending}"
    named = release_named(Kind.PACKAGE, "alpm", "arch", file_name)
    if named is not None:
        assert parse_release("package", named.purl, file_name) == named
        assert f"{named.name}-{named.version}-{named.arch}.pkg.tar{ending}" == file_name


@given(
    st.sampled_from(
        [(kind, "alpm") for kind in ["package"]] + [(kind, "generic") for kind in ("iso", "vm", "database")]
    ),
    SANE,
    SANE,
    SANE,
    SANE,
)
def test_law_one_file_name_has_one_purl(kind_and_type, name, version, other_name, other_version):
    """Two ways to cut one file name into name and version are never both accepted."""
    kind, purl_type = kind_and_type
    suffix = {"package": ".pkg.tar", "iso": ".iso", "vm": ".img"}.get(kind, ".db.tar")
    file_name = f"{name}-{version}-any{suffix}"

    def accepted(name, version):
        spelled = (name.replace("+", "%2B"), version.replace("+", "%2B"))
        purl_name = spelled[0] + {"iso": "-iso", "vm": "-vm"}.get(kind, "")
        try:
            return parse_release(kind, f"pkg:{purl_type}/arch/{purl_name}@{spelled[1]}?arch=any", file_name)
        except Rejected:
            return None

    whole = f"{name}-{version}"
    cuts = [(whole[:i], whole[i + 1 :]) for i, letter in enumerate(whole) if letter == "-"]
    found = {release for cut in [*cuts, (other_name, other_version)] if (release := accepted(*cut))}
    assert len(found) <= 1
