"""How often a release key was used: what was counted before each call, held against what the device counts itself.

Every call is counted before it is made, so the device can never have more than was counted, unless somebody else used the key.
It may have less: a call that was counted may have failed, and a device loses up to an hour of its counts with its power.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from attestor.core.errors import Conflict
from attestor.core.obstacles import NotNow

ABOVE = "hsm-operations-above"
"""Why a key makes no signature: the device says that it was used more often than was counted."""


@dataclass(frozen=True, slots=True)
class KeyCount:
    """What is known of the uses of one key; a key that nothing is known of was counted 0 times."""

    place: str
    """Where the device has it: ``NAMESPACE/KEY``."""
    counted: int = 0
    """Calls that were counted before they were made."""
    operations: int | None = None
    """What the device said last."""
    counted_then: int = 0
    """What had been counted when the device said so."""
    read_at: datetime | None = None
    stopped: bool = False
    """Whether the device was above the count, and nobody has acknowledged it yet."""

    @property
    def missing(self) -> int:
        """How many counted calls the device did not know of when it was read; those under way are among them."""
        return 0 if self.operations is None else max(self.counted_then - self.operations, 0)

    @property
    def obstacle(self) -> NotNow | None:
        """Why the key makes no signature now."""
        if not self.stopped:
            return None
        return NotNow(
            ABOVE,
            f"The HSM says that the key {self.place} was used {self.operations} times, and {self.counted_then} uses were counted here: "
            "somebody else may have used it. It signs nothing until a person has found out, and said so: attestor hsm reconcile "
            "--acknowledge.",
        )


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A person takes the device's number for the count: who, when, and why."""

    who: str
    at: datetime
    reason: str
    operations: int
    """The device's number, as the person read it."""


def met(known: KeyCount, operations: int, at: datetime) -> KeyCount:
    """The key after the device said how often it was used; *known* was read after that.

    One that was stopped stays stopped, also where the device goes back.
    """
    return replace(
        known,
        operations=operations,
        counted_then=known.counted,
        read_at=at,
        stopped=known.stopped or operations > known.counted,
    )


def acknowledged(known: KeyCount, said: Acknowledgement) -> KeyCount:
    """The key after a person took the device's number for the count; calls that were counted since are counted on.

    Raises ``Conflict`` ``hsm-operations-moved`` when the device's number is another than the person read.
    """
    if known.operations != said.operations:
        raise Conflict(
            "hsm-operations-moved",
            f"The device says {known.operations} uses of the key {known.place}, not {said.operations}: look again, and find out why.",
        )
    since = known.counted - known.counted_then
    return replace(known, counted=said.operations + since, counted_then=said.operations, stopped=False)
