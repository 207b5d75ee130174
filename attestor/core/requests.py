"""A signing request as a value, and where its bytes come from."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from attestor.core.lanes import Lane
from attestor.core.lifecycle import State
from attestor.core.naming import Release
from attestor.core.wire import HashState, Pull, Upload

Content = Upload | Pull | HashState


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """Who asked for the signature of which bytes of a release, and where that stands."""

    id: UUID
    release: Release
    requester: str
    tier: str
    size: int
    sha256: bytes
    sha512: bytes
    content: Content
    content_present: bool
    state: State
    reason: str
    sentence: str
    tries: int
    created_at: datetime
    updated_at: datetime
    decided_at: datetime | None = None
    """When a decision entry to sign it was enqueued: what dissents from then on is late."""
    decided_under: str | None = None
    """SHA-256 (hex) of the policy that this entry names: under another one it is decided anew, and nothing is late."""
    not_before: datetime | None = None
    """Until when it is left alone, unless something came that could change what holds it back."""
    lane: Lane = Lane.PACKAGE
