"""The pure rule of what a release's bytes may be, on facts made by hand. Real archives: tests/edges/content."""

import io
import posixpath
import tarfile

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.contents import Entry, Facts, check_contents, is_package_info
from attestor.core.errors import Rejected
from attestor.core.magic import archive_magic
from attestor.core.naming import parse_release

DATABASE = parse_release("database", "pkg:generic/arch/extra.db@7?arch=x86_64", "extra.db.tar.gz")
ISO = parse_release("iso", "pkg:generic/arch/a-iso@1?arch=x86_64", "a-1-x86_64.iso")
VM = parse_release("vm", "pkg:generic/arch/a-vm@1?arch=x86_64", "a-1-x86_64.qcow2")
PACKAGE = parse_release("package", "pkg:alpm/arch/a@1-1?arch=any", "a-1-1-any.pkg.tar.zst")

NOTHING = Facts(
    size=1,
    head=b"",
    volume=b"",
    format="",
    filters=(),
    entries=(),
    package_info="",
    warnings=0,
    trouble="",
)
GOOD = {
    DATABASE: msgspec.structs.replace(
        NOTHING, format="GNU tar format", filters=("gzip",), entries=(Entry("file", "a-1-1/desc"),)
    ),
    ISO: msgspec.structs.replace(NOTHING, volume=b"\x01CD001\x01\x00", format="ISO9660"),
    VM: NOTHING,
    PACKAGE: msgspec.structs.replace(
        NOTHING,
        format="POSIX ustar format",
        filters=("zstd",),
        entries=(Entry("file", ".PKGINFO"),),
        package_info="pkgname = a\npkgver = 1-1\narch = any\n",
    ),
}
RELEASES = [DATABASE, ISO, VM, PACKAGE]


def kind_of(release):
    return str(release.kind)


def code_of(release, facts):
    with pytest.raises(Rejected) as refusal:
        check_contents(release, facts)
    return refusal.value.code


@pytest.mark.parametrize("release", RELEASES, ids=kind_of)
def test_the_right_content_is_accepted(release):
    check_contents(release, GOOD[release])


@pytest.mark.parametrize("release", RELEASES, ids=kind_of)
def test_a_walk_that_did_not_end_is_never_accepted(release):
    assert code_of(release, msgspec.structs.replace(GOOD[release], trouble="x")) == "content-unreadable"


@pytest.mark.parametrize("release", RELEASES, ids=kind_of)
def test_an_empty_file_is_nothing(release):
    assert code_of(release, msgspec.structs.replace(GOOD[release], size=0)) == "content-empty"


@pytest.mark.parametrize("release", [DATABASE, PACKAGE], ids=kind_of)
def test_what_libalpm_would_stop_at_is_refused(release):
    assert code_of(release, msgspec.structs.replace(GOOD[release], warnings=1)) == "content-unreadable"


@pytest.mark.parametrize("filters", [("uu",), ("lz4",), ("gzip", "gzip"), ("lrzip",)], ids=" in ".join)
def test_a_database_comes_in_one_of_pacmans_filters_only(filters):
    assert code_of(DATABASE, msgspec.structs.replace(GOOD[DATABASE], filters=filters)) == "content-not-database"


def test_an_image_behind_a_filter_is_refused():
    for release in (ISO, VM):
        assert code_of(release, msgspec.structs.replace(GOOD[release], filters=("uu",))) == "content-is-archive"


FOLDERS = {
    "a-1-1": True,
    "lib32-gcc-libs-15.2.1+r22+gc4e96a094636-1": True,
    "a-1:2.0-1.1": True,
    "a@b+c_d.e-0_git~1-3": True,
    "A-1-1": True,
    "a-0:1-1": False,
    "a-1": False,
    "a": False,
    "": False,
    ".a-1-1": False,
    "-1-1": False,
    "a-1-x": False,
    "a-1-1\n": False,
    "a b-1-1": False,
    "ä-1-1": False,
}


@pytest.mark.parametrize(("folder", "allowed"), FOLDERS.items(), ids=repr)
def test_a_databases_folder_is_a_name_and_a_version(folder, allowed):
    facts = msgspec.structs.replace(GOOD[DATABASE], entries=(Entry("directory", f"{folder}/"),))
    if allowed:
        check_contents(DATABASE, facts)
    else:
        assert code_of(DATABASE, facts) == "content-not-database"


@pytest.mark.parametrize(
    "spelling", [".PKGINFO", "./.PKGINFO", "/.PKGINFO", "//.//.PKGINFO", ".pkginfo", "x/../.PKGINFO/"]
)
def test_every_spelling_of_package_information_in_the_root_is_known(spelling):
    assert is_package_info(spelling)


@pytest.mark.parametrize("spelling", ["", "x/.PKGINFO", "PKGINFO", ".PKGINFO.x", ".PKGINFO/x", ".BUILDINFO"])
def test_other_names_are_not_package_information(spelling):
    assert not is_package_info(spelling)


entries = st.lists(
    st.builds(Entry, st.sampled_from(["file", "directory", "symlink"]), st.text(max_size=20)), max_size=5
)


@given(before=entries, after=entries, steps=st.lists(st.sampled_from([".", "", "x/.."]), max_size=3))
def test_wherever_package_information_stands_among_the_entries_it_is_no_other_kind(before, after, steps):
    hidden = Entry("file", posixpath.join("/".join(steps), ".PKGINFO"))
    for release in (DATABASE, ISO, VM):
        facts = msgspec.structs.replace(GOOD[release], entries=(*before, hidden, *after))
        assert code_of(release, facts) == "content-is-package"


PACKAGE_INFOS = {
    "a key of another case": "PKGNAME = a\npkgver = 1-1\narch = any\n",
    "without spaces, which libalpm does not read": "pkgname=a\npkgver = 1-1\narch = any\n",
    "only in a comment": "# pkgname = a\npkgver = 1-1\narch = any\n",
    "behind a carriage return": "pkgname = a\r\npkgver = 1-1\narch = any\n",
    "said twice, the same": "pkgname = a\npkgname = a\npkgver = 1-1\narch = any\n",
}


@pytest.mark.parametrize("text", PACKAGE_INFOS.values(), ids=PACKAGE_INFOS)
def test_a_name_that_libalpm_would_not_read_as_the_release_is_refused(text):
    assert code_of(PACKAGE, msgspec.structs.replace(GOOD[PACKAGE], package_info=text)) == "package-info-disagrees"


IMAGES = {
    "qcow2": b"QFI\xfb\0\0\0\3",
    "vmdk": b"KDMV\1\0\0\0",
    "a boot record": b"\xeb\x63\x90" + bytes(507) + b"\x55\xaa",
    "zeros": bytes(512),
    "nothing": b"",
    "fewer bytes than a magic": b"\x1f",
}


@pytest.mark.parametrize("head", IMAGES.values(), ids=IMAGES)
def test_the_head_of_an_image_is_no_archive(head):
    assert archive_magic(head) is None


@given(st.binary(min_size=512, max_size=512).filter(lambda head: archive_magic(head) is None), st.text(max_size=8))
def test_any_head_becomes_a_tars_when_it_is_a_tars(noise, name):
    header = tarfile.TarInfo(name or "x").tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")[:257]
    block = bytearray(header + noise[257:])
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    assert archive_magic(bytes(block)) is not None


def test_python_reads_what_is_called_a_tar_here():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("x"))
    assert archive_magic(file.getvalue()[:512]) == "tar"
