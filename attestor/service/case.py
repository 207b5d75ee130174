"""One claimed request with everything that it is judged by: what the database shows, what the log names, what people approved."""

import asyncio
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attestor.core.approvals import Approval, Asking, Verify, granted, verified
from attestor.core.authorisation import Judgement, Seen, Weighed, at_first_sight, judge
from attestor.core.errors import Rejected
from attestor.core.obstacles import Never, NotNow
from attestor.core.past import NO_PAST, LoggedDecision, Remembered, RulesPast, RulesQuestion
from attestor.core.policy import Policy, Tier
from attestor.core.predecessor import Packages, read_packages
from attestor.core.quorum import Decision
from attestor.service.conclude import Conclusions
from attestor.service.past import Past
from attestor.service.signports import ArtifactBytes, Job, Measure, Queue, Signer
from attestor.service.weigh import Pair, Sight, decide, refuse_changed, refuse_withheld, sight_of, unlogged

_LOGGED_SECONDS: Final = 3.0
"""How long the log may take to name votes that the database shows."""


@dataclass(frozen=True, slots=True)
class Signing:
    """What one signer process holds."""

    queue: Queue
    content: ArtifactBytes
    signers: Mapping[str, Signer]
    """By the name that tiers use."""
    policy: Policy
    verify_approval: Verify
    past: Past
    conclusions: Conclusions
    now: Callable[[], datetime]
    lease_seconds: float
    tries: int


@dataclass(frozen=True, slots=True)
class Case:
    """One claimed request as it is seen at one moment."""

    job: Job
    tier: Tier
    signer: Signer
    sight: Sight
    remembered: Remembered

    @property
    def concluded(self) -> LoggedDecision | None:
        """The decision that the log holds of this very request."""
        last = self.remembered.decision
        return last if last is not None and last.entry.request == str(self.job.request.id) else None

    @property
    def signed(self) -> frozenset[bytes]:
        """SHA-256s of this release that were signed, by the log's word or the database's."""
        return self.sight.evidence.signed | {signed.sha256 for signed in self.remembered.signed}

    @property
    def repeated(self) -> bool:
        """Whether the signing key has signed these very bytes."""
        made = (self.signer.fingerprint, self.job.request.sha256)
        return any((signed.key, signed.sha256) == made for signed in self.remembered.signed)


async def seen_case(
    signing: Signing, job: Job, before: Case | None = None, votes: Collection[Pair] = (), seconds: float = 0
) -> Case:
    """The case, as seen *before* or anew, with what the log says of it once it names *votes*, at the latest after *seconds*.

    Raises ``Halted``: ``vote-withheld``, ``withdrawal-withheld``, ``signature-lost``, ``claim-changed``.
    """
    release = job.request.release
    tier = signing.policy.tier_of(release)
    # In this order: what was in the log before the database was asked, an honest database shows.
    remembered = await signing.past.release(release.id, votes, seconds)
    evidence = await signing.queue.evidence(job)
    sight = sight_of(release, evidence, signing.policy, before.sight if before else None)
    refuse_withheld(release, sight, remembered)
    refuse_changed(release, sight)
    return Case(job, tier, signing.signers[tier.signing_key], sight, remembered)


async def logged_case(signing: Signing, case: Case) -> Case:
    """The case as it stands once the log names every vote in it, or as far as both have come in time."""
    clock = asyncio.get_running_loop().time
    ends = clock() + _LOGGED_SECONDS
    while True:
        case = await seen_case(signing, case.job, case, case.sight.pairs, ends - clock())
        if clock() >= ends or unlogged(case.sight, case.remembered) is None:
            return case


async def weighed_case(signing: Signing, case: Case, logged: LoggedDecision | None) -> Weighed:
    """What is weighed beside the agreement now; with *logged*, as it stood when the log took that decision in.

    A decision stands by the approvals that it names, and by what the log holds before it: by the log's order alone it is
    settled who had the last place of a quota, or the newer version.
    """
    request = case.job.request
    moment = logged.created if logged is not None else signing.now().replace(microsecond=0)
    named = {bytes.fromhex(spent.document) for spent in logged.entry.approvals} if logged is not None else None
    approvals = [each for each in _holding(signing, case, moment) if named is None or each.digest in named]
    past = await _past_of(signing, case, frozenset(each.digest for each in approvals), moment, logged)
    asking = Asking(str(request.id), request.requester, (request.release.id, request.sha256.hex()))
    let_through = granted(approvals, asking, tier=case.tier, policy=signing.policy, at=moment, spent=past.unspendable)
    return Weighed(
        signed=case.signed,
        repeated=case.repeated,
        past=past,
        granted=let_through,
        moment=moment,
        predecessor=await _predecessor(signing, case, past),
    )


def _holding(signing: Signing, case: Case, moment: datetime) -> Iterator[Approval]:
    """The approvals whose signatures hold at the decision's own time, at which whoever checks a bundle verifies them."""
    # One that does not verify says nothing, as a vote that does not; who hides one only keeps something unsigned.
    for given in case.sight.evidence.approvals:
        with suppress(Rejected):
            yield verified(given, signing.policy, signing.verify_approval, moment)


async def _past_of(
    signing: Signing, case: Case, approvals: frozenset[bytes], moment: datetime, logged: LoggedDecision | None
) -> RulesPast:
    if not (case.tier.asks_of_past or approvals):
        return NO_PAST
    question = RulesQuestion(
        release=case.job.request.release,
        sha256=case.job.request.sha256,
        tier=case.tier.name,
        signing_key=case.tier.signing_key,
        period=case.tier.quota.period if case.tier.quota is not None else None,
        moment=moment,
        approvals=approvals,
        before=logged.index if logged is not None else None,
    )
    return await signing.past.rules(question)


async def _predecessor(signing: Signing, case: Case, past: RulesPast) -> Packages | None:
    if not case.tier.compare_predecessor or past.packages is None:
        return None
    body = await signing.queue.document(past.packages)
    if body is None or hashlib.sha256(body).digest() != past.packages:
        return None
    return read_packages(body)


async def first_obstacle_of(signing: Signing, case: Case) -> NotNow | Never | Weighed:
    """What keeps the request from being signed, before its bytes are looked at, or what it was weighed by."""
    weighed = await weighed_case(signing, case, None)
    obstacle = at_first_sight(case.job.request, case.tier, _decision(signing, case, weighed, None), weighed)
    if obstacle is None or case.concluded is None:
        return obstacle or weighed
    # A decision that the log holds may still stand, whatever came after it.
    before = await weighed_case(signing, case, case.concluded)
    decision = _decision(signing, case, before, case.concluded.index)
    return at_first_sight(case.job.request, case.tier, decision, before) or before


async def judged(
    signing: Signing, case: Case, measure: Measure
) -> tuple[Judgement | NotNow | Never, LoggedDecision | None]:
    """By the evidence of the decision that the log holds already, and that decision, where it stands; else by all of it."""
    known = case.concluded
    if known is not None:
        before = judged_as_of(signing, case, measure, await weighed_case(signing, case, known), known.index)
        if isinstance(before, Judgement) and before.is_of(known.entry):
            return before, known
    return judged_as_of(signing, case, measure, await weighed_case(signing, case, None), None), None


def judged_as_of(
    signing: Signing, case: Case, measure: Measure, weighed: Weighed, index: int | None
) -> Judgement | NotNow | Never:
    """The judgement; with *index*, by the votes alone that the log names before it."""
    return judge(
        case.job.request,
        policy=signing.policy,
        tier=case.tier,
        key_fingerprint=case.signer.fingerprint,
        decision=_decision(signing, case, weighed, index),
        weighed=weighed,
        seen=Seen(measure.size, measure.sha256, measure.sha512, measure.packages),
    )


def _decision(signing: Signing, case: Case, weighed: Weighed, index: int | None) -> Decision:
    """The signer's own decision; with *index*, without the votes that the log names from there on: they came too late."""
    # One that is to be made counts the keys of its own time, as whoever checks it does; one that was made needs them still.
    now = weighed.moment if index is None else signing.now()
    return decide(case.sight.reading, case.remembered, index, tier=case.tier, policy=signing.policy, now=now)
