"""Signed releases that rest on a key which is revoked by now: which votes, and whether enough operators stand without them."""

from dataclasses import dataclass
from datetime import datetime

from attestor.core.claims import Claim
from attestor.core.entries import DecisionEntry
from attestor.core.errors import Missing
from attestor.core.naming import Release
from attestor.core.policy import Policy, Tier

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
    """Operators that were counted and stand without these votes."""
    tier: Tier | None
    """By which threshold it is held against that; ``None`` where no tier governs the release any more."""

    @property
    def reached(self) -> bool:
        """Whether enough operators stand."""
        tier = self.tier
        return tier is not None and len(self.remaining) >= tier.threshold and tier.required <= self.remaining


def resting(signed: Signed, policy: Policy, chosen: Chosen) -> Resting | None:
    """Say what of *signed* rests on revoked keys alone; ``None`` when nothing does.

    An operator stands also by the same bytes that it stated with a key that is not suspect, before or since.
    """
    claims = {(claim.operator, claim.payload_digest): claim for claim in signed.claims}
    suspect = {place: keys for place, claim in claims.items() if (keys := _suspect_keys(claim, policy, chosen))}
    counted = [(vote.operator, bytes.fromhex(vote.payload)) for vote in signed.decision.counted]
    votes = tuple(SuspectVote(claims[place], suspect[place]) for place in sorted(counted) if place in suspect)
    if not votes:
        return None
    stands = {
        claim.operator
        for place, claim in claims.items()
        if claim.sha256 == signed.sha256 and place not in suspect and place not in signed.withdrawn
    }
    remaining = frozenset(operator for operator, _ in counted) & stands
    return Resting(signed, votes, remaining, _tier(signed.release, policy))


def _suspect_keys(claim: Claim, policy: Policy, chosen: Chosen) -> frozenset[str]:
    """The revoked keys that a vote rests on alone; none where another key of its operator vouches for it."""
    if chosen.since is not None and claim.received_at < chosen.since:
        return frozenset()
    held = {fingerprint: policy.keys_by_fingerprint.get(fingerprint) for fingerprint in claim.keys}
    suspect = {name for name, key in held.items() if key is not None and key.is_suspect_at(claim.received_at)}
    vouching = {name for name, key in held.items() if key is not None and key.operator == claim.operator} - suspect
    return frozenset() if vouching else frozenset(suspect & chosen.fingerprints(policy))


def _tier(release: Release, policy: Policy) -> Tier | None:
    try:
        return policy.tier_of(release)
    except Missing:
        return None
