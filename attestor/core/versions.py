"""Orders of versions: which of two is newer, as the system that installs them would say.

``alpm`` is pacman's ``vercmp`` (``alpm_pkg_vercmp``, ``parseEVR`` and ``rpmvercmp`` in ``lib/libalpm/version.c``), ``debian``
is dpkg's order (deb-version(7)) of what Debian Policy 5.6.12 allows, ``sequence`` is of dot-separated decimal integers.
"""

import re
from enum import StrEnum
from typing import Final, TypeVar

from attestor.core.errors import Rejected

MAX_VERSION_BYTES: Final = 512
"""In UTF-8: as long as the longest purl, and short enough for every comparison to be immediate."""

_DIGITS: Final = b"0123456789"
_LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# isalnum(3) is of ASCII here: vercmp sets no locale, and in a UTF-8 one no single byte above 127 is a letter either.
_SEPARATORS: Final = bytes(set(range(256)) - set(_DIGITS + _LETTERS))
# Lazy, and no hyphen in the revision: the last hyphen begins it. Nine digits of an epoch stay below dpkg's INT_MAX.
_DEBIAN: Final = re.compile(r"(?:([0-9]{1,9}):)?([0-9][A-Za-z0-9.+~-]*?)(?:-([A-Za-z0-9.+~]+))?(?<!-)", re.ASCII)
_SEQUENCE: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)

_Ordered = TypeVar("_Ordered", int, bytes, tuple[int, ...], tuple[int, bytes])


class VersionOrder(StrEnum):
    """How the versions of a tier rise; ``none`` says that they need not."""

    ALPM = "alpm"
    DEBIAN = "debian"
    SEQUENCE = "sequence"
    NONE = "none"


def compare(order: VersionOrder, one: str, other: str) -> int:
    """Return -1, 0 or 1: ``one`` is older than, the same as, or newer than ``other``.

    ``alpm`` takes whatever ``vercmp`` takes; a release (``-1``) that only one of the two has is not looked at. Raises
    ``Rejected`` (``version-unordered``) for what is no version under that order, empty, or over :data:`MAX_VERSION_BYTES`;
    ``ValueError`` for the order ``none``, which nobody may ask.
    """
    match order:
        case VersionOrder.ALPM:
            return _compare_alpm(_bounded(one), _bounded(other))
        case VersionOrder.DEBIAN:
            return _compare_debian(one, other)
        case VersionOrder.SEQUENCE:
            return _sign(_sequence(one), _sequence(other))
        case VersionOrder.NONE:
            raise ValueError("the order none orders nothing")


def is_newer(order: VersionOrder, candidate: str, than: str) -> bool:
    """Whether ``candidate`` is newer, and not merely the same. Raises as :func:`compare`."""
    return compare(order, candidate, than) > 0


def refuse_unordered(order: VersionOrder, version: str) -> None:
    """Refuse what can have no place in a running maximum, though it be the first of its name.

    Beside what :func:`compare` refuses, that is an ``alpm`` version or release that ends in a separator: ``vercmp`` has
    1.0.1 < 1.0..a < 1.0. < 1.0.1. Without these each version is a row of segments, compared one by one in one order of all
    segments and the end, and so newer than the newest is newer than all. Raises ``Rejected`` (``version-unordered``).
    """
    compare(order, version, version)
    if order is VersionOrder.ALPM:
        _, number, release = _split_alpm(version.encode())
        if any(part and part[-1] in _SEPARATORS for part in (number, release)):
            raise _unordered(version, "ends in a separator, and pacman orders such versions in a circle")


def newest(order: VersionOrder, known: str | None, version: str) -> str:
    """One step of a running maximum: ``version`` if it is newer than ``known`` or the first, else ``known``.

    Raises as :func:`refuse_unordered`.
    """
    refuse_unordered(order, version)
    return version if known is None or is_newer(order, version, known) else known


def _bounded(version: str) -> bytes:
    try:
        text = version.encode()
    except UnicodeEncodeError:
        raise _unordered(version, "is no text") from None
    # Programs in C see no more of it than what stands before the NUL.
    if not text or b"\0" in text or len(text) > MAX_VERSION_BYTES:
        raise _unordered(version, f"is empty, has a NUL, or has over {MAX_VERSION_BYTES} bytes")
    return text


def _unordered(version: str, why: str) -> Rejected:
    return Rejected("version-unordered", f"The version {version[:80]!a} {why}; name the artifact by another version.")


def _sign(one: _Ordered, other: _Ordered) -> int:
    return (one > other) - (one < other)


def _compare_alpm(one: bytes, other: bytes) -> int:
    epoch, version, release = _split_alpm(one)
    other_epoch, other_version, other_release = _split_alpm(other)
    found = _compare_segments(epoch, other_epoch) or _compare_segments(version, other_version)
    if found or release is None or other_release is None:
        return found
    return _compare_segments(release, other_release)


def _split_alpm(text: bytes) -> tuple[bytes, bytes, bytes | None]:
    epoch, colon, rest = text.partition(b":")
    if not colon or epoch.strip(_DIGITS):
        epoch, rest = b"", text
    version, hyphen, release = rest.rpartition(b"-")
    return (epoch or b"0", version, release) if hyphen else (epoch or b"0", rest, None)


def _compare_segments(one: bytes, other: bytes) -> int:
    """Of separators only their number counts; a segment is all digits or all letters, and digits are newer than letters."""
    while one and other:
        gap, other_gap = _run(one, _SEPARATORS), _run(other, _SEPARATORS)
        one, other = one[gap:], other[other_gap:]
        if not (one and other):
            break
        if gap != other_gap:
            return _sign(gap, other_gap)
        alphabet = _DIGITS if one[0] in _DIGITS else _LETTERS
        length, other_length = _run(one, alphabet), _run(other, alphabet)
        if not other_length:
            return 1 if alphabet is _DIGITS else -1
        found = _compare_segment(one[:length], other[:other_length])
        if found:
            return found
        one, other = one[length:], other[other_length:]
    return _sign(_weight(one), _weight(other))


def _compare_segment(one: bytes, other: bytes) -> int:
    if one[0] in _LETTERS:
        return _sign(one, other)
    one, other = one.lstrip(b"0"), other.lstrip(b"0")
    return _sign((len(one), one), (len(other), other))


def _run(text: bytes, alphabet: bytes) -> int:
    return len(text) - len(text.lstrip(alphabet))


def _weight(rest: bytes) -> int:
    """What is left where the other side has ended: letters make it older (1.0rc1 and 1.0), all else newer."""
    if not rest:
        return 0
    return -1 if rest[0] in _LETTERS else 1


def _compare_debian(one: str, other: str) -> int:
    # Late: it brings what only a tier with this order needs. Its own reading of versions is not used, it trims them.
    from univers.debian import Version, compare_version_objects

    left, right = Version(*_split_debian(one)), Version(*_split_debian(other))
    return int(compare_version_objects(left, right))  # type: ignore[no-untyped-call]  # typed in other modules only


def _split_debian(version: str) -> tuple[int, str, str]:
    _bounded(version)
    found = _DEBIAN.fullmatch(version)
    if found is None:
        raise _unordered(version, "is none of Debian's (Policy 5.6.12: [epoch:]upstream[-revision], first a digit)")
    epoch, upstream, revision = found.groups()
    return int(epoch or 0), upstream, revision or "0"


def _sequence(version: str) -> tuple[int, ...]:
    _bounded(version)
    if not _SEQUENCE.fullmatch(version):
        raise _unordered(version, "is no sequence of decimal integers with dots between them")
    return tuple(map(int, version.split(".")))
