"""Sign one release: the signer believes nobody, and a crash at any point leaves one signature or a queued request (design §6).

Order of effects, and what a crash right after each leaves:

1. claim (lease and fence): the lease runs out, another signer claims
2. read the evidence, measure the bytes, hold the evidence against the log, judge: nothing was written
3. enqueue the decision entry, which fixes the creation time: the next claim finds it in the log and signs the very same bytes
4. the log includes it, the anchor has moved past it (durable): as after 3
5. renew the lease, look at votes and keys once more, take a place at the HSM: as after 3
6. the HSM signs, the signature is verified: an unseen signature is lost, the next try makes another, and one leaves
7. store the signature sealed, enqueue its entry, mark the request, in one transaction with the fence: done
8. a published checkpoint includes the entry: the signature can be read
"""

import asyncio
import hashlib
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from attestor.core.authorisation import Judgement, Never, NotNow, Seen, authorise, judge, standing
from attestor.core.errors import AttestorError, Conflict, Halted, Missing, Rejected, Unavailable
from attestor.core.lifecycle import State
from attestor.core.past import LoggedDecision, Remembered
from attestor.core.policy import Policy, Tier
from attestor.core.quorum import Decision
from attestor.service.conclude import Conclusions
from attestor.service.lease import kept
from attestor.service.past import Past
from attestor.service.ports import ArtifactBytes, Job, Made, Measure, Queue, Signer
from attestor.service.weigh import Pair, Sight, decide, refuse_changed, refuse_withheld, sight_of, unlogged

MAX_CLOCK_SKEW: Final = timedelta(seconds=5)
_LOOK_AGAIN_SECONDS: Final = 2.0
"""How soon to look again for bytes that were not there."""
_AGREE_AGAIN_SECONDS: Final = 10.0
"""How soon the API may queue again what it holds for agreed and the signer does not, which is a race."""
_OF_POLICY: Final = frozenset({"policies-differ", "policy-older", "policy-changed"})
"""What a reload of the policy ends: the API queues it again once a signer says that it has the API's policy."""
_LOGGED_SECONDS: Final = 3.0
"""How long the log may take to name votes that the database shows."""
_HALTED_SECONDS: Final = 30.0
"""How soon a request may be claimed again that made a signer halt."""
_BACKOFF_SECONDS: Final = (0.2, 1.0, 5.0, 30.0)


@dataclass(frozen=True, slots=True)
class Signing:
    """What one signer process holds."""

    queue: Queue
    content: ArtifactBytes
    signers: Mapping[str, Signer]
    """By the name that tiers use."""
    policy: Policy
    past: Past
    conclusions: Conclusions
    now: Callable[[], datetime]
    lease_seconds: float
    tries: int


@dataclass(frozen=True, slots=True)
class _Case:
    """One claimed request with everything that it is judged by."""

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
    def signed_digest(self) -> bytes | None:
        return self.remembered.signed[0].sha256 if self.remembered.signed else self.sight.evidence.signed_digest


async def bring_on(signing: Signing, job: Job) -> None:
    """Bring a claimed request to its next state.

    Raises ``Halted`` after the claim was given back: nothing more may be signed by this process.
    """
    try:
        await _sign(signing, job)
    except Conflict:
        # Another signer holds it now: nothing of ours was written, and nothing is to be given back.
        return
    except Halted as error:
        # What halted it must be known, also where the database that lied does not take the claim back.
        with suppress(Unavailable):
            await signing.queue.give_back(job, State.QUEUED, error.code, error.sentence, _HALTED_SECONDS)
        raise
    except Missing as error:
        await _give_back(signing, job, NotNow(error.code, error.sentence))
    except Rejected as error:
        await signing.queue.give_back(job, State.ASIDE, error.code, error.sentence, 0)
    except Unavailable as error:
        await _try_later(signing, job, error)
    await signing.queue.announce(job)


async def _sign(signing: Signing, job: Job) -> None:
    _refuse_wrong_clock(signing.now(), job.clock)
    if job.request.tries > signing.tries:
        raise Unavailable("tries-used-up", "Every try ended before it could say why: see the signer's log.")
    older = await signing.conclusions.refuse_other_policy()
    obstacle = older or await _brought_on(signing, await _case(signing, job))
    if obstacle is not None:
        await _give_back(signing, job, obstacle)


async def _brought_on(signing: Signing, case: _Case) -> NotNow | Never | None:
    """Bring the case to its signature, or say what keeps it from there."""
    obstacle = _at_first_sight(signing, case)
    if obstacle is not None:
        return obstacle
    measure = await _measured(signing, case)
    if isinstance(measure, Never):
        return measure
    # The log had the time of the measurement to name the votes.
    case = await _logged(signing, case)
    obstacle = unlogged(case.sight, case.remembered)
    if obstacle is not None:
        return obstacle
    judgement, found = _judged(signing, case, measure)
    if not isinstance(judgement, Judgement):
        return judgement
    if await _settled_by_stored(signing, case, measure):
        return None
    logged = found or await _concluded(signing, case, judgement)
    return logged if isinstance(logged, NotNow) else await _with_pen(signing, case, measure, logged)


async def _case(
    signing: Signing, job: Job, before: _Case | None = None, votes: Collection[Pair] = (), seconds: float = 0
) -> _Case:
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
    return _Case(job, tier, signing.signers[tier.signing_key], sight, remembered)


def _at_first_sight(signing: Signing, case: _Case) -> NotNow | Never | None:
    """What keeps the request from being signed, before its bytes are looked at."""
    obstacle = _other_policy(signing, case) or standing(
        case.job.request, case.tier, _decision(signing, case, None), case.signed_digest
    )
    if obstacle is None or case.concluded is None:
        return obstacle
    # A decision that the log holds may still stand, whatever came after it.
    before = _decision(signing, case, case.concluded.index)
    return standing(case.job.request, case.tier, before, case.signed_digest)


def _other_policy(signing: Signing, case: _Case) -> NotNow | None:
    if case.sight.evidence.policy_digest == signing.policy.digest:
        return None
    return NotNow(
        "policies-differ",
        "The API decided this release under another policy than the signer has loaded: the request waits until both have the same.",
    )


async def _logged(signing: Signing, case: _Case) -> _Case:
    """The case as it stands once the log names every vote in it, or as far as both have come in time."""
    clock = asyncio.get_running_loop().time
    ends = clock() + _LOGGED_SECONDS
    while True:
        case = await _case(signing, case.job, case, case.sight.pairs, ends - clock())
        if clock() >= ends or unlogged(case.sight, case.remembered) is None:
            return case


def _judged(
    signing: Signing, case: _Case, measure: Measure
) -> tuple[Judgement | NotNow | Never, LoggedDecision | None]:
    """By the evidence of the decision that the log holds already, and that decision, where it stands; else by all of it."""
    known = case.concluded
    if known is not None:
        before = _judged_as_of(signing, case, measure, known.index)
        if isinstance(before, Judgement) and before.is_of(known.entry):
            return before, known
    return _judged_as_of(signing, case, measure, None), None


def _judged_as_of(signing: Signing, case: _Case, measure: Measure, index: int | None) -> Judgement | NotNow | Never:
    return judge(
        case.job.request,
        policy=signing.policy,
        tier=case.tier,
        key_fingerprint=case.signer.fingerprint,
        decision=_decision(signing, case, index),
        signed_digest=case.signed_digest,
        seen=Seen(measure.size, measure.sha256, measure.sha512),
    )


def _decision(signing: Signing, case: _Case, index: int | None) -> Decision:
    """The signer's own decision; with *index*, without the votes that the log names from there on: they came too late."""
    return decide(case.sight.reading, case.remembered, index, tier=case.tier, policy=signing.policy, now=signing.now())


async def _concluded(signing: Signing, case: _Case, judgement: Judgement) -> LoggedDecision | NotNow:
    """A new decision, as the log includes it."""
    created = signing.now().replace(microsecond=0)
    return await signing.conclusions.conclude(case.job, judgement, case.sight, case.remembered, created)


async def _with_pen(signing: Signing, case: _Case, measure: Measure, logged: LoggedDecision) -> NotNow | Never | None:
    await signing.past.prove(logged.index, logged.raw)
    if logged.created > signing.now():
        raise Rejected("signing-time", f"The time fixed for this signature, {logged.created}, has not come yet.")
    async with kept(signing.queue, case.job, signing.lease_seconds), case.signer.slot() as pen:
        # Votes, keys and lease once more, as late as can be: waiting for the place may have taken long.
        job = await signing.queue.renew(case.job, signing.lease_seconds)
        case = await _case(signing, job, case)
        # Last of all that is awaited: a policy that was loaded before the call decides whether there is one.
        superseded = await signing.conclusions.superseded() or _other_policy(signing, case)
        if superseded is not None:
            return superseded
        judgement = _judged_as_of(signing, case, measure, logged.index)
        if not isinstance(judgement, Judgement):
            return judgement
        permit = authorise(judgement, logged)
        signature = await pen.sign(permit, measure.hasher)
    made = Made(permit, case.signer.fingerprint, signature)
    entry, documents = signing.conclusions.signed(made, logged)
    await signing.queue.signed(job, made, entry, documents)
    return None


async def _measured(signing: Signing, case: _Case) -> Measure | Never:
    """Look at the bytes; what they are cannot change, unless someone writes to the file at this very moment."""
    request = case.job.request
    try:
        async with kept(signing.queue, case.job, signing.lease_seconds):
            return await signing.content.measure(
                request.release, request.content, request.sha256, inspect=case.tier.single_builder
            )
    except Missing:
        raise
    except Rejected as error:
        if error.code == "content-changed":
            raise Unavailable(error.code, error.sentence) from error
        return Never(error.code, error.sentence)


async def _settled_by_stored(signing: Signing, case: _Case, measure: Measure) -> bool:
    """A signature that this key made before is the signature (P5): no second call, but every check that a call needs."""
    logged = next((known for known in case.remembered.signed if known.key == case.signer.fingerprint), None)
    stored = await signing.queue.signature_of(case.job, case.signer.fingerprint)
    if logged is None and stored is None:
        return False
    if logged is None:
        raise Unavailable("signature-not-logged", "A signature is stored whose entry the log does not include yet.")
    if stored is None or hashlib.sha256(stored[1]).digest() != logged.signature:
        raise Halted(
            "signature-lost",
            f"Log entry {logged.index} names a signature of this release that the database does not hold. Nothing is signed. "
            "Restore the database from a backup that has it.",
        )
    case.signer.verify(stored[1], measure.hasher)
    await signing.queue.adopt(case.job)
    return True


def _refuse_wrong_clock(now: datetime, theirs: datetime) -> None:
    if abs(now - theirs) > MAX_CLOCK_SKEW:
        raise Halted(
            "clock-differs",
            f"The signer's clock and the database's differ by more than {MAX_CLOCK_SKEW}. Nothing is signed. Set both by NTP.",
        )


async def _give_back(signing: Signing, job: Job, obstacle: NotNow | Never) -> None:
    if isinstance(obstacle, Never):
        entry = signing.conclusions.refused(job.request, obstacle)
        await signing.queue.give_back(job, State.REFUSED, obstacle.reason, obstacle.sentence, 0, entry=entry)
        return
    seconds = _LOOK_AGAIN_SECONDS if obstacle.reason == "content-missing" else _AGREE_AGAIN_SECONDS
    if obstacle.reason in _OF_POLICY:
        seconds = 0
    await signing.queue.give_back(job, State.WAITING, obstacle.reason, obstacle.sentence, seconds)


async def _try_later(signing: Signing, job: Job, error: AttestorError) -> None:
    if job.request.tries >= signing.tries:
        await signing.queue.give_back(
            job, State.ASIDE, error.code, f"{error.sentence} Set aside after {job.request.tries} tries.", 0
        )
        return
    delay = _BACKOFF_SECONDS[min(job.request.tries, len(_BACKOFF_SECONDS)) - 1]
    await signing.queue.give_back(job, State.QUEUED, error.code, error.sentence, delay)
