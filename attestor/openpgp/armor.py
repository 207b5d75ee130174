"""ASCII armor (RFC 4880, 6.2), strictly: one block, nothing around it, base64 in its one spelling.

PGPy's own reader takes the first block that it finds in any text, and ignores the rest.
"""

import re
from typing import Final

from attestor.core.errors import Malformed
from attestor.core.strictjson import decode_base64

ARMORED: Final = b"-----BEGIN "

# The checksum's value is not looked at, as RFC 9580, 6.1 demands: what is read is verified, and an old reader's CRC is no proof.
_BLOCK: Final = re.compile(
    rb"-----BEGIN PGP ([A-Z ]{1,32})-----[ \t]*\r?\n"
    rb"(?:[A-Za-z]{1,32}: [^\r\n]{0,1024}\r?\n)*[ \t]*\r?\n"
    rb"((?:[A-Za-z0-9+/]{1,128}={0,2}\r?\n)+)"
    rb"(?:=[A-Za-z0-9+/]{4}\r?\n)?"
    rb"-----END PGP \1-----[ \t\r\n]*"
)


def read_armor(raw: bytes, label: str) -> bytes:
    """The binary data in one armored block with this label: ``SIGNATURE``, ``PUBLIC KEY BLOCK``.

    :raises Malformed: no such block, another label, anything before or after it, or damaged base64.
    """
    found = _BLOCK.fullmatch(raw)
    if found is None or found[1] != label.encode():
        raise Malformed("openpgp-malformed", f"This is not exactly one armored block BEGIN PGP {label}.")
    try:
        return decode_base64(b"".join(found[2].split()).decode())
    except Malformed:
        raise Malformed("openpgp-malformed", "The armored block's base64 is damaged.") from None
