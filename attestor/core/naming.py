"""Names of releases: kind, canonical purl, file name (design: what is voted on).

A release is what operators vote on and what is signed once. Its three names must agree with each other exactly, so that
two spellings can never split a vote or let one vote count for two things. Sources: the purl specification (ECMA-427) with
its ``alpm``, ``deb`` and ``generic`` types, pacman's and Debian's file names.
"""

import functools
import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import quote

from attestor.core.errors import Rejected

MAX_PURL_BYTES: Final = 512
MAX_FILE_NAME_BYTES: Final = 255
# A release is named by each of its operators and read back with each of its votes; refused names are not remembered.
_RELEASES_REMEMBERED: Final = 4096


class Kind(StrEnum):
    """What a release is; the kind decides which rules and which signing key can govern it."""

    PACKAGE = "package"
    DATABASE = "database"
    ISO = "iso"
    VM = "vm"


_KINDS: Final = {str(kind): kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Release:
    """One thing that is voted on; made only by :func:`parse_release` and :func:`release_named`."""

    kind: Kind
    purl: str
    file_name: str
    type: str = field(compare=False)
    namespace: str = field(compare=False)
    name: str = field(compare=False)
    version: str = field(compare=False)
    arch: str = field(compare=False)
    id: str = field(compare=False)
    """Lower-case hex SHA-256 of kind LF purl LF file name."""


class _Parts(NamedTuple):
    """A purl taken apart, decoded."""

    type: str
    namespace: str
    name: str
    version: str
    arch: str


@dataclass(frozen=True, slots=True)
class _Grammar:
    """How one purl type spells its parts."""

    name: re.Pattern[str]
    version: re.Pattern[str]


_NAMESPACE = r"[a-z0-9][a-z0-9._-]{0,63}"
_ARCH = r"[a-z0-9][a-z0-9_]{0,31}"
_PURL = re.compile(
    rf"pkg:([a-z]+)/({_NAMESPACE})/([A-Za-z0-9._~%-]+)@([A-Za-z0-9._~:%-]+)\?arch=({_ARCH})",
    re.ASCII,
)
_NAMESPACE_AND_ARCH = re.compile(rf"{_NAMESPACE}/{_ARCH}", re.ASCII)
# No slash, space, quote or backslash, no leading dot or dash.
_SAFE_FILE_NAME = re.compile(rf"(?![.-])[!#-.0-\[\]-~]{{1,{MAX_FILE_NAME_BYTES}}}", re.ASCII)
_ALPM_VERSION = r"(?:[1-9][0-9]{0,8}:)?[A-Za-z0-9._+~^]+-[0-9]+(?:\.[0-9]+)?"
_GRAMMARS: Final = {
    "alpm": _Grammar(re.compile(r"[a-z0-9_+@][a-z0-9@._+-]*", re.ASCII), re.compile(_ALPM_VERSION, re.ASCII)),
    "deb": _Grammar(
        re.compile(r"[a-z0-9][a-z0-9+.-]+", re.ASCII),
        re.compile(r"(?:[1-9][0-9]{0,8}:)?[0-9][A-Za-z0-9.+~-]*", re.ASCII),
    ),
    "generic": _Grammar(
        re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*", re.ASCII), re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*", re.ASCII)
    ),
}
TYPES: Final = {
    Kind.PACKAGE: frozenset({"alpm", "deb"}),
    Kind.DATABASE: frozenset({"generic"}),
    Kind.ISO: frozenset({"generic"}),
    Kind.VM: frozenset({"generic"}),
}
"""The purl types that a release of each kind may have."""
_ALPM_FILE = re.compile(
    rf"(?P<name>[a-z0-9_+@][a-z0-9@._+-]*)-(?P<version>{_ALPM_VERSION})-(?P<arch>[a-z0-9_]+)"
    r"\.pkg\.tar(?:\.(?:gz|bz2|xz|zst|lrz|lzo|Z|lz4|lz))?",
    re.ASCII,
)
_DEB_FILE = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9+.-]+)_(?P<version>[0-9][A-Za-z0-9.+~-]*)_(?P<arch>[a-z0-9]+)\.deb", re.ASCII
)
_DATABASE_FILE = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._+-]*\.(?:db|files))\.tar(?:\.(?:gz|bz2|xz|zst))?", re.ASCII
)
_IMAGE_FILE = re.compile(
    r"(?P<base>[A-Za-z0-9][A-Za-z0-9._+-]*?)-(?P<version>[0-9][A-Za-z0-9._+~]*)-(?P<arch>[a-z0-9_]+)\.(?P<suffix>[a-z0-9]+)",
    re.ASCII,
)
_IMAGE_SUFFIXES: Final = {
    Kind.ISO: frozenset({"iso"}),
    Kind.VM: frozenset({"qcow2", "vmdk", "vdi", "vhd", "raw", "img"}),
}
_SEQUENCE = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


@functools.lru_cache(maxsize=_RELEASES_REMEMBERED)
def parse_release(kind: str, purl: str, file_name: str) -> Release:
    """Read the three names of a release, or refuse them.

    Raises ``Rejected``: ``kind-unknown``, ``purl-not-canonical`` (with the canonical form where there is one),
    ``file-name-invalid``, ``names-disagree``.
    """
    known = _KINDS.get(kind)
    if known is None:
        raise Rejected("kind-unknown", f"The kind {kind[:32]!r} is unknown; use one of {', '.join(Kind)}.")
    parts = _parse_purl(known, purl)
    _refuse_unsafe_name(file_name)
    if not _file_name_agrees(known, parts, file_name):
        raise Rejected(
            "names-disagree",
            f"The file name {file_name!r} does not say the name, version and architecture of {purl}; send the artifact's own file name.",
        )
    return _release(known, purl, file_name, parts)


def release_named(kind: Kind, purl_type: str, namespace: str, file_name: str) -> Release | None:
    """Turn a file name alone into its release within one scope, for formats that carry no purl.

    ``None`` when the name is not of that kind and type. A database's sequence number and a Debian epoch do not stand in the
    file name: the former can only be attested with a purl, the latter is the release without epoch.
    """
    if purl_type not in TYPES[kind] or kind is Kind.DATABASE or not _SAFE_FILE_NAME.fullmatch(file_name):
        return None
    read = _read_image(kind, file_name) if purl_type == "generic" else _read_package(purl_type, file_name)
    if read is None:
        return None
    parts = _Parts(purl_type, namespace, *read)
    purl = _canonical_purl(parts)
    if len(purl) > MAX_PURL_BYTES or not _parts_are_wellformed(parts):
        return None
    return _release(kind, purl, file_name, parts)


def _canonical_purl(parts: _Parts) -> str:
    """Spell a purl canonically: everything but unreserved characters and the colon percent-encoded with upper-case hex."""
    name, version = quote(parts.name, safe="~"), quote(parts.version, safe="~:")
    return f"pkg:{parts.type}/{parts.namespace}/{name}@{version}?arch={parts.arch}"


def _decoded(text: str) -> str:
    """Undo the canonical spelling. What it may encode is three characters; any other escape keeps its ``%``, which no grammar takes."""
    return text.replace("%2B", "+").replace("%40", "@").replace("%5E", "^") if "%" in text else text


def could_be_scope(kind: Kind, purl_type: str, namespace: str, arch: str | None) -> bool:
    """Whether any release at all has this purl type, namespace and, where given, architecture."""
    return (
        purl_type in TYPES[kind]
        and _NAMESPACE_AND_ARCH.fullmatch(f"{namespace}/{'any' if arch is None else arch}") is not None
    )


def _release(kind: Kind, purl: str, file_name: str, parts: _Parts) -> Release:
    public_id = hashlib.sha256(f"{kind}\n{purl}\n{file_name}".encode("ascii")).hexdigest()
    return Release(kind, purl, file_name, *parts, public_id)


def _parse_purl(kind: Kind, purl: str) -> _Parts:
    found = _PURL.fullmatch(purl) if len(purl) <= MAX_PURL_BYTES else None
    if found is None:
        raise _not_canonical(purl)
    purl_type, namespace, name, version, arch = found.groups()
    if purl_type not in TYPES[kind]:
        expected = " or ".join(sorted(TYPES[kind]))
        raise Rejected(
            "purl-not-canonical", f"A release of kind {kind} has a purl of type {expected}, not {purl_type!r}."
        )
    parts = _Parts(purl_type, namespace, _decoded(name), _decoded(version), arch)
    if not _spelled_by_grammar(parts):
        raise _not_canonical(purl)
    return parts


def _spelled_by_grammar(parts: _Parts) -> bool:
    grammar = _GRAMMARS[parts.type]
    return grammar.name.fullmatch(parts.name) is not None and grammar.version.fullmatch(parts.version) is not None


def _parts_are_wellformed(parts: _Parts) -> bool:
    place = _NAMESPACE_AND_ARCH.fullmatch(f"{parts.namespace}/{parts.arch}")
    return place is not None and _spelled_by_grammar(parts)


def _not_canonical(purl: str) -> Rejected:
    canonical = _canonical_form_of(purl)
    hint = (
        f"its canonical form is {canonical}"
        if canonical and canonical != purl
        else ("write pkg:TYPE/NAMESPACE/NAME@VERSION?arch=ARCH with exactly that qualifier and no subpath")
    )
    return Rejected("purl-not-canonical", f"The purl {purl[:128]!r} is not canonical; {hint}.")


def _canonical_form_of(purl: str) -> str | None:
    """Guess what was meant, for the error message only: the library reads leniently, our own form is strict."""
    from packageurl import PackageURL

    try:
        meant = PackageURL.from_string(purl[:MAX_PURL_BYTES])
    except ValueError:
        return None
    qualifiers = meant.to_dict()["qualifiers"] or {}
    parts = _Parts(meant.type, meant.namespace or "", meant.name, meant.version or "", qualifiers.get("arch", ""))
    return _canonical_purl(parts) if parts.type in _GRAMMARS and _parts_are_wellformed(parts) else None


def _refuse_unsafe_name(file_name: str) -> None:
    if not _SAFE_FILE_NAME.fullmatch(file_name):
        raise Rejected(
            "file-name-invalid",
            f"The file name {file_name[:64]!r} is not one plain name: no slash, space, quote, control or non-ASCII character, "
            f"no leading dot or dash, at most {MAX_FILE_NAME_BYTES} bytes.",
        )


def _file_name_agrees(kind: Kind, parts: _Parts, file_name: str) -> bool:
    if kind is Kind.PACKAGE:
        # Debian leaves the epoch out of file names.
        spelled = parts.version.rpartition(":")[2] if parts.type == "deb" else parts.version
        return _read_package(parts.type, file_name) == (parts.name, spelled, parts.arch)
    if kind is Kind.DATABASE:
        found = _DATABASE_FILE.fullmatch(file_name)
        return found is not None and found["name"] == parts.name and _SEQUENCE.fullmatch(parts.version) is not None
    return _read_image(kind, file_name) == (parts.name, parts.version, parts.arch)


def _read_package(purl_type: str, file_name: str) -> tuple[str, str, str] | None:
    found = (_ALPM_FILE if purl_type == "alpm" else _DEB_FILE).fullmatch(file_name)
    return (found["name"], found["version"], found["arch"]) if found else None


def _read_image(kind: Kind, file_name: str) -> tuple[str, str, str] | None:
    found = _IMAGE_FILE.fullmatch(file_name)
    if found is None or found["suffix"] not in _IMAGE_SUFFIXES[kind]:
        return None
    return f"{found['base']}-{kind}", found["version"], found["arch"]
