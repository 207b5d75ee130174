"""Pausing and resuming a tier of the deployment, with the owner's credentials: no client of the service can."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attestor.config import Config, Role
from attestor.core.errors import Missing
from attestor.store.pauses import Backlog, Pauses
from attestor.store.pool import Settings, connect


@asynccontextmanager
async def pauses(config: Config) -> AsyncIterator[Pauses]:
    """The deployment's pauses for as long as the context lasts."""
    async with connect(Settings(config.for_role(Role.OWNER).dsn.reveal(), connections=1)) as pool:
        yield Pauses(pool)


async def backlog_of(config: Config, held: Pauses, tier: str) -> Backlog:
    """What is open in one tier. Raises ``Missing`` ``tier-unknown`` where neither policy nor database knows it."""
    known = {line.tier: line for line in await held.backlog()}
    if tier not in known and tier not in {each.name for each in config.policy.tiers}:
        names = ", ".join(sorted(each.name for each in config.policy.tiers))
        raise Missing("tier-unknown", f"The policy has no tier {tier[:64]!a}; it has {names}.")
    return known.get(tier, Backlog(tier, 0, 0, 0, 0, None, None, None))
