"""RFC 8785 for documents of our own: objects, arrays, strings, true and false, whole numbers within ±(2**53 - 1).

For these msgspec's sorted encoding is the canonical form: no member name lies beyond ASCII, and there is no fraction, about
whose spelling most of the RFC is. tests/core/test_canonical.py holds it against the library `rfc8785`, which takes forty times
as long; a signer reads every entry of the log, and an offline check every part of a bundle.
"""

from typing import Final, TypeVar

import msgspec

from attestor.core.errors import Malformed

_T = TypeVar("_T")
_ENCODER: Final = msgspec.json.Encoder(order="sorted")


def encode(document: object) -> bytes:
    """The canonical form of built-in values, or of a struct with all its members."""
    return _ENCODER.encode(document)


def decode(raw: bytes, decoder: "msgspec.json.Decoder[_T]", code: str, name: str) -> _T:
    """Read a document, whatever its spelling; whoever reads it goes on to :func:`refuse_other_spelling`.

    Raises ``Malformed`` with *code*; *name* is what the sentence calls the document.
    """
    try:
        return decoder.decode(raw)
    except UnicodeDecodeError:
        raise Malformed(code, f"The {name} is not UTF-8 at byte {_first_beyond_utf8(raw)}.") from None
    except (msgspec.DecodeError, RecursionError) as error:
        # The text may quote what a stranger sent: bounded, and with no character that a terminal would act on.
        raise Malformed(code, f"The {name} has another form: {str(error)[:200]!a}.") from None


def refuse_other_spelling(raw: bytes, canonical: bytes, code: str, name: str) -> None:
    """Raise ``Malformed`` with *code* unless a document came in its one spelling: no bit of it can change unseen."""
    if raw != canonical:
        differing = (at for at, (ours, theirs) in enumerate(zip(raw, canonical, strict=False)) if ours != theirs)
        at = next(differing, min(len(raw), len(canonical)))
        raise Malformed(code, f"The {name} is not in canonical form (RFC 8785) from byte {at} on.")


def _first_beyond_utf8(raw: bytes) -> int:
    """The place in the whole document; msgspec counts from the beginning of the string in which it is."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return len(raw)
