"""The resumed SHA-512 against hashlib, Signstar's published states, and states that nobody can have written."""

import hashlib
import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.core import hashstate
from attestor.core.errors import Malformed, Rejected
from attestor.core.hashstate import Sha512State, parse_state

MASK = (1 << 64) - 1
PRIMES = [n for n in range(2, 410) if all(n % d for d in range(2, math.isqrt(n) + 1))]
START = [math.isqrt(prime << 128) & MASK for prime in PRIMES[:8]]
FILES = st.integers(0, 700).flatmap(lambda size: st.binary(min_size=size, max_size=size))
LAYOUTS = pytest.mark.parametrize("size", [208, 210], ids=["208 bytes", "210 bytes"])


def encode(size, chain, blocks, position, buffer):
    head = struct.pack("<8Q", *chain) + blocks.to_bytes(16, "little")
    if size == 208:
        return head + bytes([position]) + buffer.ljust(127, b"\0")
    return head + bytes([64, position]) + buffer.ljust(128, b"\0")


def snapshot(size, data):
    """What a Signstar client sends for a file of these bytes."""
    state = Sha512State(tuple(START), 0, b"")
    state.update(data)
    return encode(size, state._chain, state._blocks, len(state._tail), state._tail)


def test_the_constants_are_the_roots_of_primes_that_the_standard_names():
    def cube_root(n):
        root = round(n ** (1 / 3))
        while root**3 > n or (root + 1) ** 3 <= n:
            root -= (root**3 - n) // (3 * root * root) or 1
        return root

    assert list(hashstate._START) == START
    assert list(hashstate._ROUND) == [cube_root(prime << 192) & MASK for prime in PRIMES[:80]]


def test_the_genuine_signing_request_finalises_to_its_published_digest(real_input):
    request = json.loads(real_input("signstar/sample-request.json").read_bytes())
    state = parse_state(bytes(request["required"]["input"]["content"]))

    assert state.length == len(b"this is sample text")
    assert state.digest().hex() == (  # signstar-request-signature's own unit test
        "14fd4585924c0b04bf0d96c409611523ba5ffe3b943c589b7fcb97d80b10e449"
        "7117736ec62a6d5c1721464788db49ee870ddf75d745f3217d6d5f79d52cd4a6"
    )


def test_the_state_in_signstars_documents_finalises_in_the_older_layout():
    text = b"I like strawberries\n"  # resources/docs/request.md, written with sha2 0.11.0-rc.0
    state = parse_state(encode(210, START, 0, len(text), text))

    assert (state.length, state.digest()) == (20, hashlib.sha512(text).digest())


@LAYOUTS
@pytest.mark.parametrize("length", [0, 1, 111, 112, 127, 128, 129, 239, 240, 255, 256])
def test_every_padding_case_equals_hashlib(size, length):
    data = bytes(range(256))[:length]
    assert parse_state(snapshot(size, data)).digest() == hashlib.sha512(data).digest()


@given(size=st.sampled_from([208, 210]), start=FILES, rest=st.lists(FILES, max_size=3))
def test_a_state_taken_up_anywhere_goes_on_as_hashlib_does(size, start, rest):
    state, whole = parse_state(snapshot(size, start)), hashlib.sha512(start)
    for part in rest:
        state.update(part)
        whole.update(part)
    assert state.digest() == whole.digest()
    assert state.length == len(start) + sum(map(len, rest))


@given(start=FILES, rest=FILES)
def test_a_copy_and_a_digest_leave_the_state_as_it_was(start, rest):
    state = parse_state(snapshot(208, start))
    before = state.digest()
    copy = state.copy()
    copy.update(rest)

    assert copy.digest() == hashlib.sha512(start + rest).digest()
    assert (state.digest(), state.length) == (before, len(start))


IMPOSSIBLE = {
    "position past the end of the buffer": lambda size: encode(size, START, 0, 128, b""),
    "position 255": lambda size: encode(size, START, 0, 255, b""),
    "a byte right after the position": lambda size: encode(size, START, 0, 3, b"abcd"),
    "a byte at the end of the buffer": lambda size: encode(size, START, 0, 3, b"abc".ljust(126, b"\0") + b"z"),
    "2 ** 64 blocks": lambda size: encode(size, START, 1 << 64, 0, b""),
    "the largest block count that can be written": lambda size: encode(size, START, (1 << 128) - 1, 0, b""),
    "one byte more than a signed 64-bit size": lambda size: encode(size, START, 1 << 56, 0, b""),
    "no block, yet another chaining value": lambda size: encode(size, [*START[:7], START[7] ^ 1], 0, 0, b""),
    "no block, chaining value big-endian": lambda size: (
        struct.pack(">8Q", *START) + encode(size, START, 0, 0, b"")[64:]
    ),
}


@LAYOUTS
@pytest.mark.parametrize("build", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_state_that_no_hasher_wrote_is_refused(build, size):
    with pytest.raises(Rejected) as caught:
        parse_state(build(size))
    assert caught.value.code == "hash-state-impossible"


def test_the_longest_possible_length_is_read_exactly():
    assert parse_state(encode(208, START, (1 << 56) - 1, 127, b"x" * 127)).length == (1 << 63) - 1


@pytest.mark.parametrize("length", [0, 1, 64, 80, 207, 209, 211, 256, 65536])
def test_any_other_length_is_refused(length):
    with pytest.raises(Malformed) as caught:
        parse_state(snapshot(210, b"abc").ljust(length, b"\0")[:length])
    assert caught.value.code == "hash-state-malformed"


def test_another_output_size_than_64_is_refused():
    raw = bytearray(snapshot(210, b"abc"))
    raw[80] = 48
    with pytest.raises(Malformed):
        parse_state(bytes(raw))
