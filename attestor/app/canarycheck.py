"""Is this the canary of this key? Asked of the OpenPGP certificate alone, by processes that hold no HSM credential (P9)."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attestor.core.canary import CANARY, announced_by
from attestor.openpgp.certificate import Certificate
from attestor.openpgp.signature import verify_signature

_WHOLE: Final = hashlib.sha512(CANARY)


@dataclass(frozen=True, slots=True)
class CheckedCanary:
    """What a verified canary says of itself."""

    created: datetime
    origin: str
    """The instance that made it."""
    log: str
    index: int
    """Of the entry that announced it."""


def check_canary(certificate: Certificate, signature: bytes) -> CheckedCanary:
    """Raises ``Rejected`` as :func:`verify_signature`, and ``canary-notation``: it is no canary, but may be something else's signature."""
    verified = verify_signature(certificate, signature, _WHOLE)
    origin, log, index = announced_by(tuple((each.name, each.value) for each in verified.notations))
    return CheckedCanary(verified.created, origin, log, index)
