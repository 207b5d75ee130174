"""What one look of ``attestor check`` found."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from attestor.core.errors import AttestorError


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found; ``remedy`` is there exactly when it is not ``ok``."""

    part: str
    ok: bool
    detail: str
    remedy: str | None = None


async def tried(part: str, look: Callable[[], Awaitable[Finding]], remedy: str) -> Finding:
    """Look for 20 s at most; what goes wrong is a finding with *remedy*, never an exception."""
    try:
        async with asyncio.timeout(20):
            return await look()
    except (AttestorError, TimeoutError) as error:
        detail = error.sentence if isinstance(error, AttestorError) else "no answer within 20 s"
        return Finding(part, ok=False, detail=detail, remedy=remedy)
