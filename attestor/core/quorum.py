"""The counting rule: one synchronous, total, order-free function, and it exists once.

One operator, one vote (P3). Integers, never percent; sets, never rows. An operator that stated two digests votes for
nothing and is dissent against everything. Dissent above the tier's limit disputes the release. Nothing is reached below
the threshold (P1). Where others go wrong with this stands in tests/core/test_quorum.py, defect by defect.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import product

from attestor.core.claims import Claim, Outcome
from attestor.core.policy import Policy, Tier


@dataclass(frozen=True, slots=True)
class Bytes:
    """What bytes a vote names: SHA-256, and SHA-512 and size in bytes where it states them."""

    sha256: bytes
    sha512: bytes | None
    size: int | None


@dataclass(frozen=True, slots=True)
class Uncounted:
    """A claim that is kept but does not count, and why (a stable code)."""

    operator: str
    payload_digest: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Tally:
    """Everything that was weighed; the same in every decision, so that each can be explained (P10)."""

    threshold: int
    candidate: Bytes | None
    """The bytes that most operators state; SHA-512 and size only as far as anybody states them."""
    agreeing: frozenset[str]
    dissenting: frozenset[str]
    equivocating: frozenset[str]
    failed: frozenset[str]
    missing_required: frozenset[str]
    uncounted: frozenset[Uncounted]

    @property
    def missing(self) -> int:
        """How many further operators must agree."""
        return max(0, self.threshold - len(self.agreeing), len(self.missing_required))


@dataclass(frozen=True, slots=True)
class Pending:
    """Not yet: too few operators agree, or a required one is missing."""

    tally: Tally


@dataclass(frozen=True, slots=True)
class Reached:
    """n distinct operators state these bytes.

    ``agreed`` holds SHA-512 and size only where n counted operators state that same value; ``stated`` what fewer state,
    which the artifact must match too but which never suffices.
    """

    tally: Tally
    agreed: Bytes
    stated: Bytes


@dataclass(frozen=True, slots=True)
class Disputed:
    """More dissent than the tier allows, whichever bytes are favoured."""

    tally: Tally
    overruled: Reached | None = None
    """What it is once enough people approve the leading bytes in spite of the dissent: they must have n votes all the same."""


Decision = Pending | Reached | Disputed


def evaluate(  # noqa: PLR0913 - the rule and everything that it weighs
    tier: Tier,
    policy: Policy,
    claims: Iterable[Claim],
    withdrawn: frozenset[tuple[str, bytes]],
    now: datetime,
    *,
    doubted: frozenset[tuple[str, bytes]] = frozenset(),
) -> Decision:
    """Decide one release of *tier* from all claims on it.

    *withdrawn* holds (operator, payload digest). *now* can take a vote away (expiry), never give one. *doubted* holds what a
    key that does not count any more took back: such a vote neither agrees nor ceases to dissent, so that whoever stole the
    key ends no dispute and settles no equivocation with it.
    """
    counted: list[Claim] = []
    doubtful: set[str] = set()
    uncounted: set[Uncounted] = set()
    failed: set[str] = set()
    for claim in claims:
        reason = why_not_counted(claim, tier, policy, withdrawn, now)
        if reason is not None:
            uncounted.add(Uncounted(claim.operator, claim.payload_digest, reason))
        elif claim.outcome is Outcome.FAILED:
            failed.add(claim.operator)
        else:
            counted.append(claim)
            if (claim.operator, claim.payload_digest) in doubted:
                doubtful.add(claim.operator)
    return _decide(tier, counted, frozenset(failed), frozenset(uncounted), doubtful)


def why_not_counted(
    claim: Claim, tier: Tier, policy: Policy, withdrawn: frozenset[tuple[str, bytes]], now: datetime
) -> str | None:
    """Why a claim neither agrees nor dissents at *now*, as a stable code; ``None`` where it does."""
    if claim.operator not in tier.operators:
        return "operator-not-in-tier"
    if claim.operator in policy.suspended:
        return "operator-suspended"
    if (claim.operator, claim.payload_digest) in withdrawn:
        return "withdrawn"
    refusals = [_why_key_does_not_count(fingerprint, claim, policy, now) for fingerprint in claim.keys]
    return None if None in refusals else min(filter(None, refusals), default="key-unknown")


def _why_key_does_not_count(fingerprint: str, claim: Claim, policy: Policy, now: datetime) -> str | None:
    """A vote stands while one key that signed it counts, both when it was received and now."""
    key = policy.keys_by_fingerprint.get(fingerprint)
    if key is None or key.operator != claim.operator:
        return "key-unknown"
    if not key.may_say(claim.form):
        return "statement-not-allowed"
    if not key.covers(claim.release):
        return "key-out-of-scope"
    return key.refusal_at(claim.received_at) or key.refusal_at(now)


def _decide(
    tier: Tier, counted: Iterable[Claim], failed: frozenset[str], uncounted: frozenset[Uncounted], doubtful: set[str]
) -> Decision:
    said: defaultdict[str, set[Bytes]] = defaultdict(set)
    for claim in counted:
        if claim.sha256 is not None:
            said[claim.operator].add(Bytes(claim.sha256, claim.sha512, claim.size))
    merged = {operator: _merge(stated) for operator, stated in said.items() if operator not in doubtful}
    votes = {operator: vote for operator, vote in merged.items() if vote is not None}
    equivocating = frozenset(said) - frozenset(votes)
    candidate, agreeing = _favoured(votes)
    tally = Tally(
        threshold=tier.threshold,
        candidate=candidate,
        agreeing=agreeing,
        dissenting=frozenset(votes) - agreeing,
        equivocating=equivocating,
        failed=failed - frozenset(said),
        missing_required=tier.required - agreeing,
        uncounted=uncounted,
    )
    agreement = None
    if candidate is not None and not tally.missing:
        agreement = Reached(tally, agreed=_agreed(candidate, agreeing, votes, tier.threshold), stated=candidate)
    if len(tally.dissenting) + len(equivocating) > tier.dissent_limit:
        return Disputed(tally, agreement)
    return agreement or Pending(tally)


def in_favour_of(decision: Decision, sha256: bytes) -> Decision:
    """The decision when dissent against these bytes is overruled: it takes n votes for them as ever (P1)."""
    if isinstance(decision, Disputed) and decision.overruled and decision.overruled.agreed.sha256 == sha256:
        return decision.overruled
    return decision


def _merge(stated: set[Bytes]) -> Bytes | None:
    """Join what one operator said in several statements; ``None`` when it contradicts itself."""
    if len(stated) == 1:
        return next(iter(stated))
    sha256 = {said.sha256 for said in stated}
    sha512 = {said.sha512 for said in stated} - {None}
    size = {said.size for said in stated} - {None}
    if max(len(sha256), len(sha512), len(size)) > 1:
        return None
    return Bytes(sha256.pop(), next(iter(sha512), None), next(iter(size), None))


def _favoured(votes: dict[str, Bytes]) -> tuple[Bytes | None, frozenset[str]]:
    """Name the bytes that most operators agree on, and those operators.

    Ties are broken by value only to name a candidate: a tie never reaches a threshold above half, because an operator whose
    vote fits two equally large camps is counted in neither.
    """
    if len(said := set(votes.values())) == 1:
        return said.pop(), frozenset(votes)
    camps = _camps(votes)
    if not camps:
        return None, frozenset()
    candidate, agreeing = max(camps.items(), key=lambda camp: (len(camp[1]), _sortable(camp[0])))
    rivals = [camp for bytes_, camp in camps.items() if bytes_ != candidate and len(camp) == len(agreeing)]
    return candidate, agreeing.difference(*rivals)


def _camps(votes: dict[str, Bytes]) -> dict[Bytes, frozenset[str]]:
    """Group operators by bytes. A vote that leaves out SHA-512 or size fits every camp that it does not contradict."""
    by_sha256: defaultdict[bytes, dict[str, Bytes]] = defaultdict(dict)
    for operator, said in votes.items():
        by_sha256[said.sha256][operator] = said
    return {camp: operators for group in by_sha256.values() for camp, operators in _camps_within(group)}


def _camps_within(group: dict[str, Bytes]) -> Iterator[tuple[Bytes, frozenset[str]]]:
    """Every way to read one SHA-256: each stated SHA-512 with each stated size, by those who contradict neither."""
    sha512 = {said.sha512 for said in group.values()} - {None} or {None}
    sizes = {said.size for said in group.values()} - {None} or {None}
    for reading in product(sha512, sizes):
        fitting = {
            operator: said
            for operator, said in group.items()
            if said.sha512 in (None, reading[0]) and said.size in (None, reading[1])
        }
        stated = _merge(set(fitting.values())) if fitting else None
        if stated is not None:
            yield stated, frozenset(fitting)


def _agreed(candidate: Bytes, agreeing: frozenset[str], votes: dict[str, Bytes], threshold: int) -> Bytes:
    by_sha512 = sum(votes[operator].sha512 is not None for operator in agreeing)
    by_size = sum(votes[operator].size is not None for operator in agreeing)
    return Bytes(
        candidate.sha256,
        candidate.sha512 if by_sha512 >= threshold else None,
        candidate.size if by_size >= threshold else None,
    )


def _sortable(camp: Bytes) -> tuple[bytes, bytes, int]:
    return camp.sha256, camp.sha512 or b"", -1 if camp.size is None else camp.size
