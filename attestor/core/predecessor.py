"""What a repository database lists, held against the database before it: nothing goes back in version or vanishes unseen.

libalpm takes a package's name and version from its folder in the database, split at the last two hyphens; what ``desc`` says
beside it does not count. :mod:`attestor.core.contents` refuses what is not such a folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from attestor.core import canonical
from attestor.core.errors import Malformed, Rejected
from attestor.core.versions import VersionOrder, compare, refuse_unordered

Packages = Mapping[str, str]
"""Name to version."""
MAX_PACKAGES: Final = 200_000
_NAMED: Final = 10
"""How many packages a sentence names."""

_DECODER: Final[msgspec.json.Decoder[dict[str, str]]] = msgspec.json.Decoder(
    Annotated[dict[str, str], Meta(max_length=MAX_PACKAGES)]
)


@dataclass(frozen=True, slots=True)
class Lost:
    """What a database takes from those who install by it, in the order of names."""

    went_back: tuple[str, ...]
    """``NAME VERSION -> VERSION``."""
    vanished: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """For people; the first of each."""
        parts = (("went back in version", self.went_back), ("vanished", self.vanished))
        return "; ".join(f"{len(names)} packages {what}: {_some(names)}" for what, names in parts if names)


def encode_packages(packages: Packages) -> bytes:
    """RFC 8785 of the names and versions."""
    return canonical.encode(dict(packages))


def read_packages(raw: bytes) -> Packages:
    """Raises ``Malformed`` ``packages-malformed`` for any other form than the canonical one."""
    read: dict[str, str] = canonical.decode(raw, _DECODER, "packages-malformed", "list of packages")
    canonical.refuse_other_spelling(raw, encode_packages(read), "packages-malformed", "list of packages")
    return read


def packages_in(folders: frozenset[str]) -> Packages:
    """Name and version of each folder ``NAME-VERSION-RELEASE``.

    Raises ``Malformed`` ``packages-malformed`` for two of one name, and for more than :data:`MAX_PACKAGES`.
    """
    if len(folders) > MAX_PACKAGES:
        raise Malformed("packages-malformed", f"it lists {len(folders)} packages, and {MAX_PACKAGES} are the limit")
    packages: dict[str, str] = {}
    for folder in folders:
        name, version, release = folder.rsplit("-", 2)
        if name in packages:
            raise Malformed("packages-malformed", f"the package {name[:80]!a} stands there in two versions")
        packages[name] = f"{version}-{release}"
    return packages


def lost(before: Packages, now: Packages) -> Lost | None:
    """What went back or vanished; ``None`` when nothing did."""
    back = tuple(
        f"{name} {version} -> {now[name]}"
        for name, version in sorted(before.items())
        if name in now and _went_back(version, now[name])
    )
    vanished = tuple(sorted(before.keys() - now.keys()))
    return Lost(back, vanished) if back or vanished else None


def _went_back(version: str, now: str) -> bool:
    """Whether it is older, or has no place in the order: by such versions a few databases lead in a circle, each newer than the last."""
    if now == version:
        return False
    try:
        refuse_unordered(VersionOrder.ALPM, now)
        return compare(VersionOrder.ALPM, now, version) < 0
    except Rejected:
        return True


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
