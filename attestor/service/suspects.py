"""Which signed releases rest on keys that are revoked by now (design §7, keys and policy change)."""

from attestor.core.errors import Malformed, Missing
from attestor.core.policy import Policy
from attestor.core.suspects import Chosen, resting
from attestor.core.views import suspect_line
from attestor.core.wire import MAX_PAGE, SuspectPage
from attestor.service.ports import Ledger


async def suspects(ledger: Ledger, policy: Policy, chosen: Chosen, *, cursor: str | None, limit: int) -> SuspectPage:
    """Look through the next *limit* signed releases in the order of their ids; a page may show none and go on.

    Raises ``Missing`` ``operator-unknown``, ``Malformed`` ``limit-invalid``.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise Malformed("limit-invalid", f"The limit is 1 to {MAX_PAGE}.")
    if chosen.operator is not None and chosen.operator not in policy.operators:
        raise Missing("operator-unknown", f"Policy serial {policy.serial} lists no operator {chosen.operator}.")
    keys = chosen.fingerprints(policy)
    if not keys:
        return SuspectPage(releases=(), cursor=None, policy_serial=policy.serial)
    found, after = await ledger.signed_with(sorted(keys), cursor, limit)
    rest = (resting(signed, policy, chosen) for signed in found)
    lines = tuple(suspect_line(one) for one in rest if one is not None)
    return SuspectPage(releases=lines, cursor=after, policy_serial=policy.serial)
