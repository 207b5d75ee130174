"""Packets as PGPy writes them: headers in the new format, shortest lengths, nothing that was not asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from attestor.core.algorithm import Algorithm
from attestor.core.errors import Rejected
from attestor.openpgp.vendor import MPI, HashAlgorithm, Header, PubKeyAlgorithm, SubPackets

PUBLIC_KEY_ALGORITHM: Final = {
    Algorithm.ED25519: PubKeyAlgorithm.EdDSA,  # 22, "EdDSALegacy" in RFC 9580: what gpg 2.2 and pacman understand
    Algorithm.RSA: PubKeyAlgorithm.RSAEncryptOrSign,
    Algorithm.P256: PubKeyAlgorithm.ECDSA,
    Algorithm.P384: PubKeyAlgorithm.ECDSA,
    Algorithm.P521: PubKeyAlgorithm.ECDSA,
}


@dataclass(frozen=True, slots=True)
class UnsignedPacket:
    """A version 4 signature before the HSM was asked: all that its digest covers besides the signed data."""

    signed: bytes
    """From the version to the end of the hashed subpackets."""

    @property
    def trailer(self) -> bytes:
        """What is hashed after the signed data (RFC 4880, 5.2.4)."""
        return self.signed + b"\x04\xff" + len(self.signed).to_bytes(4, "big")

    def packet(self, digest: bytes, numbers: Sequence[int]) -> bytes:
        """The packet with these numbers as its signature, and no unhashed subpackets."""
        mpis = b"".join(MPI(number).to_mpibytes() for number in numbers)
        return write_packet(2, self.signed + b"\0\0" + digest[:2] + mpis)


def write_signature(
    kind: int, algorithm: Algorithm, subpackets: Sequence[tuple[str, dict[str, Any]]]
) -> UnsignedPacket:
    """A SHA-512 signature of this kind (RFC 4880, 5.2.1) with these subpackets, hashed, in this order.

    `subpackets`: PGPy's class names and their attributes.
    """
    area = SubPackets()
    for name, attributes in subpackets:
        area.addnew(name, hashed=True, **attributes)
    head = bytes([4, kind, PUBLIC_KEY_ALGORITHM[algorithm], HashAlgorithm.SHA512])
    return UnsignedPacket(head + bytes(area.__hashbytearray__()))


def write_packet(tag: int, body: bytes) -> bytes:
    """A packet header (RFC 4880, 4.2.2) and its body."""
    header = Header()
    header.tag = tag
    header.length = len(body)
    return bytes(header) + body


def whole_seconds(moment: datetime) -> datetime:
    """`moment` in UTC as OpenPGP can write it: fractions of a second are dropped.

    :raises Rejected: a time without a zone, or outside the 32 bits of RFC 4880, 3.5.
    """
    if moment.tzinfo is None:
        raise Rejected("openpgp-time", "A creation time needs a time zone.")
    seconds = int(moment.timestamp() // 1)
    if not 0 <= seconds < 1 << 32:
        raise Rejected("openpgp-time", "OpenPGP version 4 can only write times from 1970 to 2106.")
    return datetime.fromtimestamp(seconds, UTC)
