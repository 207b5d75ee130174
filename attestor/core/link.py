"""Legacy in-toto links, as rebuilderd emits them: signatures over a re-encoded object instead of over bytes.

The one format here whose signed bytes are made and not read. So one function parses strictly, refuses whatever has two
canonical spellings in the wild, makes the OLPC canonical JSON bytes, and from then on only those bytes exist: they are
verified, and claims are decoded from them.
"""

import json
import re
from typing import Annotated, Any, Final

import msgspec

from attestor.core import strictjson
from attestor.core.envelope import MAX_DEPTH, MAX_SIGNATURES, Signature, Signed, read_form, refuse_oversized
from attestor.core.errors import Malformed, Rejected

# In canonical bytes made with ASCII escapes, these betray a string with a backslash, a control or a non-ASCII character.
_AMBIGUOUS = re.compile(rb'\\[^"]')
_HEX = re.compile(r"(?:[0-9a-f]{2})+", re.ASCII)
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)


class Link(Signed):
    """A legacy link; payload and signed bytes are both its canonical bytes, and it has no payload type."""

    __slots__ = ()


class _Signature(msgspec.Struct):
    keyid: str
    sig: str


class _Metablock(msgspec.Struct, forbid_unknown_fields=True):
    signed: dict[str, Any]
    signatures: Annotated[list[_Signature], msgspec.Meta(min_length=1, max_length=MAX_SIGNATURES)]


def parse_link(raw: bytes) -> Link:
    """Read a legacy link (``signed``, ``signatures`` with lower-case hex), 1 to 16 signatures.

    Members beside those two are refused: unlike DSSE, the format promises nobody that they are ignored.

    Raises ``TooLarge`` ``envelope-too-large``; ``Malformed``: those of :mod:`attestor.core.strictjson`, ``not-a-link``,
    ``not-hex``; ``Rejected`` ``ambiguous-string``.
    """
    refuse_oversized(raw)
    read = read_form(strictjson.decode(raw, limit_depth=MAX_DEPTH, integers_only=True), _Metablock, "not-a-link")
    signed_bytes = canonical(read.signed)
    signatures = tuple(Signature(one.keyid, _unhex(one.sig)) for one in read.signatures)
    return Link(None, signed_bytes, signatures, signed_bytes)


def canonical(document: object) -> bytes:
    """OLPC canonical JSON: members sorted, no white space, only the quotation mark escaped.

    Implementations differ on the rest (in-toto-rs turns an escaped newline into a newline), so such strings are refused:
    ``Rejected`` ``ambiguous-string``.
    """
    made = _CANONICAL.encode(document).encode("ascii")
    if _AMBIGUOUS.search(made):
        raise Rejected(
            "ambiguous-string",
            "A string of the link holds a backslash, a control or a non-ASCII character, which signers encode differently.",
        )
    return made


def _unhex(text: str) -> bytes:
    if not _HEX.fullmatch(text):
        raise Malformed("not-hex", "A signature is not lower-case hex.")
    return bytes.fromhex(text)
