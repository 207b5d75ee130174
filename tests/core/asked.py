"""One package that two operators may agree on, and the request for its signature."""

import hashlib
from uuid import UUID

from attestor.core.claims import Claim, Outcome
from attestor.core.lifecycle import State
from attestor.core.requests import SigningRequest
from attestor.core.wire import Pull
from tests.service.makers import make_policy, package, secret_key

GOOD, OTHER = b"the package", b"another package"
_KEYS = make_policy().keys


def sha256(content):
    return hashlib.sha256(content).digest()


def sha512(content):
    return hashlib.sha512(content).digest()


def claim_at(moment, operator, content=GOOD, **changes):
    """What an operator says of the package, received at *moment*."""
    point = secret_key(operator).public_key().public_bytes_raw()
    [key] = [key for key in _KEYS if key.spki.endswith(point)]
    said = {"sha256": sha256(content), "sha512": sha512(content), "size": len(content)} | changes
    return Claim(
        operator=operator,
        release=package(),
        payload_digest=sha256(operator.encode() + content),
        form="rebuild",
        keys=frozenset({key.fingerprint}),
        outcome=Outcome.BUILT,
        received_at=moment,
        **said,
    )


def request_at(moment, **changes):
    """The request for the good bytes, claimed."""
    values = {
        "id": UUID(int=1),
        "release": package(),
        "requester": "build-service",
        "tier": "packages",
        "size": len(GOOD),
        "sha256": sha256(GOOD),
        "sha512": sha512(GOOD),
        "content": Pull("files", "f"),
        "content_present": True,
        "state": State.CLAIMED,
        "reason": "claimed",
        "sentence": "",
        "tries": 1,
        "created_at": moment,
        "updated_at": moment,
    }
    return SigningRequest(**(values | changes))
