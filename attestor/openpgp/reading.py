"""The strict half of reading: packets, signature fields, subpackets and numbers, by their lengths and to the last byte.

RFC 4880, 4.2 (packet headers), 5.2.3 (version 4 signatures), 5.2.3.1 (subpackets), 3.2 (multiprecision integers). Nothing
here judges a value; it only makes sure that two readers cannot see different values in the same bytes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from attestor.core.errors import Malformed

_ISSUER: Final = 16
_ISSUER_FINGERPRINT: Final = 33


@dataclass(frozen=True, slots=True)
class RawPacket:
    """A packet's tag (RFC 4880, 4.3) and body, without the header."""

    tag: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Subpacket:
    """A signature subpacket's type (RFC 4880, 5.2.3.1), its critical bit, and its body."""

    type: int
    critical: bool
    body: bytes


@dataclass(frozen=True, slots=True)
class SignatureFields:
    """A version 4 signature packet, taken apart."""

    kind: int
    algorithm: int
    hash: int
    hashed: tuple[Subpacket, ...]
    unhashed: tuple[Subpacket, ...]
    signed: bytes
    """The packet from its version to the end of the hashed subpackets: what goes into the digest."""
    left16: bytes
    numbers: tuple[int, ...]


class _Cursor:
    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.at = 0

    def __bool__(self) -> bool:
        return self.at < len(self._raw)

    def take(self, count: int) -> bytes:
        if self.at + count > len(self._raw):
            raise Malformed("openpgp-malformed", "The OpenPGP data ends before it should: a length in it is wrong.")
        self.at += count
        return self._raw[self.at - count : self.at]

    def number(self, octets: int) -> int:
        return int.from_bytes(self.take(octets), "big")


def read_packets(raw: bytes) -> list[RawPacket]:
    """All packets of binary OpenPGP data.

    :raises Malformed: armored, not OpenPGP, cut short, or of a length that is not known beforehand.
    """
    cursor, packets = _Cursor(raw), []
    while cursor:
        first = cursor.number(1)
        if not first & 0x80:
            raise Malformed("openpgp-malformed", "This is not binary OpenPGP data; armored text is not accepted here.")
        tag, length = (
            (first & 0x3F, _new_length(cursor)) if first & 0x40 else (first >> 2 & 15, _old_length(first, cursor))
        )
        packets.append(RawPacket(tag, cursor.take(length)))
    return packets


def read_signature(body: bytes) -> SignatureFields:
    """The fields of a version 4 signature packet's body (RFC 4880, 5.2.3).

    :raises Malformed: another version, a length that does not fit, a number that is not in its shortest form.
    """
    cursor = _Cursor(body)
    version, kind, algorithm, hash_ = cursor.take(4)
    if version != 4:
        raise Malformed("openpgp-malformed", f"Only version 4 signatures are supported, this is version {version}.")
    hashed = tuple(_subpackets(cursor.take(cursor.number(2))))
    signed = body[: cursor.at]
    unhashed = tuple(_subpackets(cursor.take(cursor.number(2))))
    left16 = cursor.take(2)
    return SignatureFields(kind, algorithm, hash_, hashed, unhashed, signed, left16, tuple(_numbers(cursor)))


def read_time(octets: bytes) -> datetime:
    """RFC 4880, 3.5: seconds since 1970, four octets."""
    if len(octets) != 4:
        raise Malformed("openpgp-malformed", "A time in the OpenPGP data does not have four octets.")
    return datetime.fromtimestamp(int.from_bytes(octets, "big"), UTC)


def read_notation(body: bytes) -> tuple[bytes, bytes]:
    """Name and value of a notation subpacket (RFC 4880, 5.2.3.16), whatever its flags."""
    cursor = _Cursor(body)
    cursor.take(4)
    name_length, value_length = cursor.number(2), cursor.number(2)
    name, value = cursor.take(name_length), cursor.take(value_length)
    if cursor:
        raise Malformed("openpgp-malformed", "A notation is longer than its lengths say.")
    return name, value


def single(subpackets: Iterable[Subpacket], type_: int) -> bytes | None:
    """The body of the one subpacket of this type, or none.

    :raises Malformed: there are several, so two readers could take two.
    """
    bodies = [each.body for each in subpackets if each.type == type_]
    if len(bodies) > 1:
        raise Malformed("openpgp-malformed", f"A signature has {len(bodies)} subpackets of type {type_}.")
    return bodies[0] if bodies else None


def names_issuer(subpackets: Iterable[Subpacket], fingerprint: str) -> bool:
    """Whether issuer key id and issuer fingerprint name this key: at least one is there, and neither another."""
    whole = bytes.fromhex(fingerprint)
    expected = {_ISSUER: whole[-8:], _ISSUER_FINGERPRINT: b"\x04" + whole}
    named = [each for each in subpackets if each.type in expected]
    return bool(named) and all(each.body == expected[each.type] for each in named)


def _new_length(cursor: _Cursor) -> int:
    first = cursor.number(1)
    if 224 <= first < 255:
        raise Malformed("openpgp-malformed", "A partial body length is for streams; keys and signatures have none.")
    return _length(first, cursor)


def _length(first: int, cursor: _Cursor) -> int:
    if first < 192:
        return first
    return cursor.number(4) if first == 255 else (first - 192 << 8) + cursor.number(1) + 192


def _old_length(first: int, cursor: _Cursor) -> int:
    if first & 3 == 3:
        raise Malformed("openpgp-malformed", "A packet of indeterminate length cannot be a key or a signature.")
    return cursor.number(1 << (first & 3))


def _subpackets(area: bytes) -> Iterator[Subpacket]:
    cursor = _Cursor(area)
    while cursor:
        length = _length(cursor.number(1), cursor)
        if length == 0:
            raise Malformed("openpgp-malformed", "A signature subpacket has no type.")
        type_ = cursor.number(1)
        yield Subpacket(type_ & 0x7F, bool(type_ & 0x80), cursor.take(length - 1))


def _numbers(cursor: _Cursor) -> Iterator[int]:
    while cursor:
        bits = cursor.number(2)
        value = cursor.number((bits + 7) // 8)
        if value.bit_length() != bits:
            raise Malformed("openpgp-malformed", "A number in the OpenPGP data does not have the bits that it says.")
        yield value
