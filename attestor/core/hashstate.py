"""SHA-512 that can be taken up in the middle: the hash state that a Signstar client sends instead of a file.

hashlib cannot resume a state, so the compression function of FIPS 180-4 stands here in plain Python. It only ever hashes
the end of a started file and an OpenPGP trailer: a few blocks, a fraction of a millisecond each.

A state is written as RustCrypto's `sha2` (`Sha512VarCore`) and `block-buffer` do, which Signstar sends in two layouts under
the one label `sha2-0.11-SHA512-state`: 208 bytes since sha2 0.11.0, 210 bytes in its release candidates.
"""

import struct
from typing import Final, Protocol, Self

from attestor.core.errors import Malformed, Rejected

_BLOCK: Final = 128
_MASK: Final = 0xFFFFFFFFFFFFFFFF
_HEAD: Final = struct.Struct("<8Q16s")  # chaining value, then the number of whole blocks as a 128-bit integer
_MAX_LENGTH: Final = (1 << 63) - 1  # no file system holds more, and sizes are signed 64-bit everywhere else

# FIPS 180-4, 5.3.5: the fractional parts of the square roots of the first 8 primes.
_START: Final = struct.unpack(
    ">8Q",
    bytes.fromhex("""
    6a09e667f3bcc908 bb67ae8584caa73b 3c6ef372fe94f82b a54ff53a5f1d36f1
    510e527fade682d1 9b05688c2b3e6c1f 1f83d9abfb41bd6b 5be0cd19137e2179
    """),
)
# FIPS 180-4, 4.2.3: the fractional parts of the cube roots of the first 80 primes.
_ROUND: Final = struct.unpack(
    ">80Q",
    bytes.fromhex("""
    428a2f98d728ae22 7137449123ef65cd b5c0fbcfec4d3b2f e9b5dba58189dbbc
    3956c25bf348b538 59f111f1b605d019 923f82a4af194f9b ab1c5ed5da6d8118
    d807aa98a3030242 12835b0145706fbe 243185be4ee4b28c 550c7dc3d5ffb4e2
    72be5d74f27b896f 80deb1fe3b1696b1 9bdc06a725c71235 c19bf174cf692694
    e49b69c19ef14ad2 efbe4786384f25e3 0fc19dc68b8cd5b5 240ca1cc77ac9c65
    2de92c6f592b0275 4a7484aa6ea6e483 5cb0a9dcbd41fbd4 76f988da831153b5
    983e5152ee66dfab a831c66d2db43210 b00327c898fb213f bf597fc7beef0ee4
    c6e00bf33da88fc2 d5a79147930aa725 06ca6351e003826f 142929670a0e6e70
    27b70a8546d22ffc 2e1b21385c26c926 4d2c6dfc5ac42aed 53380d139d95b3df
    650a73548baf63de 766a0abb3c77b2a8 81c2c92e47edaee6 92722c851482353b
    a2bfe8a14cf10364 a81a664bbc423001 c24b8b70d0f89791 c76c51a30654be30
    d192e819d6ef5218 d69906245565a910 f40e35855771202a 106aa07032bbd1b8
    19a4c116b8d2d0c8 1e376c085141ab53 2748774cdf8eeb99 34b0bcb5e19b48a8
    391c0cb3c5c95a63 4ed8aa4ae3418acb 5b9cca4f7763e373 682e6ff3d6b2b8a3
    748f82ee5defb2fc 78a5636f43172f60 84c87814a1f0ab72 8cc702081a6439ec
    90befffa23631e28 a4506cebde82bde9 bef9a3f7b2c67915 c67178f2e372532b
    ca273eceea26619c d186b8c721c0c207 eada7dd6cde0eb1e f57d4f7fee6ed178
    06f067aa72176fba 0a637dc5a2c898a6 113f9804bef90dae 1b710b35131c471b
    28db77f523047d84 32caab7b40c72493 3c9ebe0a15c9bebc 431d67c49c100d4c
    4cc5d4becb3e42b6 597f299cfc657e2a 5fcb6fab3ad6faec 6c44198c4a475817
    """),
)


class Hasher(Protocol):
    """What of a file is needed to sign or to verify it: `hashlib.sha512()` and :class:`Sha512State` are two."""

    def copy(self) -> Self: ...

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class Sha512State:
    """A started SHA-512, used like `hashlib.sha512()`: `copy`, `update`, `digest` (which does not end it)."""

    __slots__ = ("_blocks", "_chain", "_tail")

    def __init__(self, chain: tuple[int, ...], blocks: int, tail: bytes) -> None:
        """`chain`: eight 64-bit words after `blocks` blocks of 128 bytes; `tail`: the 0 to 127 bytes after them."""
        self._chain = chain
        self._blocks = blocks
        self._tail = tail

    @property
    def length(self) -> int:
        """Bytes hashed so far."""
        return self._blocks * _BLOCK + len(self._tail)

    def copy(self) -> "Sha512State":
        return Sha512State(self._chain, self._blocks, self._tail)

    def update(self, data: bytes, /) -> None:
        pending = self._tail + data
        whole = len(pending) // _BLOCK
        self._chain = _absorb(self._chain, pending[: whole * _BLOCK])
        self._blocks += whole
        self._tail = pending[whole * _BLOCK :]

    def digest(self) -> bytes:
        """The 64 bytes of SHA-512 over everything so far."""
        bits = (8 * self.length).to_bytes(16, "big")
        zeros = bytes((_BLOCK - 17 - len(self._tail)) % _BLOCK)  # FIPS 180-4, 5.1.2
        return struct.pack(">8Q", *_absorb(self._chain, self._tail + b"\x80" + zeros + bits))


def parse_state(raw: bytes) -> Sha512State:
    """The state that `raw` holds, in either layout.

    :raises Malformed: the length is neither layout's, or the 210-byte layout names another output size than 64.
    :raises Rejected: no hasher could have written these bytes, as far as that can be told without the file.
    """
    if len(raw) not in {208, 210} or (len(raw) == 210 and raw[80] != 64):
        raise Malformed(
            "hash-state-malformed", "A SHA-512 state has 208 bytes, or 210 with the output size 64 at offset 80."
        )
    *chain, count = _HEAD.unpack_from(raw)
    position, buffer = raw[-128], raw[-127:]
    if len(raw) == 210:
        position, buffer = raw[81], raw[82:]
    blocks = int.from_bytes(count, "little")
    if position >= _BLOCK or any(buffer[position:]):
        raise Rejected("hash-state-impossible", "The state's buffer is not a position below 128 with zeros after it.")
    if blocks * _BLOCK + position > _MAX_LENGTH:
        raise Rejected("hash-state-impossible", "The state claims more bytes than any file has.")
    if blocks == 0 and tuple(chain) != _START:
        raise Rejected(
            "hash-state-impossible", "The state claims no whole block, yet does not start where SHA-512 starts."
        )
    return Sha512State(tuple(chain), blocks, buffer[:position])


def _absorb(chain: tuple[int, ...], blocks: bytes) -> tuple[int, ...]:
    for at in range(0, len(blocks), _BLOCK):
        chain = _compress(chain, blocks[at : at + _BLOCK])
    return chain


def _compress(chain: tuple[int, ...], block: bytes) -> tuple[int, ...]:
    """FIPS 180-4, 6.4.2."""
    a, b, c, d, e, f, g, h = chain
    for word, constant in zip(_schedule(block), _ROUND, strict=True):
        mixed = _rotate(e, 14) ^ _rotate(e, 18) ^ _rotate(e, 41)
        first = h + mixed + ((e & f) ^ (~e & g)) + constant + word
        mixed = _rotate(a, 28) ^ _rotate(a, 34) ^ _rotate(a, 39)
        second = mixed + ((a & b) ^ (a & c) ^ (b & c))
        a, b, c, d, e, f, g, h = (first + second) & _MASK, a, b, c, (d + first) & _MASK, e, f, g
    return tuple((old + new) & _MASK for old, new in zip(chain, (a, b, c, d, e, f, g, h), strict=True))


def _schedule(block: bytes) -> list[int]:
    words = list(struct.unpack(">16Q", block))
    for at in range(16, 80):
        near, far = words[at - 2], words[at - 15]
        small = _rotate(far, 1) ^ _rotate(far, 8) ^ (far >> 7)
        large = _rotate(near, 19) ^ _rotate(near, 61) ^ (near >> 6)
        words.append((large + words[at - 7] + small + words[at - 16]) & _MASK)
    return words


def _rotate(word: int, by: int) -> int:
    return (word >> by | word << (64 - by)) & _MASK
