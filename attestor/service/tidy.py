"""Keep the spool small: uploads that no request waits for any more go."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from attestor.service.ports import Ledger, Spool

_GRACE: Final = timedelta(hours=1)
"""An upload may be complete before its request says so, and a requester may ask again at once."""


async def tidy_spool(ledger: Ledger, spool: Spool, now: Callable[[], datetime]) -> int:
    """Remove what nobody needs, and return how many contents went."""
    before = now() - _GRACE
    return await spool.sweep(await ledger.awaited_contents(), before=before)
