"""Names of releases: kind, canonical purl, file name (design: what is voted on).

A release is what operators vote on and what is signed once. Its three names must agree with each other exactly, so that
two spellings can never split a vote or let one vote count for two things. Sources: the purl specification (ECMA-427) with
its ``alpm``, ``deb`` and ``generic`` types, pacman's and Debian's file names.
"""

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from attestor.core.errors import Rejected

MAX_PURL_BYTES: Final = 512
MAX_FILE_NAME_BYTES: Final = 255


class Kind(StrEnum):
    """What a release is; the kind decides which rules and which signing key can govern it."""

    PACKAGE = "package"
    DATABASE = "database"
    ISO = "iso"
    VM = "vm"


_KINDS: Final = frozenset(str(kind) for kind in Kind)


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


@dataclass(frozen=True, slots=True)
class _Grammar:
    """How one purl type spells its parts."""

    name: re.Pattern[str]
    version: re.Pattern[str]


_ARCH = re.compile(r"[a-z0-9][a-z0-9_]{0,31}", re.ASCII)
_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_PURL = re.compile(
    r"pkg:(?P<type>[a-z]+)/(?P<namespace>[^/@?#]+)/(?P<name>[^/@?#]+)@(?P<version>[^/@?#]+)\?arch=(?P<arch>[^&#?/@]+)",
    re.ASCII,
)
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
_TYPES: Final = {
    Kind.PACKAGE: frozenset({"alpm", "deb"}),
    Kind.DATABASE: frozenset({"generic"}),
    Kind.ISO: frozenset({"generic"}),
    Kind.VM: frozenset({"generic"}),
}
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


def parse_release(kind: str, purl: str, file_name: str) -> Release:
    """Read the three names of a release, or refuse them.

    Raises ``Rejected``: ``kind-unknown``, ``purl-not-canonical`` (with the canonical form where there is one),
    ``file-name-invalid``, ``names-disagree``.
    """
    if kind not in _KINDS:
        raise Rejected("kind-unknown", f"The kind {kind[:32]!r} is unknown; use one of {', '.join(Kind)}.")
    parts = _parse_purl(Kind(kind), purl)
    _refuse_unsafe_name(file_name)
    stated = (parts["name"], parts["version"], parts["arch"])
    if not _file_name_agrees(Kind(kind), parts["type"], file_name, stated):
        raise Rejected(
            "names-disagree",
            f"The file name {file_name!r} does not say the name, version and architecture of {purl}; send the artifact's own file name.",
        )
    return _release(Kind(kind), purl, file_name, parts)


def release_named(kind: Kind, purl_type: str, namespace: str, file_name: str) -> Release | None:
    """Turn a file name alone into its release within one scope, for formats that carry no purl.

    ``None`` when the name is not of that kind and type. A database's sequence number and a Debian epoch do not stand in the
    file name: the former can only be attested with a purl, the latter is the release without epoch.
    """
    if purl_type not in _TYPES[kind] or kind is Kind.DATABASE or not _is_safe_name(file_name):
        return None
    read = _read_image(kind, file_name) if purl_type == "generic" else _read_package(purl_type, file_name)
    if read is None:
        return None
    name, version, arch = read
    parts = {"type": purl_type, "namespace": namespace, "name": name, "version": version, "arch": arch}
    if not _parts_are_wellformed(parts):
        return None
    return _release(kind, canonical_purl(parts), file_name, parts)


def canonical_purl(parts: dict[str, str]) -> str:
    """Spell a purl canonically: everything but unreserved characters and the colon percent-encoded with upper-case hex."""
    name, version = quote(parts["name"], safe="~"), quote(parts["version"], safe="~:")
    return f"pkg:{parts['type']}/{parts['namespace']}/{name}@{version}?arch={parts['arch']}"


def _release(kind: Kind, purl: str, file_name: str, parts: dict[str, str]) -> Release:
    public_id = hashlib.sha256(f"{kind}\n{purl}\n{file_name}".encode()).hexdigest()
    return Release(kind=kind, purl=purl, file_name=file_name, id=public_id, **parts)


def _parse_purl(kind: Kind, purl: str) -> dict[str, str]:
    found = _PURL.fullmatch(purl) if len(purl) <= MAX_PURL_BYTES else None
    if found is None:
        raise _not_canonical(purl)
    parts = found.groupdict()
    try:
        parts["name"], parts["version"] = (unquote_to_bytes(parts[k]).decode("ascii") for k in ("name", "version"))
    except UnicodeDecodeError:
        raise _not_canonical(purl) from None
    if parts["type"] not in _TYPES[kind]:
        expected = " or ".join(sorted(_TYPES[kind]))
        raise Rejected(
            "purl-not-canonical", f"A release of kind {kind} has a purl of type {expected}, not {parts['type']!r}."
        )
    if not _parts_are_wellformed(parts) or canonical_purl(parts) != purl:
        raise _not_canonical(purl)
    return parts


def _parts_are_wellformed(parts: dict[str, str]) -> bool:
    grammar = _GRAMMARS[parts["type"]]
    return bool(
        grammar.name.fullmatch(parts["name"])
        and grammar.version.fullmatch(parts["version"])
        and _NAMESPACE.fullmatch(parts["namespace"])
        and _ARCH.fullmatch(parts["arch"])
    )


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
    parts = {
        "type": meant.type,
        "namespace": meant.namespace or "",
        "name": meant.name,
        "version": meant.version or "",
        "arch": qualifiers.get("arch", ""),
    }
    return canonical_purl(parts) if parts["type"] in _GRAMMARS and _parts_are_wellformed(parts) else None


def _is_safe_name(file_name: str) -> bool:
    return (
        0 < len(file_name) <= MAX_FILE_NAME_BYTES
        and file_name.isascii()
        and file_name.isprintable()
        and not set(file_name) & set('/\\ "')
        and file_name[0] not in ".-"
    )


def _refuse_unsafe_name(file_name: str) -> None:
    if not _is_safe_name(file_name):
        raise Rejected(
            "file-name-invalid",
            f"The file name {file_name[:64]!r} is not one plain name: no slash, space, quote, control or non-ASCII character, "
            f"no leading dot or dash, at most {MAX_FILE_NAME_BYTES} bytes.",
        )


def _file_name_agrees(kind: Kind, purl_type: str, file_name: str, stated: tuple[str, str, str]) -> bool:
    match kind:
        case Kind.PACKAGE:
            name, version, arch = stated
            # Debian leaves the epoch out of file names.
            spelled = version.split(":", 1)[-1] if purl_type == "deb" else version
            return _read_package(purl_type, file_name) == (name, spelled, arch)
        case Kind.DATABASE:
            found = _DATABASE_FILE.fullmatch(file_name)
            return found is not None and found["name"] == stated[0] and _SEQUENCE.fullmatch(stated[1]) is not None
        case Kind.ISO | Kind.VM:
            return _read_image(kind, file_name) == stated


def _read_package(purl_type: str, file_name: str) -> tuple[str, str, str] | None:
    found = (_ALPM_FILE if purl_type == "alpm" else _DEB_FILE).fullmatch(file_name)
    return (found["name"], found["version"], found["arch"]) if found else None


def _read_image(kind: Kind, file_name: str) -> tuple[str, str, str] | None:
    found = _IMAGE_FILE.fullmatch(file_name)
    if found is None or found["suffix"] not in _IMAGE_SUFFIXES[kind]:
        return None
    return f"{found['base']}-{kind}", found["version"], found["arch"]
