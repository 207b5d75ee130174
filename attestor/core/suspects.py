"""Signed releases that rest on a key which is revoked by now: which votes, and whether enough operators stand without them."""

from dataclasses import dataclass
from datetime import datetime

from attestor.core.claims import Claim
from attestor.core.entries import DecisionEntry
from attestor.core.errors import Missing
from attestor.core.naming import Release
from attestor.core.policy import Policy, Tier
from attestor.core.quorum import why_not_counted

Place = tuple[str, bytes]
"""Operator and payload digest."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which revoked keys are looked for, and since when; ``None`` is all."""

    operator: str | None = None
    since: datetime | None = None

    def fingerprints(self, policy: Policy) -> frozenset[str]:
        """Of the revoked keys."""
        return frozenset(
            fingerprint
            for fingerprint, key in policy.keys_by_fingerprint.items()
            if key.revoked and self.operator in (None, key.operator)
        )

    def is_in_time(self, claim: Claim) -> bool:
        """Whether it was received late enough to be looked for."""
        return self.since is None or claim.received_at >= self.since


@dataclass(frozen=True, slots=True)
class Signed:
    """One signed release: the decision that it was signed by, and every claim that is kept on it."""

    release: Release
    sha256: bytes
    index: int
    """Of the decision entry."""
    decision: DecisionEntry
    claims: tuple[Claim, ...]
    withdrawn: frozenset[Place]


@dataclass(frozen=True, slots=True)
class SuspectVote:
    """A counted vote that revoked keys alone signed, received when it may have been somebody else who signed."""

    claim: Claim
    keys: frozenset[str]
    """Fingerprints of those keys."""


@dataclass(frozen=True, slots=True)
class Resting:
    """A signed release that counts at least one suspect vote."""

    signed: Signed
    votes: tuple[SuspectVote, ...]
    """In the order of operators."""
    remaining: frozenset[str]
    """Operators that stand for the bytes without these votes: of those that were counted, and that attested them besides or since."""
    tier: Tier | None
    """By which threshold it is held against that; ``None`` where no tier governs the release any more."""

    @property
    def reached(self) -> bool:
        """Whether enough operators stand."""
        tier = self.tier
        return tier is not None and len(self.remaining) >= tier.threshold and tier.required <= self.remaining


def resting(signed: Signed, policy: Policy, chosen: Chosen) -> Resting | None:
    """Say what of *signed* rests on the chosen revoked keys alone; ``None`` when nothing does.

    Whoever stands, stands without any revoked key, chosen or not: by the same bytes that it stated with a key that is not suspect,
    before or since. So does an operator that was not counted, where its vote would be now.
    """
    claims = {(claim.operator, claim.payload_digest): claim for claim in signed.claims}
    suspect = {place: keys for place, claim in claims.items() if (keys := _suspect_keys(claim, policy))}
    counted = [(vote.operator, bytes.fromhex(vote.payload)) for vote in signed.decision.counted]
    looked_for = chosen.fingerprints(policy)
    votes = tuple(
        SuspectVote(claims[place], suspect[place])
        for place in sorted(counted)
        if not looked_for.isdisjoint(suspect.get(place, ())) and chosen.is_in_time(claims[place])
    )
    if not votes:
        return None
    tier = _tier(signed.release, policy)
    were_counted = {operator for operator, _ in counted}
    remaining = frozenset(
        claim.operator
        for place, claim in claims.items()
        if claim.sha256 == signed.sha256
        and place not in suspect
        and place not in signed.withdrawn
        and (claim.operator in were_counted or _counts(claim, tier, policy))
    )
    return Resting(signed, votes, remaining, tier)


def _suspect_keys(claim: Claim, policy: Policy) -> frozenset[str]:
    """The revoked keys that a vote rests on alone; none where another key of its operator vouches for it."""
    held = {fingerprint: policy.keys_by_fingerprint.get(fingerprint) for fingerprint in claim.keys}
    suspect = {name for name, key in held.items() if key is not None and key.is_suspect_at(claim.received_at)}
    vouching = {name for name, key in held.items() if key is not None and key.operator == claim.operator} - suspect
    return frozenset() if vouching else frozenset(suspect)


def _counts(claim: Claim, tier: Tier | None, policy: Policy) -> bool:
    """Whether a vote counts that the decision did not rest on: by the policy in force, as of when it came."""
    return tier is not None and why_not_counted(claim, tier, policy, frozenset(), claim.received_at) is None


def _tier(release: Release, policy: Policy) -> Tier | None:
    try:
        return policy.tier_of(release)
    except Missing:
        return None
