"""Real archives through the real inspector and the rule: what each kind takes, and what is refused whatever it is called."""

import asyncio
import bz2
import gzip
import io
import lzma
import os
import subprocess
import tarfile
import zipfile

import pytest
import zstandard

from attestor.content.inspect import inspect
from attestor.core.contents import check_contents
from attestor.core.errors import Rejected
from attestor.core.naming import parse_release

DATABASE = parse_release("database", "pkg:generic/arch/extra.db@7?arch=x86_64", "extra.db.tar.gz")
ISO = parse_release("iso", "pkg:generic/arch/archlinux-iso@2025.10.01?arch=x86_64", "archlinux-2025.10.01-x86_64.iso")
VM = parse_release("vm", "pkg:generic/arch/arch-vm@20251001?arch=x86_64", "arch-20251001-x86_64.qcow2")
PACKAGE = parse_release(
    "package", "pkg:alpm/arch/filesystem@2025.10.12-1?arch=any", "filesystem-2025.10.12-1-any.pkg.tar.zst"
)
DEB = parse_release("package", "pkg:deb/debian/bash@5.2.15-2?arch=amd64", "bash_5.2.15-2_amd64.deb")
NOT_PACKAGES = [DATABASE, ISO, VM]
BASH = {"bash-5.2-1/": None, "bash-5.2-1/desc": b"%NAME%\nbash\n", "bash-5.2-1/files": b"%FILES%\n"}


@pytest.fixture
def look(tmp_path, library):
    async def run(content):
        path = tmp_path / "content"
        path.write_bytes(content)
        return await inspect(path, deadline_seconds=30, library=library)

    return run


@pytest.fixture
def verdict(look):
    async def judge(release, content):
        return judged(release, await look(content))

    return judge


def judged(release, facts):
    try:
        check_contents(release, facts)
    except Rejected as refusal:
        return refusal.code
    return "accepted"


def printed(arguments, folder):
    return subprocess.run(arguments, cwd=folder, check=True, capture_output=True, text=True).stdout


async def test_a_package_is_never_anything_else(look, package_of):
    facts = await look(package_of())
    assert {judged(release, facts) for release in NOT_PACKAGES} == {"content-is-package"}


async def test_the_real_arch_package_is_never_anything_else(look, real_input):
    facts = await look(real_input("rebuilderd/filesystem-2025.10.12-1-any.pkg.tar.zst").read_bytes())
    assert {judged(release, facts) for release in NOT_PACKAGES} == {"content-is-package"}


async def test_the_real_arch_package_is_the_package_that_it_says(verdict, real_input):
    content = real_input("rebuilderd/filesystem-2025.10.12-1-any.pkg.tar.zst").read_bytes()
    assert await verdict(PACKAGE, content) == "accepted"


def zipped(name, content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


def uuencoded(content):
    import binascii

    lines = [binascii.b2a_uu(content[at : at + 45]) for at in range(0, len(content), 45)]
    return b"begin 644 x\n" + b"".join(lines) + b"`\nend\n"


# Each is a package to a pacman that opens whatever libarchive opens.
DISGUISES = {
    "as plain tar": lambda tar: tar,
    "in gzip": gzip.compress,
    "in xz": lzma.compress,
    "in bzip2": bz2.compress,
    "in zstd behind a skippable frame": lambda tar: b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstandard.compress(tar),
    "in gzip in gzip": lambda tar: gzip.compress(gzip.compress(tar)),
    "uuencoded": uuencoded,
    "as zip": lambda _tar: zipped(".PKGINFO", b"pkgname = x\n"),
    "as zip at the end of a disk image": lambda _tar: bytes([1]) * 65536 + zipped(".PKGINFO", b"pkgname = x\n"),
    "as cpio": lambda _tar: cpio(b".PKGINFO", b"pkgname = x\n"),
    "as mtree that points to a file": lambda _tar: b"#mtree\n.PKGINFO type=file content=/etc/hostname\n",
}


def cpio(name, content):
    """The SVR4 portable format: thirteen 8-digit hex fields after the magic."""

    def member(name, content, mode):
        fields = [1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name + b"\0"
        return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)

    return member(name, content, 0o100644) + member(b"TRAILER!!!", b"", 0)


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
async def test_a_package_is_known_in_every_format_and_filter(look, tar_of, disguise):
    facts = await look(disguise(tar_of({".PKGINFO": b"pkgname = x\npkgver = 1-1\narch = any\n"})))
    assert {judged(release, facts) for release in NOT_PACKAGES} == {"content-is-package"}


ISO_OPTIONS = {
    "with all trees": "",
    "with Joliet only": "iso9660:!rockridge",
    "with Rock Ridge only": "iso9660:!joliet",
}


@pytest.mark.parametrize("options", ISO_OPTIONS.values(), ids=ISO_OPTIONS)
async def test_an_iso_without_package_information_is_an_iso(verdict, iso_of, options):
    assert await verdict(ISO, iso_of({"boot/vmlinuz": b"kernel", "readme.txt": b"hello"}, options)) == "accepted"


@pytest.mark.parametrize("options", ISO_OPTIONS.values(), ids=ISO_OPTIONS)
async def test_an_iso_with_package_information_in_its_root_is_refused(verdict, iso_of, options):
    image = iso_of({".PKGINFO": b"pkgname = x\n", "boot/vmlinuz": b"kernel"}, options)
    assert await verdict(ISO, image) == "content-is-package"


async def test_package_information_below_the_root_of_an_iso_is_no_package(verdict, iso_of):
    assert await verdict(ISO, iso_of({"sub/.PKGINFO": b"pkgname = x\n"})) == "accepted"


async def test_package_information_in_a_tree_that_this_libarchive_does_not_show_is_found(verdict, iso_of):
    image = iso_of({".PKGINFO": b"pkgname = x\n"})
    hidden = image.replace(b".PKGINFO", b"xPKGINFO")
    assert hidden != image, "the Rock Ridge name was there to be renamed; Joliet's is UTF-16"
    assert await verdict(ISO, hidden) == "content-is-package"


async def test_pacman_itself_takes_such_an_iso_for_a_package(tmp_path, tool, iso_of):
    """The trap is real: this is why the rule exists."""
    image = tmp_path / "x-1-1-any.pkg.tar.zst"
    image.write_bytes(iso_of({".PKGINFO": b"pkgname = x\npkgver = 1-1\narch = any\nsize = 1\n"}))
    (tmp_path / "db").mkdir()
    asked = [tool("pacman"), "-Qp", "--config", "/dev/null", "--dbpath", str(tmp_path / "db"), str(image)]
    assert printed(asked, tmp_path) == "x 1-1\n"


ISO_DISGUISES = {
    "a tar in its first 32 KiB": (lambda iso, tar: tar + iso[len(tar) :], "content-is-archive"),
    "the oldest tar, without a magic": (lambda iso, tar: without_magic(tar) + iso[len(tar) :], "content-is-archive"),
    "gzip around it": (lambda iso, _tar: gzip.compress(iso), "content-is-archive"),
    "a gzip header before it": (lambda iso, _tar: b"\x1f\x8b" + iso[2:], "content-is-archive"),
    "a program before it": (lambda iso, _tar: b"MZ" + iso[2:], "content-is-archive"),
    "no volume descriptor": (lambda iso, _tar: iso.replace(b"CD001", b"XX001"), "content-not-iso"),
    "nothing": (lambda _iso, _tar: b"", "content-empty"),
    "its directories missing": (lambda iso, _tar: iso[:53_248], "content-unreadable"),
    "its directories overwritten": (lambda iso, _tar: iso[:45_056] + b"\xff" * 300_000, "content-unreadable"),
}


def without_magic(tar):
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        first = archive.getmembers()[0]
    header = bytearray(first.tobuf(tarfile.USTAR_FORMAT)[:512])
    header[257:265] = bytes(8)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + tar[512:]


@pytest.mark.parametrize(("change", "expected"), ISO_DISGUISES.values(), ids=ISO_DISGUISES)
async def test_an_iso_with_something_else_about_it_is_refused(verdict, iso_of, tar_of, change, expected):
    image, tar = iso_of({"readme.txt": b"hello"}), tar_of({"x": b"x"}, tarfile.USTAR_FORMAT)
    assert await verdict(ISO, change(image, tar)) == expected


VMS = {
    "qcow2": (b"QFI\xfb\0\0\0\3" + bytes(200_000), "accepted"),
    "vmdk": (b"KDMV\1\0\0\0" + bytes(200_000), "accepted"),
    "a vmdk's text": (b"# Disk DescriptorFile\nversion=1\nCID=fffffffe\nRW 1 FLAT x-flat.vmdk 0\n", "accepted"),
    "raw with a boot record": (b"\xeb\x63\x90" + bytes(507) + b"\x55\xaa" + bytes(200_000), "accepted"),
    "raw and empty at its start": (bytes(200_000) + b"data", "accepted"),
    "an ISO image": (None, "content-is-archive"),
    "zip at the end": (bytes([1]) * 65536 + zipped("x", b"x"), "content-is-archive"),
    "nothing": (b"", "content-empty"),
}


@pytest.mark.parametrize(("content", "expected"), VMS.values(), ids=VMS)
async def test_a_vm_image_is_a_disk_and_no_archive(verdict, iso_of, content, expected):
    assert await verdict(VM, iso_of({"readme.txt": b"hello"}) if content is None else content) == expected


FILTERS = {
    "none": bytes,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zstd": zstandard.compress,
}


@pytest.mark.parametrize("compress", FILTERS.values(), ids=FILTERS)
async def test_a_database_in_each_of_pacmans_filters_is_a_database(verdict, tar_of, compress):
    assert await verdict(DATABASE, compress(tar_of(BASH))) == "accepted"


async def test_a_database_of_no_packages_is_a_database(verdict, tar_of):
    assert await verdict(DATABASE, gzip.compress(tar_of({}))) == "accepted"


NO_DATABASES = {
    "a tar of other files": {"home/": None, "home/x": b"x"},
    "one other file beside": BASH | {"readme": b"x"},
    "another file in a package": BASH | {"bash-5.2-1/install": b"x"},
    "a folder in a package": BASH | {"bash-5.2-1/desc2/": None},
    "a symbolic link": BASH | {"sh-1-1/desc": (tarfile.SYMTYPE, "../../etc/passwd")},
    "a hard link": BASH | {"sh-1-1/desc": (tarfile.LNKTYPE, "bash-5.2-1/desc")},
    "a fifo": BASH | {"sh-1-1/desc": (tarfile.FIFOTYPE, "")},
    "a path from the root": BASH | {"/sh-1-1/desc": b"x"},
    "a path upwards": BASH | {"../sh-1-1/desc": b"x"},
    "a path upwards in the middle": BASH | {"sh-1-1/../desc": b"x"},
    "a folder without version": BASH | {"sh/desc": b"x"},
    "a name led by a dash": BASH | {"-sh-1-1/desc": b"x"},
    "a name that is not ASCII": BASH | {"bäsh-1-1/desc": b"x"},
    "one file twice": [*BASH.items(), ("bash-5.2-1/desc", b"other")],
    "a file where a folder stands": BASH | {"sh-1-1": b"x"},
}


@pytest.mark.parametrize("members", NO_DATABASES.values(), ids=NO_DATABASES)
async def test_a_tar_with_anything_else_is_no_database(verdict, tar_of, members):
    assert await verdict(DATABASE, gzip.compress(tar_of(members))) == "content-not-database"


async def test_a_database_that_breaks_off_is_refused(verdict, tar_of):
    whole = gzip.compress(tar_of(BASH | {"big-1-1/files": os.urandom(300_000)}))
    assert await verdict(DATABASE, whole[:-1000]) == "content-unreadable"


async def test_text_named_as_a_database_is_refused(verdict):
    assert await verdict(DATABASE, b"not a tar at all\n" * 100) == "content-not-database"


async def test_what_repo_add_writes_is_a_database(tmp_path, verdict, tool, package_of):
    package = tmp_path / "filesystem-2025.10.12-1-any.pkg.tar.zst"
    package.write_bytes(package_of())
    for name in ("extra.db.tar.gz", "extra.files.tar.gz"):
        asked = [tool("repo-add"), "--quiet", str(tmp_path / "extra.db.tar.gz"), str(package)]
        printed(asked, tmp_path)
        assert await verdict(DATABASE, (tmp_path / name).read_bytes()) == "accepted"


PACKAGES = {
    "another name": ({"pkgname": "bash"}, "package-info-disagrees"),
    "another version": ({"pkgver": "2025.10.12-2"}, "package-info-disagrees"),
    "another architecture": ({"arch": "x86_64"}, "package-info-disagrees"),
    "no architecture": ({"arch": None}, "package-info-disagrees"),
    "exactly the release": ({}, "accepted"),
}


@pytest.mark.parametrize(("change", "expected"), PACKAGES.values(), ids=PACKAGES)
async def test_a_package_states_the_release(verdict, package_of, change, expected):
    stated = {"pkgname": "filesystem", "pkgver": "2025.10.12-1", "arch": "any"} | change
    lines = "".join(f"{key} = {value}\n" for key, value in stated.items() if value)
    assert await verdict(PACKAGE, package_of(lines)) == expected


async def test_a_package_that_states_its_name_twice_is_refused(verdict, package_of):
    lines = "pkgname = filesystem\npkgver = 2025.10.12-1\narch = any\npkgname = bash\n"
    assert await verdict(PACKAGE, package_of(lines)) == "package-info-disagrees"


async def test_a_package_with_a_second_package_information_is_refused(verdict, package_of):
    assert await verdict(PACKAGE, package_of(more={"./.PKGINFO": b"pkgname = x\n"})) == "content-not-package"


async def test_a_tar_without_package_information_is_no_package(verdict, tar_of):
    assert await verdict(PACKAGE, zstandard.compress(tar_of({"x": b"x"}))) == "content-not-package"


def ar(members):
    """System V ar(5), as dpkg-deb writes it."""
    packed = b"!<arch>\n"
    for name, content in members.items():
        packed += b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (name, 0, 0, 0, b"100644", len(content)) + content
        packed += b"\n" * (len(content) % 2)
    return packed


DEBS = {
    "a deb": ({b"debian-binary": b"2.0\n", b"control.tar.xz": b"..", b"data.tar.zst": b".."}, "accepted"),
    "its parts in another order": ({b"debian-binary": b"2.0\n", b"data.tar": b"", b"control.tar": b""}, None),
    "a part missing": ({b"debian-binary": b"2.0\n", b"control.tar.xz": b".."}, None),
    "a part more": (
        {b"debian-binary": b"2.0\n", b"control.tar": b"", b"data.tar": b"", b"_gpgorigin": b"x"},
        None,
    ),
}


@pytest.mark.parametrize(("members", "expected"), DEBS.values(), ids=DEBS)
async def test_a_deb_is_an_ar_of_its_three_parts(verdict, members, expected):
    assert await verdict(DEB, ar(members)) == (expected or "content-not-package")


async def test_what_dpkg_deb_builds_is_a_deb(tmp_path, verdict, tool):
    (tmp_path / "bash" / "DEBIAN").mkdir(parents=True)
    control = "Package: bash\nVersion: 5.2.15-2\nArchitecture: amd64\nMaintainer: M <m@example.org>\nDescription: d\n"
    (tmp_path / "bash" / "DEBIAN" / "control").write_text(control)
    printed([tool("dpkg-deb"), "--build", "bash", "bash.deb"], tmp_path)
    assert await verdict(DEB, (tmp_path / "bash.deb").read_bytes()) == "accepted"


async def test_inspections_at_the_same_time_do_not_meet(tmp_path, library, tar_of):
    for index in range(4):
        (tmp_path / str(index)).write_bytes(tar_of({f"name{index}": b"x"}))
    facts = await asyncio.gather(
        *(inspect(tmp_path / str(index), deadline_seconds=30, library=library) for index in range(4))
    )
    assert [found.entries[0].path for found in facts] == [f"name{index}" for index in range(4)]
