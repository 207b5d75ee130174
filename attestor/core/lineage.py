"""Which releases follow each other: versions rise within one kind, purl type, namespace and name (design §7)."""

from typing import Final

from attestor.core.naming import Release
from attestor.core.policyrules import ORDER_OF_TYPE
from attestor.core.versions import VersionOrder

_EVERY_ARCH: Final = frozenset({"any", "all"})
"""Architectures of what is installed on all: pacman's and Debian's word for it."""


def lineage_of(release: Release) -> str:
    """The line that a release stands in; no part of it holds a slash."""
    return f"{release.kind.value}/{release.type}/{release.namespace}/{release.name}"


def order_of(release: Release) -> VersionOrder:
    """The order that versions of its purl type have, whatever a tier asks for."""
    return ORDER_OF_TYPE[release.type]


def follow_each_other(arch: str, other: str) -> bool:
    """Whether one machine could have both: the same architecture, or one that is installed on all."""
    return arch == other or not _EVERY_ARCH.isdisjoint((arch, other))
