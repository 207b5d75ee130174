"""May this be signed, and if not, why? The rules once more, written from the design alone (§5 counting, §6, §7), to be obviously right.

Nothing of ``attestor`` is imported. The past is one plain list of events in the log's order; every question goes through all of
it again. Where the design leaves room, a comment says what is taken: the stricter reading, unless that would be absurd.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

# ------------------------------------------------------------------------------------------------ a policy, plainly


@dataclass(frozen=True)
class Key:
    """A key of an operator or of an approver (scopes: kind, type, namespace, architecture or None)."""

    name: str
    owner: str
    first: datetime
    end: datetime
    revoked: bool
    scopes: tuple = ()


@dataclass(frozen=True)
class Tier:
    name: str
    kind: str
    type: str
    product: str  # a product's name, or *
    arch: str | None
    operators: frozenset
    n: int
    dissent_limit: int
    required: frozenset
    signing_key: str
    requesters: frozenset
    order: str
    quota: tuple | None  # (how many, of day | week | month | year)
    approvals: dict  # action -> how many people
    hours: int


@dataclass(frozen=True)
class Policy:
    serial: int
    tiers: tuple
    keys: tuple
    suspended: frozenset
    approver_keys: tuple
    person_of_approver: dict
    person_of_requester: dict  # a requester that is not in here is nobody's
    origin: str = "here"


@dataclass(frozen=True)
class Release:
    id: str
    kind: str
    type: str
    namespace: str
    name: str
    version: str
    arch: str


@dataclass(frozen=True)
class Request:
    id: str
    requester: str
    release: Release
    sha256: str
    sha512: str
    size: int


# ------------------------------------------------------------------------------------------------ what happens


@dataclass(frozen=True)
class Vote:
    operator: str
    payload: str
    keys: tuple  # names of the keys that signed it
    release: Release
    sha256: str | None  # None: the build failed
    sha512: str | None
    size: int | None
    received: datetime


@dataclass(frozen=True)
class Withdrawn:
    operator: str
    payload: str
    release: Release
    key: str  # which counted when it came


@dataclass(frozen=True)
class Approved:
    """A verified approval was handed in."""

    document: str
    key: str
    origin: str
    action: str
    tier: str
    rules: Tier
    suspended: frozenset
    pairs: tuple  # (release id, sha256)
    request: str | None  # None: it carries a manifest
    begin: datetime
    end: datetime


@dataclass(frozen=True)
class Revoked:
    document: str


@dataclass(frozen=True)
class PolicyChanged:
    policy: Policy


@dataclass(frozen=True)
class Decided:
    """A decision to sign stands in the log."""

    request: str
    release: Release
    sha256: str
    tier: str
    signing_key: str
    created: datetime
    documents: tuple  # of the approvals that it spends
    over_quota: bool = False  # one of them lets it through beyond the quota


@dataclass(frozen=True)
class Signed:
    release: Release
    sha256: str
    signing_key: str


# ------------------------------------------------------------------------------------------------ the question


def why_not(events: list, request: Request, at: datetime) -> set[str]:
    """All reasons why *request* may not be signed at *at*, after *events*; none: it may."""
    policy = policy_in(events)
    tier = tier_of(policy, request.release)
    if tier is None:
        return {"no-tier"}
    reasons: set[str] = set()
    if request.requester not in tier.requesters:
        reasons.add("requester")
    agreeing, dissenting = votes_for_and_against(events, policy, tier, request, at)
    if len(agreeing) < tier.n:
        reasons.add("not-reached")
    if not tier.required <= agreeing:
        reasons.add("required")
    if len(dissenting) > tier.dissent_limit and not approved("dispute", events, policy, tier, request, at):
        reasons.add("disputed")
    if "release" in tier.approvals and not approved("release", events, policy, tier, request, at):
        reasons.add("approval")
    reasons |= signed_before(events, policy, tier, request, at)
    if not rises(events, tier, request) and not approved("downgrade", events, policy, tier, request, at):
        reasons.add("downgrade")
    if quota_is_used(events, tier, request, at) and not approved("quota", events, policy, tier, request, at):
        reasons.add("quota")
    return reasons


def why_not_now(events: list, own: int, request: Request, now: datetime) -> set[str]:
    """The same before the HSM is called, when the request's own decision stands at index *own* among *events*.

    The log's order decides between two requests, and the decision's creation time is when it was decided, so its rules are asked at
    its place and time, with the approvals that it spends and no others. What was taken away since (votes, keys, a tier's rules) is
    gone, and what was signed since is signed; dissent that came since changes nothing.
    """
    decided = events[own]
    before = [event for event in events[:own] if not isinstance(event, Approved) or event.document in decided.documents]
    later = [event for event in events[own + 1 :] if isinstance(event, Withdrawn | PolicyChanged | Signed)]
    reasons = why_not(before + later, request, decided.created)
    policy = policy_in(events)
    tier = tier_of(policy, request.release)
    if tier is None:
        return reasons | {"no-tier"}
    # Votes by the clock of now: a key may have ended since.
    agreeing, _ = votes_for_and_against(before + later, policy, tier, request, now)
    if len(agreeing) < tier.n:
        reasons.add("not-reached")
    if not tier.required <= agreeing:
        reasons.add("required")
    if (decided.release.id, decided.sha256) != (request.release.id, request.sha256):
        reasons.add("decided-otherwise")
    if (decided.tier, decided.signing_key) != (tier.name, tier.signing_key):
        reasons.add("decided-otherwise")
    return reasons


# ------------------------------------------------------------------------------------------------ policy


def policy_in(events: list) -> Policy:
    found = None
    for event in events:
        if isinstance(event, PolicyChanged):
            found = event.policy
    assert found is not None
    return found


def tier_of(policy: Policy, release: Release) -> Tier | None:
    for tier in policy.tiers:
        if (
            tier.kind == release.kind
            and tier.type == release.type
            and tier.product in ("*", release.name)
            and tier.arch in (None, release.arch)
        ):
            return tier
    return None


def key_counts(key: Key, at: datetime) -> bool:
    return not key.revoked and key.first <= at < key.end


# ------------------------------------------------------------------------------------------------ counting


def standing_votes(events: list, policy: Policy, tier: Tier, release: Release, at: datetime) -> list[Vote]:
    """Votes for some bytes of this release, of operators of the tier, which nobody took back, each signed by a key that counts."""
    standing = []
    for vote in events:
        if not isinstance(vote, Vote) or vote.release != release or vote.sha256 is None:
            continue
        if vote.operator not in tier.operators or vote.operator in policy.suspended:
            continue
        if any(is_known(policy, taken.key) for taken in withdrawals_of(events, vote)):
            # For good, also once that key has ended.
            continue
        for key in policy.keys:
            # The time of receipt can take a vote away and give none: the key must count then and now.
            if (
                key.name in vote.keys
                and key.owner == vote.operator
                and key_counts(key, vote.received)
                and key_counts(key, at)
                and covers(key, release)
            ):
                standing.append(vote)
                break
    return standing


def withdrawals_of(events: list, vote: Vote) -> list[Withdrawn]:
    mine = (vote.operator, vote.payload, vote.release)
    return [
        event
        for event in events
        if isinstance(event, Withdrawn) and (event.operator, event.payload, event.release) == mine
    ]


def is_known(policy: Policy, name: str) -> bool:
    """Whether what the key said can still be verified, and was its operator's and no thief's."""
    for key in policy.keys:
        if key.name == name:
            return not key.revoked
    return False


def covers(key: Key, release: Release) -> bool:
    for kind, purl_type, namespace, arch in key.scopes:
        if (kind, purl_type, namespace) == (release.kind, release.type, release.namespace) and arch in (
            None,
            release.arch,
        ):
            return True
    return False


def votes_for_and_against(events: list, policy: Policy, tier: Tier, request: Request, at: datetime):
    """Who says these very bytes and nothing else; and who says anything else, be it beside them (equivocation)."""
    agreeing, dissenting = set(), set()
    for operator in tier.operators:
        for_it = against = False
        for vote in standing_votes(events, policy, tier, request.release, at):
            if vote.operator != operator:
                continue
            # What was taken back by a key that is revoked or gone by now is no agreement; but perhaps a thief of that key did it, or
            # nobody: it ends no dissent either.
            if states(vote, request) and not withdrawals_of(events, vote):
                for_it = True
            else:
                against = True
        if against:
            dissenting.add(operator)
        elif for_it:
            agreeing.add(operator)
    return agreeing, dissenting


def states(vote: Vote, request: Request) -> bool:
    """Whether it is a vote for the artifact: what it leaves out it does not deny."""
    return vote.sha256 == request.sha256 and vote.sha512 in (None, request.sha512) and vote.size in (None, request.size)


# ------------------------------------------------------------------------------------------------ the past


def signed_before(events: list, policy: Policy, tier: Tier, request: Request, at: datetime) -> set[str]:
    """The same digest by the same key has its signature; for another one people must let it be signed anew (P5, P7)."""
    made = [event for event in events if isinstance(event, Signed) and event.release == request.release]
    if not made:
        return set()
    for event in made:
        if (event.sha256, event.signing_key) == (request.sha256, tier.signing_key):
            return {"signed-already"}
    for event in made:
        if event.sha256 == request.sha256:
            # The same bytes once more, by another key.
            return set()
    return set() if approved("re-sign", events, policy, tier, request, at) else {"signed-otherwise"}


def rises(events: list, tier: Tier, request: Request) -> bool:
    """Whether it is newer than every release of its name that was decided; the release itself is the rule of re-signing."""
    if tier.order == "none":
        return True
    mine = request.release
    was_first = False
    for event in events:
        if not isinstance(event, Decided):
            continue
        if event.release == mine:
            was_first = True
            continue
        other = event.release
        if (other.kind, other.type, other.namespace, other.name) != (mine.kind, mine.type, mine.namespace, mine.name):
            continue
        # Two concrete architectures are two products; "any" (of Debian: "all") is of each of them.
        if other.arch != mine.arch and not {"any", "all"} & {other.arch, mine.arch}:
            continue
        if was_first and other.arch == mine.arch and parts(mine.version) == parts(other.version):
            # That one was not newer than this one, and did not make this one older.
            continue
        if not parts(mine.version) > parts(other.version):
            return False
    return True


def parts(version: str) -> tuple:
    """``[epoch:]1.2[-3]``, numbers only, none of them with leading or trailing zeros: the orders agree on these."""
    epoch, _, rest = version.rpartition(":")
    number, _, release = rest.partition("-")
    return (int(epoch or "0"), [int(part) for part in number.split(".")], int(release or "0"))


def quota_is_used(events: list, tier: Tier, request: Request, at: datetime) -> bool:
    if tier.quota is None:
        return False
    limit, period = tier.quota
    # The clock of one tier and key: it never goes back, whatever the clocks of signers do.
    clock = None
    decided = []
    for event in events:
        if (
            isinstance(event, Decided)
            and (event.tier, event.signing_key) == (tier.name, tier.signing_key)
            # People made a place of its own for it.
            and not event.over_quota
        ):
            clock = event.created if clock is None else max(clock, event.created)
            decided.append((window(period, clock), event.release.id, event.sha256))
    here = window(period, at if clock is None else max(at, clock))
    inside = set()
    for where, release, sha256 in decided:
        if where == here:
            inside.add((release, sha256))
    # A place of its own, from a decision that came to nothing, is not taken from it; but one that it never had is not given either.
    return len(inside - {(request.release.id, request.sha256)}) >= limit


def window(period: str, at: datetime) -> tuple:
    """Names the calendar period (UTC) around a moment."""
    day = at.astimezone(UTC).date()
    if period == "day":
        return (day.year, day.month, day.day)
    if period == "week":
        while day.weekday() != 0:
            day -= timedelta(days=1)
        return (day.year, day.month, day.day)
    if period == "month":
        return (day.year, day.month)
    assert period == "year"
    return (day.year,)


# ------------------------------------------------------------------------------------------------ approvals


def approved(  # noqa: PLR0917 - all that an approval is held against
    action: str, events: list, policy: Policy, tier: Tier, request: Request, at: datetime
) -> bool:
    if action not in tier.approvals:
        return False
    people = set()
    for event in events:
        if isinstance(event, Approved) and approval_counts(event, action, events, policy, tier, request, at):
            people.add(policy.person_of_approver[approver_of(policy, event.key)])
    return len(people) >= tier.approvals[action]


def approver_of(policy: Policy, name: str) -> str | None:
    for key in policy.approver_keys:
        if key.name == name:
            return key.owner
    return None


def approval_counts(  # noqa: PLR0917 - as above
    approval: Approved, action: str, events: list, policy: Policy, tier: Tier, request: Request, at: datetime
) -> bool:
    for event in events:
        if isinstance(event, Revoked) and event.document == approval.document:
            return False
        # One of a manifest lets each of its pairs through once.
        if (
            isinstance(event, Decided)
            and approval.document in event.documents
            and (event.release.id, event.sha256) == (request.release.id, request.sha256)
        ):
            return False
    valid = False
    for key in policy.approver_keys:
        if key.name == approval.key and key_counts(key, at):
            valid = True
    if not valid:
        return False
    if request.requester not in policy.person_of_requester:
        return False
    if policy.person_of_approver[approver_of(policy, approval.key)] == policy.person_of_requester[request.requester]:
        return False
    return (
        approval.origin == policy.origin
        and approval.action == action
        and approval.tier == tier.name
        and approval.rules == tier
        # A suspension changes whom the rules ask.
        and approval.suspended & tier.operators == policy.suspended & tier.operators
        and (request.release.id, request.sha256) in approval.pairs
        and approval.request in (None, request.id)
        and approval.begin <= at < approval.end
        and approval.end - approval.begin <= timedelta(hours=tier.hours)
    )
