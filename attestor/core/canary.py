"""The canary: one constant string that every release key signs now and then, so that a key that cannot sign is found in time (P1).

It is the only thing besides a release that a signer has signed, and can be taken for none: a detached signature holds for exactly
its bytes, and these are the same for ever and the bytes of no artifact; its notation is another than a release's, so that who asks
for ``log-entry@ORIGIN`` (:func:`attestor.core.authorisation.evidence_notation`) refuses it. Only :func:`permit_canary` makes a
:class:`CanaryPermit`, and nothing in one says what is to be signed.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attestor.core.entries import CanaryEntry, moment
from attestor.core.errors import Halted, Rejected

CANARY: Final = b"attestor canary v1\n"
"""All that is ever signed for the canary."""
_NOTATION: Final = "canary@"


@dataclass(frozen=True, slots=True)
class LoggedCanary:
    """A canary's entry, and where it stands in the log."""

    index: int
    entry: CanaryEntry


@dataclass(frozen=True, slots=True)
class CanaryPermit:
    """The permit to have one key sign :data:`CANARY`, with the time and under the log entry that announced it."""

    key_fingerprint: str
    created: datetime
    """The signature's creation time, in whole seconds."""
    notation: tuple[str, str]


def permit_canary(logged: LoggedCanary, *, key_fingerprint: str, instance: str, origin: str, log: str) -> CanaryPermit:
    """Permit the canary under an entry of the signer's own that its log was seen to include.

    Raises ``Halted`` ``canary-differs`` when that entry announces another key's, or another signer's.
    """
    entry = logged.entry
    if (entry.key, entry.instance) != (key_fingerprint, instance):
        raise Halted("canary-differs", f"Log entry {logged.index} does not announce the canary of {key_fingerprint}.")
    return CanaryPermit(key_fingerprint, moment(entry.created), canary_notation(origin, log, logged.index))


def canary_notation(origin: str, log: str, index: int) -> tuple[str, str]:
    """``canary@ORIGIN`` and ``LOG-ORIGIN INDEX`` of the entry: an OpenPGP notation (RFC 4880, 5.2.3.16)."""
    return f"{_NOTATION}{origin}", f"{log} {index}"


def announced_by(notations: tuple[tuple[str, str], ...]) -> tuple[str, str, int]:
    """Origin, log and index that a canary's signature names. Raises ``Rejected`` ``canary-notation``."""
    if len(notations) == 1:
        name, value = notations[0]
        log, _, index = value.rpartition(" ")
        if name.startswith(_NOTATION) and log and index.isascii() and index.isdecimal():
            return name.removeprefix(_NOTATION), log, int(index)
    raise Rejected(
        "canary-notation", "The signature does not say by its one notation canary@ORIGIN which entry announced it."
    )
