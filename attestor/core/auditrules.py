"""What an auditor asks of the rules beyond agreement (design §7): approvals that a decision names, quotas, the order of versions.

What a decision says by itself is held against its policy wherever it stands. What came before it in the log is asked only of a
decision that a signature rests on: of several that race for the last place of a quota, a newer version or an approval, all but
the first are void, and a signer that lost leaves an entry which nothing is signed under.
"""

from collections import defaultdict
from collections.abc import Collection

from attestor.core.entries import DecisionEntry
from attestor.core.errors import Rejected
from attestor.core.obstacles import blocks_of_past
from attestor.core.past import RulesPast, RulesQuestion, WasDecided
from attestor.core.policy import Policy, Tier
from attestor.core.tierrules import Action


def refuse_exceptions(index: int, entry: DecisionEntry, tier: Tier, policy: Policy) -> None:
    """Refuse approvals that the policy does not let through as they are named, and a period where there is no quota.

    ``approver-unknown``, ``approval-needed``, ``approvals-miscounted``, ``approval-by-requester``, ``requester-not-allowed``,
    ``period-differs``. Whether they were given shows in the bundle alone.
    """
    if (entry.period is None) != (tier.quota is None):
        raise Rejected(
            "period-differs",
            f"Decision {index} counts in the period {entry.period}; tier {tier.name} has {_quota(tier)}.",
        )
    people = _people(index, entry, policy)
    if tier.needs(Action.RELEASE) and Action.RELEASE not in people:
        raise Rejected(
            "approval-needed",
            f"Decision {index} names no approval of the release, and tier {tier.name} signs nothing without.",
        )
    for action, persons in people.items():
        if not len(persons) == len(set(persons)) == tier.needs(action):
            raise Rejected(
                "approvals-miscounted",
                f"Decision {index} names {len(persons)} approvals of {action} by {len(set(persons))} people; tier {tier.name} asks "
                f"for {tier.needs(action)}.",
            )
    if people or entry.requester is not None:
        _refuse_own(index, entry, {person for persons in people.values() for person in persons}, tier, policy)


def _people(index: int, entry: DecisionEntry, policy: Policy) -> dict[Action, list[str]]:
    people: defaultdict[Action, list[str]] = defaultdict(list)
    for spent in entry.approvals:
        person = policy.persons.get(spent.approver)
        if person is None:
            raise Rejected(
                "approver-unknown",
                f"Decision {index} names an approval by {spent.approver}, whom policy serial {policy.serial} does not list.",
            )
        people[Action(spent.action)].append(person)
    return people


def _refuse_own(index: int, entry: DecisionEntry, people: Collection[str], tier: Tier, policy: Policy) -> None:
    if entry.requester not in tier.requesters or not people:
        raise Rejected(
            "requester-not-allowed",
            f"Decision {index} names {entry.requester} as who asked, who is no requester of tier {tier.name}, or names no approvals.",
        )
    # A requester without a person cannot be told from an approver.
    if policy.persons_of_requesters.get(entry.requester) in {None, *people}:
        raise Rejected(
            "approval-by-requester",
            f"Decision {index} names an approval by the person who answers for {entry.requester}, who asked, or nobody does.",
        )


def question_of(index: int, decided: WasDecided, tier: Tier) -> RulesQuestion:
    """What the rules ask about the past of a decision that stands at *index*."""
    return RulesQuestion(
        release=decided.release,
        sha256=bytes.fromhex(decided.entry.artifact.sha256),
        tier=tier.name,
        signing_key=tier.signing_key,
        period=tier.quota.period if tier.quota is not None else None,
        moment=decided.created,
        approvals=frozenset(bytes.fromhex(spent.document) for spent in decided.entry.approvals),
        before=index,
    )


def refuse_void(index: int, decided: WasDecided, tier: Tier, past: RulesPast, revocations: Collection[int]) -> None:
    """Refuse the signature at *index* where its decision was void by what the log holds before that decision.

    *revocations* are the entries that took one of its approvals back. ``approval-revoked``, ``approval-spent-twice``,
    ``period-differs``, ``approval-unneeded``, and the codes of what stands in the way: ``quota-used``, ``version-not-newer`` and so on.
    """
    if revocations:
        raise Rejected(
            "approval-revoked",
            f"Signature {index} rests on an approval that entry {min(revocations)} took back before the decision.",
        )
    if past.unspendable:
        raise Rejected(
            "approval-spent-twice",
            f"Signature {index} rests on the approval {min(past.unspendable).hex()}, which an earlier decision on these bytes had spent.",
        )
    _refuse_past(index, decided, tier, past)


def _refuse_past(index: int, decided: WasDecided, tier: Tier, past: RulesPast) -> None:
    opened = past.window.name if past.window is not None else None
    if decided.entry.period != opened:
        raise Rejected(
            "period-differs",
            f"Signature {index} rests on a decision that counts in {decided.entry.period}; by the log before it, that was {opened}.",
        )
    named = {Action(spent.action) for spent in decided.entry.approvals}
    blocks = list(blocks_of_past(decided.release, tier, past))
    for block in blocks:
        if block.action not in named:
            raise Rejected(
                block.code, f"Signature {index} rests on a decision that no approval let through. {block.sentence}"
            )
    # What a database lists is not given out: whether an approval was needed because it went back is not known here.
    known = {Action.QUOTA} if tier.compare_predecessor else {Action.QUOTA, Action.DOWNGRADE}
    unneeded = known & named - {block.action for block in blocks}
    if unneeded:
        raise Rejected(
            "approval-unneeded",
            f"Signature {index} rests on a decision that spends approvals of {min(unneeded)}, and nothing stood in its way.",
        )


def _quota(tier: Tier) -> str:
    return "no quota" if tier.quota is None else f"a quota by {tier.quota.period}"
