"""What the use cases need to watch over release keys: the count of their uses, and the canary; narrow Protocols with written promises."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from attestor.core.canary import CanaryPermit
from attestor.core.obstacles import NotNow
from attestor.core.operations import Acknowledgement, KeyCount


class Operations(Protocol):
    """How often each key of the HSM was used, outside the database and not derived from the log."""

    async def count(self, place: str) -> None:
        """Count one use that is about to be made, durable on return. Raises ``Unavailable`` ``operations-unavailable``."""

    async def key(self, place: str) -> KeyCount:
        """What is known of one key."""

    async def met(self, place: str, operations: int, at: datetime) -> KeyCount:
        """Hold what the device said at that time against the count; a key that is above it stops. Durable on return."""

    async def acknowledge(self, place: str, said: Acknowledgement) -> KeyCount:
        """Take the device's number for the count, and note who did. Raises ``Conflict`` ``hsm-operations-moved``."""


@dataclass(frozen=True, slots=True)
class KeyStanding:
    """How one release key stands, for everybody who asks the API."""

    name: str
    fingerprint: str
    certificate: bytes
    """As the device holds it."""
    counted: int
    operations: int | None
    stopped: bool
    at: datetime | None = None
    """When the signer said so, by the database's clock."""


@dataclass(frozen=True, slots=True)
class Canary:
    """One signature of the constant string, and the log entry that announced it."""

    key_fingerprint: str
    index: int
    created: datetime
    signature: bytes


@dataclass(frozen=True, slots=True)
class CanaryClock:
    """What a signer has to know to say whether a canary is due; times by the database's clock."""

    now: datetime
    wanted: datetime | None
    """When somebody asked for canaries last."""
    made: dict[str, datetime]
    """By key fingerprint, when the last one was kept."""


class KeyBook(Protocol):
    """The signer's side of what the database shows of release keys."""

    async def stands(self, keys: Sequence[KeyStanding]) -> None:
        """Show how these keys stand."""

    async def canary_clock(self) -> CanaryClock: ...

    async def keep_canary(self, canary: Canary) -> None:
        """Keep it for everybody to read, with the last few of its key."""


class CanaryPen(Protocol):
    """A place at the HSM, taken by the canary's own user, who signs nothing else."""

    async def sign(self, permit: CanaryPermit) -> bytes:
        """Make the binary detached OpenPGP signature of the canary's string, verified before it is returned.

        Raises as ``Pen.sign``.
        """


class CanaryKey(Protocol):
    """One release key, as the canary's user has it."""

    @property
    def fingerprint(self) -> str:
        """Upper-case hex version 4 fingerprint of the certificate."""

    async def held(self) -> NotNow | None:
        """Why the key makes no signature at all now."""

    def slot(self) -> AbstractAsyncContextManager[CanaryPen]:
        """Wait for a free place at the HSM."""
