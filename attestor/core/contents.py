"""What the bytes of a release may be, so that one signature cannot be used as another.

A detached OpenPGP signature names neither file nor kind, and pacman has one keyring for packages and databases. An ISO
image with ``.PKGINFO`` in its root, signed as an ISO and renamed, is a package to pacman: libalpm takes whatever format and
filter libarchive opens and looks for that one name (libalpm ``be_package.c``). Here the kinds are told apart.
"""

import posixpath
import re
from collections import Counter
from typing import Final, Literal

import msgspec

from attestor.core.errors import Malformed, Rejected
from attestor.core.magic import archive_magic
from attestor.core.naming import Kind, Release
from attestor.core.predecessor import Packages, packages_in

EntryType = Literal["file", "directory", "hardlink", "symlink", "other"]


class Entry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One entry as libarchive names it."""

    type: EntryType
    path: str
    """UTF-8; other bytes stand as ``\\xNN``."""


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the inspector saw; it judges nothing."""

    size: int
    head: bytes
    """The first 512 bytes."""
    volume: bytes
    """The 8 bytes at offset 32768, where an ISO9660's first volume descriptor begins (ECMA-119 §6.2)."""
    format: str
    """libarchive's name of the format; empty where it knows none."""
    filters: tuple[str, ...]
    """What had to be undone around the format, outermost last: ``gzip``, ``zstd``, ``uu`` and so on."""
    entries: tuple[Entry, ...]
    """In order; of an ISO9660 the entries of each of its trees (Rock Ridge, Joliet, plain), one tree after the other."""
    package_info: str
    """The text of the first entry named exactly ``.PKGINFO``; empty where there is none."""
    warnings: int
    """How often libarchive read on although something was odd; libalpm stops there."""
    trouble: str
    """Why the walk did not come to the end; empty where it did, or where there was no archive to walk."""


_TAR: Final = frozenset(
    {"POSIX ustar format", "POSIX pax interchange format", "GNU tar format", "tar (non-POSIX)", "tar"}
)
_PACMAN_FILTERS: Final = ((), ("gzip",), ("xz",), ("zstd",), ("bzip2",))
# makepkg's lint_pkgbuild: names of ASCII letters, digits and @._+-, not led by a dot or dash; versions of printable ASCII
# without colon, slash, dash or space.
_ALPM_FOLDER = re.compile(
    r"[A-Za-z0-9@_+][A-Za-z0-9@._+-]*-(?:[1-9][0-9]{0,8}:)?[!-,.0-9;-~]+-[0-9]+(?:\.[0-9]+)?", re.ASCII
)
_DATABASE_FILES: Final = frozenset({"desc", "depends", "files"})
_DEB_MEMBERS = re.compile(
    r"debian-binary control\.tar(?:\.gz|\.xz|\.zst)? data\.tar(?:\.gz|\.xz|\.zst|\.bz2|\.lzma)?", re.ASCII
)


def check_contents(release: Release, facts: Facts) -> None:
    """Accept the bytes for this release, or raise ``Rejected`` saying what they are instead.

    Codes: ``content-empty``, ``content-is-package``, ``content-is-archive``, ``content-unreadable``,
    ``content-not-database``, ``content-not-iso``, ``content-not-package``, ``package-info-disagrees``.
    """
    if facts.size == 0:
        raise Rejected("content-empty", "The artifact is empty; offer the finished file.")
    if release.kind is not Kind.PACKAGE:
        _refuse_package(release.kind, facts)
    match release.kind:
        case Kind.DATABASE:
            _check_database(facts)
        case Kind.ISO:
            _check_iso(facts)
        case Kind.VM:
            _check_vm(facts)
        case Kind.PACKAGE if release.type == "deb":
            _check_deb(facts)
        case Kind.PACKAGE:
            _check_alpm(release, facts)


def is_package_info(path: str) -> bool:
    """Whether a path names ``.PKGINFO`` in the root, by any spelling: wider than libalpm, which compares the name as it is."""
    return posixpath.normpath("/" + path).strip("/").casefold() == ".pkginfo"


def _refuse_package(kind: Kind, facts: Facts) -> None:
    if any(is_package_info(entry.path) for entry in facts.entries):
        raise Rejected(
            "content-is-package",
            f"The artifact holds .PKGINFO in its root, so pacman would install it as a package; it is never signed as {kind}.",
        )


def _refuse_unread(facts: Facts) -> None:
    trouble = facts.trouble or (f"{facts.warnings} odd entries" if facts.warnings else "")
    if trouble:
        raise Rejected("content-unreadable", f"libarchive could not read the artifact to its end: {trouble}.")


def _check_database(facts: Facts) -> None:
    if facts.format not in _TAR or facts.filters not in _PACMAN_FILTERS:
        raise _not_database(f"it is {_described(facts)}, not a tar that pacman reads")
    _refuse_unread(facts)
    for entry in facts.entries:
        if not _belongs_in_database(entry):
            raise _not_database(f"it holds {entry.path[:80]!r} ({entry.type})")
    repeated = [path for path, times in Counter(entry.path for entry in facts.entries).items() if times > 1]
    if repeated:
        raise _not_database(f"it holds {repeated[0][:80]!r} more than once")
    try:
        packages_of(facts)
    except Malformed as error:
        # pacman would install one of the two, by the metadata of the other.
        raise _not_database(error.sentence) from error


def packages_of(facts: Facts) -> Packages:
    """What a database that :func:`check_contents` took lists."""
    return packages_in(frozenset(entry.path.partition("/")[0] for entry in facts.entries))


def _belongs_in_database(entry: Entry) -> bool:
    folder, _, name = entry.path.partition("/")
    allowed = name == "" if entry.type == "directory" else entry.type == "file" and name in _DATABASE_FILES
    return allowed and _ALPM_FOLDER.fullmatch(folder) is not None


def _not_database(why: str) -> Rejected:
    return Rejected(
        "content-not-database",
        f"The artifact is no package database: {why}. A database is a tar of NAME-VERSION/ with desc, depends and files.",
    )


def _refuse_archive(kind: Kind, facts: Facts) -> None:
    magic = archive_magic(facts.head)
    if magic is not None:
        raise Rejected("content-is-archive", f"The artifact begins as {magic}; an image of kind {kind} never does.")
    if facts.filters:
        raise Rejected("content-is-archive", f"libarchive reads the artifact through {', '.join(facts.filters)}.")


def _check_iso(facts: Facts) -> None:
    _refuse_archive(Kind.ISO, facts)
    if facts.volume[1:6] != b"CD001" or not facts.format.startswith("ISO9660"):
        raise Rejected("content-not-iso", f"The artifact is no ISO9660 image: it is {_described(facts)}.")
    if facts.trouble:
        raise Rejected("content-unreadable", f"libarchive could not read the image to its end: {facts.trouble}.")


def _check_vm(facts: Facts) -> None:
    _refuse_archive(Kind.VM, facts)
    if facts.entries:
        raise Rejected("content-is-archive", f"The artifact is {_described(facts)} with entries, not a disk image.")
    if facts.trouble:
        raise Rejected("content-unreadable", f"libarchive could not tell what the image is: {facts.trouble}.")


def _check_alpm(release: Release, facts: Facts) -> None:
    if facts.format not in _TAR:
        raise _not_package(f"it is {_described(facts)}, not a tar")
    _refuse_unread(facts)
    if [entry for entry in facts.entries if is_package_info(entry.path)] != [Entry("file", ".PKGINFO")]:
        raise _not_package("it must hold exactly one .PKGINFO, a plain file in its root")
    stated = {"pkgname": release.name, "pkgver": release.version, "arch": release.arch}
    for key, expected in stated.items():
        found = _values_of(key, facts.package_info)
        if found != [expected]:
            raise Rejected(
                "package-info-disagrees",
                f"The package's .PKGINFO says {key} = {' and '.join(found)[:80] or 'nothing'!r}; the release says {expected!r}.",
            )


def _values_of(key: str, package_info: str) -> list[str]:
    """As libalpm's parse_descfile: lines ``key = value``, and ``#`` comments."""
    prefix = f"{key} = "
    return [line.removeprefix(prefix) for line in package_info.split("\n") if line.startswith(prefix)]


def _check_deb(facts: Facts) -> None:
    if not facts.format.startswith("ar") or facts.filters:
        raise _not_package(f"it is {_described(facts)}, not an ar")
    _refuse_unread(facts)
    if any(entry.type != "file" for entry in facts.entries):
        raise _not_package("it holds something else than files")
    # deb(5): further members are allowed only with a leading underscore; none of them is needed, so none is signed.
    if not _DEB_MEMBERS.fullmatch(" ".join(entry.path for entry in facts.entries)):
        raise _not_package("a deb is debian-binary, control.tar and data.tar, in this order")


def _not_package(why: str) -> Rejected:
    return Rejected("content-not-package", f"The artifact is no package of the release's type: {why}.")


def _described(facts: Facts) -> str:
    form = facts.format or "nothing that libarchive knows"
    return f"{form} in {', '.join(facts.filters)}" if facts.filters else form
