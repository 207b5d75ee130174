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

import hashlib
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from attestor.core.authorisation import Judgement, Weighed, authorise
from attestor.core.errors import AttestorError, Conflict, Halted, Missing, Rejected, Unavailable
from attestor.core.lifecycle import State
from attestor.core.obstacles import HELD, Never, NotNow
from attestor.core.operations import ABOVE
from attestor.core.past import LoggedDecision
from attestor.core.tierrules import Action
from attestor.service.case import (
    Case,
    Signing,
    first_obstacle_of,
    judged,
    judged_as_of,
    logged_case,
    seen_case,
    weighed_case,
)
from attestor.service.lease import kept
from attestor.service.signports import Job, Made, Measure, Place
from attestor.service.weigh import unlogged

MAX_CLOCK_SKEW: Final = timedelta(seconds=5)
_LOOK_AGAIN_SECONDS: Final = 2.0
"""How soon to look again for bytes that were not there."""
_AGREE_AGAIN_SECONDS: Final = 10.0
"""How soon the API may queue again what it holds for agreed and the signer does not, which is a race."""
_OF_POLICY: Final = frozenset({"policies-differ", "policy-older", "policy-changed"})
"""What a reload of the policy ends: the API queues it again once a signer says that it has the API's policy."""
_HELD_SECONDS: Final = 3600.0
"""How soon a rule is asked again that only people's approval, another policy or another request's end can change."""
_KEY_SECONDS: Final = 60.0
"""How soon a request is looked at again whose key waits for a person."""
_HALTED_SECONDS: Final = 30.0
"""How soon a request may be claimed again that made a signer halt."""
_BACKOFF_SECONDS: Final = (0.2, 1.0, 5.0, 30.0)


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
    refuse_wrong_clock(signing.now(), job.clock)
    if job.request.tries > signing.tries:
        raise Unavailable("tries-used-up", "Every try ended before it could say why: see the signer's log.")
    older = await signing.conclusions.refuse_other_policy()
    obstacle = older or await _brought_on(signing, await seen_case(signing, job))
    if obstacle is not None:
        await _give_back(signing, job, obstacle)


async def _brought_on(signing: Signing, case: Case) -> NotNow | Never | None:
    """Bring the case to its signature, or say what keeps it from there."""
    obstacle = await _at_first_sight(signing, case)
    if obstacle is not None:
        return obstacle
    measure = await _measured(signing, case)
    if isinstance(measure, Never):
        return measure
    # The log had the time of the measurement to name the votes.
    case = await logged_case(signing, case)
    obstacle = unlogged(case.sight, case.remembered)
    return obstacle if obstacle is not None else await _concluded(signing, case, measure)


async def _at_first_sight(signing: Signing, case: Case) -> NotNow | Never | None:
    """What keeps it from being signed before its bytes are looked at; the quota's place is taken before the long look."""
    weighed = _other_policy(signing, case) or await case.signer.held() or await first_obstacle_of(signing, case)
    return await _place_taken(signing, case, weighed) if isinstance(weighed, Weighed) else weighed


async def _place_taken(signing: Signing, case: Case, weighed: Weighed) -> NotNow | None:
    quota, window = case.tier.quota, weighed.past.window
    if quota is None or window is None or weighed.repeated or Action.QUOTA in weighed.granted:
        return None
    place = Place(case.tier.name, case.tier.signing_key, window.name, quota.limit)
    if await signing.queue.reserve(case.job, place):
        return None
    return NotNow(
        "quota-reserved",
        f"Other requests have the last of the {quota.limit} places of {window.name} in tier {case.tier.name}; this one is looked at "
        "again when one of them is given back.",
    )


async def _concluded(signing: Signing, case: Case, measure: Measure) -> NotNow | Never | None:
    """Judge, log the decision unless the log has it, and sign."""
    judgement, found = await judged(signing, case, measure)
    if not isinstance(judgement, Judgement):
        return judgement
    if await _settled_by_stored(signing, case, measure):
        return None
    logged = found or await signing.conclusions.conclude(case.job, judgement, case.sight, case.remembered)
    return logged if isinstance(logged, NotNow) else await _with_pen(signing, case, measure, logged)


def _other_policy(signing: Signing, case: Case) -> NotNow | None:
    if case.sight.evidence.policy_digest == signing.policy.digest:
        return None
    return NotNow(
        "policies-differ",
        "The API decided this release under another policy than the signer has loaded: the request waits until both have the same.",
    )


async def _with_pen(signing: Signing, case: Case, measure: Measure, logged: LoggedDecision) -> NotNow | Never | None:
    await signing.past.prove(logged.index, logged.raw)
    if logged.created > signing.now():
        raise Rejected(
            "signing-time",
            f"The time fixed for this signature, {logged.created}, has not come yet: look at the clocks, then retry.",
        )
    async with kept(signing.queue, case.job, signing.lease_seconds), case.signer.slot(case.job.request.lane) as pen:
        # Votes, keys and lease once more, as late as can be: waiting for the place may have taken long.
        job = await signing.queue.renew(case.job, signing.lease_seconds)
        case = await seen_case(signing, job, case)
        weighed = await weighed_case(signing, case, logged)
        held = await case.signer.held()
        if held is not None:
            return held
        # Last of all that is awaited: a policy that was loaded before the call decides whether there is one.
        superseded = await signing.conclusions.superseded() or _other_policy(signing, case)
        if superseded is not None:
            return superseded
        judgement = judged_as_of(signing, case, measure, weighed, logged.index)
        if not isinstance(judgement, Judgement):
            return judgement
        if not judgement.is_of(logged.entry):
            # A dissent was withdrawn meanwhile, or another signer's decision opened the next period before this one.
            return NotNow(
                "decision-void",
                f"Decision {logged.index} names approvals or a period that it would not need any more: the request is decided anew.",
            )
        permit = authorise(judgement, logged)
        signature = await pen.sign(permit, measure.hasher)
    made = Made(permit, case.signer.fingerprint, signature)
    entry, documents = signing.conclusions.signed(made, logged)
    await signing.queue.signed(job, made, entry, documents)
    return None


async def _measured(signing: Signing, case: Case) -> Measure | Never:
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


async def _settled_by_stored(signing: Signing, case: Case, measure: Measure) -> bool:
    """A signature that this key made before is the signature (P5): no second call, but every check that a call needs."""
    made = (case.signer.fingerprint, case.job.request.sha256)
    logged = next((known for known in case.remembered.signed if (known.key, known.sha256) == made), None)
    stored = await signing.queue.signature_of(case.job, case.signer.fingerprint)
    if logged is None and stored is None:
        return False
    if logged is None:
        raise Unavailable(
            "signature-not-logged",
            "A signature is stored whose entry the log does not include yet; it is looked at again.",
        )
    if stored is None or hashlib.sha256(stored).digest() != logged.signature:
        raise Halted(
            "signature-lost",
            f"Log entry {logged.index} names a signature of this release that the database does not hold. Nothing is signed. "
            "Restore the database from a backup that has it.",
        )
    case.signer.verify(stored, measure.hasher)
    await signing.queue.adopt(case.job)
    return True


def refuse_wrong_clock(now: datetime, theirs: datetime) -> None:
    """Raises ``Halted`` ``clock-differs`` when the database's clock and ours are too far apart."""
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
    seconds = _wait_seconds(obstacle, signing.now())
    await signing.queue.give_back(job, State.WAITING, obstacle.reason, obstacle.sentence, seconds)


def _wait_seconds(obstacle: NotNow, now: datetime) -> float:
    """How long the API leaves it alone, unless something comes in that could change it."""
    if obstacle.opens is not None:
        return (obstacle.opens - now).total_seconds()
    if obstacle.reason in _OF_POLICY:
        return 0
    if obstacle.reason in HELD:
        return _HELD_SECONDS
    if obstacle.reason == ABOVE:
        return _KEY_SECONDS
    return _LOOK_AGAIN_SECONDS if obstacle.reason == "content-missing" else _AGREE_AGAIN_SECONDS


async def _try_later(signing: Signing, job: Job, error: AttestorError) -> None:
    if job.request.tries >= signing.tries:
        await signing.queue.give_back(
            job,
            State.ASIDE,
            error.code,
            f"{error.sentence} Set aside after {job.request.tries} tries; attestor requests retry puts it back.",
            0,
        )
        return
    delay = _BACKOFF_SECONDS[min(job.request.tries, len(_BACKOFF_SECONDS)) - 1]
    await signing.queue.give_back(job, State.QUEUED, error.code, error.sentence, delay)
