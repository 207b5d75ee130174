"""What can stand between a request and its signature: each obstacle once, with its code, its sentence, and who may lift it.

A block names the action that people may approve, where there is one. The order is that of the sentences a person would want:
first what can never change, then what is missing, then what rules hold back.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attestor.core.approvals import Granted
from attestor.core.errors import Rejected
from attestor.core.lineage import order_of
from attestor.core.naming import Release
from attestor.core.past import RulesPast
from attestor.core.policy import Tier
from attestor.core.predecessor import Packages, lost
from attestor.core.quorum import Decision, Disputed, Pending, Reached, Tally, in_favour_of
from attestor.core.requests import SigningRequest
from attestor.core.tierrules import Action
from attestor.core.versions import VersionOrder, is_newer, refuse_unordered
from attestor.core.wire import HashState

HELD: Final = frozenset(
    {
        "quota-used",
        "quota-reserved",
        "version-not-newer",
        "approval-needed",
        "packages-went-back",
        "predecessor-missing",
    }
)
"""What only a signer knows: the API leaves such a request alone until its time has come or something changed."""

LIFTED_BY: Final[Mapping[str, Action]] = {
    "approval-needed": Action.RELEASE,
    "version-not-newer": Action.DOWNGRADE,
    "packages-went-back": Action.DOWNGRADE,
    "predecessor-missing": Action.DOWNGRADE,
    "other-digest-signed": Action.RE_SIGN,
    "disputed": Action.DISPUTE,
    "quota-used": Action.QUOTA,
    "quota-reserved": Action.QUOTA,
}
"""By the reason for which a request waits: the exception that enough people may make of it."""


@dataclass(frozen=True, slots=True)
class NotNow:
    """It may be signed later; the request waits."""

    reason: str
    sentence: str
    opens: datetime | None = None
    """When time alone lifts it."""


@dataclass(frozen=True, slots=True)
class Never:
    """It cannot change; the request is refused."""

    reason: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Block:
    """One obstacle; *action* is what lifts it, *final* that nothing else ever will."""

    code: str
    sentence: str
    action: Action | None = None
    final: bool = False
    opens: datetime | None = None


def first_obstacle(blocks: Iterable[Block], tier: Tier, granted: Granted) -> NotNow | Never | None:
    """The first block that no approval lifts; ``None`` when there is none."""
    for block in blocks:
        if block.action is None or block.action not in granted:
            return _obstacle(block, tier)
    return None


def blocks_of_agreement(
    request: SigningRequest, tier: Tier, decision: Decision, signed: Collection[bytes]
) -> Iterator[Block]:
    """What stands in the way by the release's own votes, bytes and signatures."""
    if signed and request.sha256 not in signed:
        yield Block(
            "other-digest-signed",
            f"Another digest of this release is signed: {min(signed).hex()}. Give changed bytes a version of their own.",
            Action.RE_SIGN,
            final=True,
        )
    if request.requester not in tier.requesters:
        yield Block(
            "requester-not-allowed",
            f"Tier {tier.name} does not let requester {request.requester} ask: the policy would have to list it there.",
        )
    if isinstance(request.content, HashState) and tier.single_builder:
        yield Block(
            "hash-state-not-allowed",
            f"Tier {tier.name} has a single builder, so it takes the bytes, never a hash state: ask by upload or pull.",
            final=True,
        )
    yield from _against_decision(request, tier, decision)
    if tier.needs(Action.RELEASE):
        yield Block("approval-needed", f"Tier {tier.name} signs nothing without approval.", Action.RELEASE)


def blocks_of_past(release: Release, tier: Tier, past: RulesPast) -> Iterator[Block]:
    """What stands in the way by other releases that were decided on before."""
    yield from _against_version(release, tier, past)
    if tier.quota is not None and past.window is not None and past.used >= tier.quota.limit:
        yield Block(
            "quota-used",
            f"Tier {tier.name} signs {tier.quota.limit} a {tier.quota.period}, and {past.used} were decided on in "
            f"{past.window.name}; the next period opens at {past.window.end:%Y-%m-%dT%H:%M:%SZ}.",
            Action.QUOTA,
            opens=past.window.end,
        )


def blocks_of_predecessor(
    tier: Tier, past: RulesPast, before: Packages | None, now: Packages | None
) -> Iterator[Block]:
    """What stands in the way by what the database *before* lists and the one *now* does not, or in an older version."""
    if not tier.compare_predecessor or past.packages is None:
        return
    if before is None:
        yield Block(
            "predecessor-missing",
            f"The list of packages of the database before this one, {past.packages.hex()}, is not kept here any more: bring it back from a backup.",
            Action.DOWNGRADE,
        )
        return
    less = lost(before, now or {})
    if less is not None:
        yield Block(
            "packages-went-back",
            f"Against the database before this one, {less.sentence}. One that lists them, none older than there, is signed.",
            Action.DOWNGRADE,
            final=True,
        )


def _obstacle(block: Block, tier: Tier) -> NotNow | Never:
    needed = tier.needs(block.action) if block.action is not None else 0
    if block.final and not needed:
        return Never(block.code, block.sentence)
    if needed:
        people = "1 person" if needed == 1 else f"{needed} people"
        return NotNow(block.code, f"{block.sentence} {people} may approve it: {block.action}.", block.opens)
    return NotNow(block.code, block.sentence, block.opens)


def _against_decision(request: SigningRequest, tier: Tier, decision: Decision) -> Iterator[Block]:
    match decision:
        case Pending(tally) if not (tally.agreeing or tally.failed):
            yield Block("no-claims", f"Nobody has attested this release yet; {tier.threshold} operators must agree.")
        case Pending(tally):
            yield Block("not-reached", _missing(tally))
        case Disputed(tally):
            against = ", ".join(sorted(tally.dissenting | tally.equivocating))
            overruled = in_favour_of(decision, request.sha256)
            action = Action.DISPUTE if isinstance(overruled, Reached) else None
            yield Block(
                "disputed",
                f"The release is disputed: dissent by {against} is more than the tier allows. It ends when they take it back, "
                "or the policy suspends them or revokes the key.",
                action,
            )
            if isinstance(overruled, Reached):
                yield from _against_agreement(request, overruled)
        case Reached():
            yield from _against_agreement(request, decision)


def _missing(tally: Tally) -> str:
    agree = f"{len(tally.agreeing)} of {tally.threshold} needed operators agree"
    if len(tally.agreeing) >= tally.threshold and tally.missing_required:
        return f"{agree}, and the tier requires {', '.join(sorted(tally.missing_required))} among them."
    return f"{agree}; {tally.missing} more must attest the same bytes."


def _against_agreement(request: SigningRequest, decision: Reached) -> Iterator[Block]:
    if request.sha256 != decision.agreed.sha256:
        yield Block(
            "other-digest-reached",
            f"The operators agree on another digest: {decision.agreed.sha256.hex()}. Ask for those bytes; these are signed only "
            "once the operators take that back and state them.",
        )
    elif decision.stated.sha512 not in (None, request.sha512) or decision.stated.size not in (None, request.size):
        yield Block(
            "other-digest-reached",
            "The asked SHA-512 or size is not what the operators state beside the same SHA-256: ask with theirs.",
        )
    if isinstance(request.content, HashState) and None in (decision.agreed.sha512, decision.agreed.size):
        yield Block(
            "sha512-not-agreed",
            "A hash state needs SHA-512 and size stated by as many operators as the threshold: have them state both, or ask by "
            "upload or pull.",
        )
    if not request.content_present:
        yield Block("content-missing", "The bytes are not there yet; upload them.")


def _against_version(release: Release, tier: Tier, past: RulesPast) -> Iterator[Block]:
    if tier.version_order is VersionOrder.NONE:
        return
    order, version = order_of(release), release.version
    try:
        refuse_unordered(order, version)
        newer = past.newest is None or is_newer(order, version, past.newest)
    except Rejected as error:
        yield Block(error.code, error.sentence, final=True)
        return
    if not newer:
        yield Block(
            "version-not-newer",
            f"Version {version} is not newer than {past.newest}, which was decided on before: only a newer one is signed.",
            Action.DOWNGRADE,
            final=True,
        )
