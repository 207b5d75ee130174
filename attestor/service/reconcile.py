"""Hold what the HSM counts of each release key against what was counted here before each call (design §2, P1)."""

from collections.abc import Callable, Mapping
from datetime import datetime

from attestor.core.operations import KeyCount
from attestor.service.keyports import Operations


async def reconcile(
    operations: Operations, read: Mapping[str, int], now: Callable[[], datetime]
) -> dict[str, KeyCount]:
    """Every key of *read*, place to what the device said just now, with its count as it is now.

    A key that the device used more often than was counted stops, durably, until a person acknowledges it.
    """
    return {place: await operations.met(place, said, now()) for place, said in read.items()}
