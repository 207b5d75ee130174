"""The approvals of a bundle, counted again: what people let through, by the rules of its policy, at the decision's time.

As far as a bundle can tell: whether a quota was used, a version newer or another digest signed stands in the rest of the log,
and is the audit's to say (:mod:`attestor.core.auditrules`).
"""

from datetime import datetime

from attestor.core.approvals import NONE_GRANTED, Asking, Granted, Verify, granted, spent_of, verified
from attestor.core.bundleplace import place, refuse
from attestor.core.bundlevotes import Weighed
from attestor.core.entries import DecisionEntry
from attestor.core.policy import Policy, Tier
from attestor.core.quota import may_count_in
from attestor.core.tierrules import Action
from attestor.core.versions import VersionOrder


def approved(  # noqa: PLR0913 - what the count rests on, one each
    weighed: Weighed, decision: DecisionEntry, *, tier: Tier, policy: Policy, verify: Verify, created: datetime
) -> Granted:
    """Every approval that the decision names, by whom it names, and nothing let through that nobody had to approve.

    Raises ``Rejected`` ``bundle-approvals``, ``bundle-decision``.
    """
    _refuse_other_documents(weighed, decision)
    _refuse_other_period(decision, tier, created)
    _refuse_unneeded({Action(spent.action) for spent in decision.approvals}, tier)
    if not decision.approvals:
        _refuse_named_for_nothing(decision)
        return NONE_GRANTED
    with place("bundle-approvals", "approvals"):
        approvals = [verified(given, policy, verify, created) for given in weighed.approvals]
    asking = Asking(decision.request, _requester(decision, tier), (decision.release.id, decision.artifact.sha256))
    let_through = granted(approvals, asking, tier=tier, policy=policy, at=created, spent=())
    _refuse_other_count(let_through, decision, tier)
    return let_through


def _refuse_other_documents(weighed: Weighed, decision: DecisionEntry) -> None:
    spent = [each.document for each in decision.approvals]
    if sorted(spent) != [given.digest.hex() for given in weighed.approvals]:
        refuse(
            "bundle-approvals",
            f"The decision spends {len(spent)} approvals, and the evidence holds {len(weighed.approvals)}, or others.",
        )


def _refuse_other_period(decision: DecisionEntry, tier: Tier, created: datetime) -> None:
    # A clock that stepped back opens no period that was left: the log may hold a decision of a later moment.
    fits = (
        decision.period is None
        if tier.quota is None
        else decision.period is not None and may_count_in(tier.quota.period, created, decision.period)
    )
    if not fits:
        refuse(
            "bundle-decision", f"The decision counts in the period {decision.period}, which its tier has no use for."
        )


def _refuse_unneeded(actions: set[Action], tier: Tier) -> None:
    if tier.needs(Action.RELEASE) and Action.RELEASE not in actions:
        refuse(
            "bundle-approvals",
            f"Tier {tier.name} signs nothing without approval, and the decision names none of the release.",
        )
    if Action.QUOTA in actions and tier.quota is None:
        refuse("bundle-approvals", f"The decision spends approvals beyond the quota, and tier {tier.name} has none.")
    if Action.DOWNGRADE in actions and tier.version_order is VersionOrder.NONE and not tier.compare_predecessor:
        refuse(
            "bundle-approvals",
            f"The decision spends approvals of a downgrade, and versions have no order in tier {tier.name}.",
        )


def _refuse_named_for_nothing(decision: DecisionEntry) -> None:
    if decision.requester is not None:
        refuse(
            "bundle-approvals",
            f"The decision names {decision.requester} as who asked, and no approval that this would be asked for.",
        )


def _requester(decision: DecisionEntry, tier: Tier) -> str:
    if decision.requester is None or decision.requester not in tier.requesters:
        refuse(
            "bundle-approvals",
            f"The decision does not name a requester of tier {tier.name}, so none could be told from approvers.",
        )
    return decision.requester


def _refuse_other_count(let_through: Granted, decision: DecisionEntry, tier: Tier) -> None:
    counted = spent_of(each for some in let_through.values() for each in some)
    if counted != decision.approvals:
        actions = sorted({Action(spent.action) for spent in decision.approvals})
        asked = ", ".join(f"{tier.needs(action)} for {action}" for action in actions)
        refuse(
            "bundle-approvals",
            f"The decision names {len(decision.approvals)} approvals, and {len(counted)} count: tier {tier.name} asks for exactly as "
            f"many people as these, none of them who asked: {asked or 'nobody'}.",
        )
