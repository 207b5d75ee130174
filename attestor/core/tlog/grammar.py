"""The few spellings that all C2SP formats share: decimals, standard base64, hashes of a proof, lines without controls.

Python's own readers are too kind here: ``int`` takes signs, spaces, underscores and other alphabets' digits, ``b64decode``
skips junk and stray bits, ``splitlines`` knows eleven line ends, ``$`` matches before a last one. All raise ``ValueError``.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Final

MAX_NUMBER: Final = 2**63 - 1
"""The largest tree size, index and timestamp: PostgreSQL and Go hold them as signed 64-bit integers."""
MAX_PROOF_HASHES: Final = 63
"""Hashes in one proof, as tlog-witness limits them; no tree of at most ``MAX_NUMBER`` leaves needs more."""
HASH_BYTES: Final = 32

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f]")


def read_decimal(text: str) -> int:
    """Read ASCII digits without leading zeros, at most ``MAX_NUMBER``."""
    if _DECIMAL.fullmatch(text) is None or (number := int(text)) > MAX_NUMBER:
        raise ValueError("not a decimal of at most 63 bits without leading zeros")
    return number


def read_base64(text: str) -> bytes:
    """Read canonical, padded base64 in the standard alphabet (RFC 4648 §4)."""
    encoded = text.encode("ascii")
    raw = binascii.a2b_base64(encoded, strict_mode=True)
    # strict_mode lets non-zero trailing bits pass (QUI= and QUJ= are the same bytes), so the text is made again.
    if binascii.b2a_base64(raw, newline=False) != encoded:
        raise ValueError("not canonical base64")
    return raw


def write_base64(raw: bytes) -> str:
    """Spell ``raw`` in the standard alphabet, padded."""
    return base64.b64encode(raw).decode("ascii")


def read_hash(text: str) -> bytes:
    """Read one SHA-256 hash in base64."""
    raw = read_base64(text)
    if len(raw) != HASH_BYTES:
        raise ValueError("not 32 bytes")
    return raw


def refuse_controls(text: str) -> None:
    """Refuse what signed-note forbids in any line: characters below U+0020, and halves of surrogate pairs."""
    if _CONTROL.search(text):
        raise ValueError("a control character")
    text.encode("utf-8")


def split_head(raw: bytes) -> tuple[list[str], bytes]:
    """Split at the FIRST empty line: the ASCII lines before it, and all bytes after it (a checkpoint holds another one)."""
    head, separator, rest = raw.partition(b"\n\n")
    if not separator:
        raise ValueError("no empty line")
    return head.decode("ascii").split("\n"), rest


def read_proof(lines: Sequence[str]) -> tuple[bytes, ...]:
    """Read one hash a line, at most ``MAX_PROOF_HASHES``."""
    if len(lines) > MAX_PROOF_HASHES:
        raise ValueError("too many hashes")
    return tuple(read_hash(line) for line in lines)
