"""Sign one release: the signer believes nobody, and a crash at any point leaves one signature or a queued request (design §6).

Order of effects, and what a crash right after each leaves:

1. claim (lease and fence): the lease runs out, another signer claims
2. verify envelopes, count, measure the bytes, authorise: nothing was written
3. fix the creation time: the next try signs the very same bytes
4. renew the lease, read the evidence once more: nothing new
5. the HSM signs, the signature is verified: an unseen signature is lost, the next try makes another, and one leaves
6. store signature and state in one transaction with the fence: done
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from attestor.core.authorisation import Authorisation, Never, NotNow, Seen, authorise, standing
from attestor.core.errors import AttestorError, Conflict, Missing, Rejected, Unavailable
from attestor.core.evidence import read_evidence
from attestor.core.lifecycle import State
from attestor.core.policy import Policy, Tier
from attestor.core.quorum import Decision, evaluate
from attestor.service.ports import ArtifactBytes, Evidence, Job, Measure, Queue, Signer

MAX_CLOCK_SKEW: Final = timedelta(seconds=5)
_LOOK_AGAIN_SECONDS: Final = 2.0
"""How soon to look again for bytes that were not there."""
_AGREE_AGAIN_SECONDS: Final = 10.0
"""How soon the API may queue again what it holds for agreed and the signer does not: a race, or policies differ."""
_BACKOFF_SECONDS: Final = (0.2, 1.0, 5.0, 30.0)


@dataclass(frozen=True, slots=True)
class Signing:
    """What one signer process holds."""

    queue: Queue
    content: ArtifactBytes
    signers: Mapping[str, Signer]
    """By the name that tiers use."""
    policy: Policy
    now: Callable[[], datetime]
    lease_seconds: float
    tries: int


async def sign_next(signing: Signing) -> Job | None:
    """Take the next due request and bring it to its next state; ``None`` when nothing is due."""
    job = await signing.queue.claim(signing.lease_seconds)
    if job is None:
        return None
    try:
        await _sign(signing, job)
    except Conflict:
        # Another signer holds it now: nothing of ours was written, and nothing is to be given back.
        return job
    except Missing as error:
        await _give_back(signing, job, NotNow(error.code, error.sentence))
    except Rejected as error:
        await signing.queue.give_back(job, State.ASIDE, error.code, error.sentence, 0)
    except Unavailable as error:
        await _try_later(signing, job, error)
    await signing.queue.announce(job)
    return job


async def _sign(signing: Signing, job: Job) -> None:
    _refuse_wrong_clock(signing.now(), job.clock)
    if job.request.tries > signing.tries:
        raise Unavailable("tries-used-up", "Every try ended before it could say why: see the signer's log.")
    tier = signing.policy.tier_of(job.request.release)
    signer = signing.signers[tier.signing_key]
    evidence = await signing.queue.evidence(job)
    obstacle = standing(job.request, tier, _decision(signing, job, tier, evidence), evidence.signed_digest)
    if obstacle is not None:
        await _give_back(signing, job, obstacle)
        return
    measure = await _measured(signing, job, tier)
    if isinstance(measure, Never):
        await _give_back(signing, job, measure)
        return
    if await _settled_by_stored(signing, job, tier, signer, measure):
        return
    created = await signing.queue.fix_time(job, signing.now().replace(microsecond=0))
    if created > signing.now():
        raise Rejected("signing-time", f"The time fixed for this signature, {created}, has not come yet.")
    job = await signing.queue.renew(job, signing.lease_seconds)
    async with signer.slot() as pen:
        # Votes, keys and lease once more, as late as can be: waiting for the place may have taken long.
        job = await signing.queue.renew(job, signing.lease_seconds)
        permit = await _permit(signing, job, tier, measure, created)
        if not isinstance(permit, Authorisation):
            await _give_back(signing, job, permit)
            return
        signature = await pen.sign(permit, measure.hasher)
    await signing.queue.signed(job, permit, signer.fingerprint, signature)


async def _measured(signing: Signing, job: Job, tier: Tier) -> Measure | Never:
    """Look at the bytes; what they are cannot change, unless someone writes to the file at this very moment."""
    try:
        async with _kept(signing, job):
            return await signing.content.measure(
                job.request.release, job.request.content, job.request.sha256, inspect=tier.single_builder
            )
    except Missing:
        raise
    except Rejected as error:
        if error.code == "content-changed":
            raise Unavailable(error.code, error.sentence) from error
        return Never(error.code, error.sentence)


@asynccontextmanager
async def _kept(signing: Signing, job: Job) -> AsyncIterator[None]:
    """Renew the lease meanwhile: to read tens of gigabytes takes longer than any lease that is short enough to be lost."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(signing.lease_seconds / 3)
            await signing.queue.renew(job, signing.lease_seconds)

    renewing = asyncio.create_task(renew(), name="lease")
    try:
        yield
    finally:
        renewing.cancel()
        # A lease that was lost meanwhile is seen at the next step, which needs it.
        await asyncio.gather(renewing, return_exceptions=True)


async def _permit(
    signing: Signing, job: Job, tier: Tier, measure: Measure, created: datetime
) -> Authorisation | NotNow | Never:
    evidence = await signing.queue.evidence(job)
    return authorise(
        job.request,
        policy=signing.policy,
        tier=tier,
        decision=_decision(signing, job, tier, evidence),
        signed_digest=evidence.signed_digest,
        seen=Seen(measure.size, measure.sha256, measure.sha512),
        created=created,
    )


async def _settled_by_stored(signing: Signing, job: Job, tier: Tier, signer: Signer, measure: Measure) -> bool:
    """A signature that this key made before is the signature (P5): no second call, but every check that a call needs."""
    known = await signing.queue.signature_of(job, signer.fingerprint)
    if known is None:
        return False
    permit = await _permit(signing, job, tier, measure, signing.now())
    if not isinstance(permit, Authorisation):
        await _give_back(signing, job, permit)
        return True
    try:
        signer.verify(known[1], measure.hasher)
    except Rejected as error:
        raise Rejected(
            "stored-signature", f"The database holds a signature that this key did not make: {error.sentence}"
        ) from error
    await signing.queue.adopt(job)
    return True


def _decision(signing: Signing, job: Job, tier: Tier, evidence: Evidence) -> Decision:
    """The signer's own decision, from envelopes that it verified with the keys of its own policy file (P1, P9)."""
    reading = read_evidence(job.request.release, evidence.envelopes, evidence.withdrawals, signing.policy)
    return evaluate(tier, signing.policy, reading.claims, reading.withdrawn, signing.now(), doubted=reading.doubted)


def _refuse_wrong_clock(now: datetime, theirs: datetime) -> None:
    if abs(now - theirs) > MAX_CLOCK_SKEW:
        raise Unavailable(
            "clock-differs", f"The signer's clock and the database's differ by more than {MAX_CLOCK_SKEW}."
        )


async def _give_back(signing: Signing, job: Job, obstacle: NotNow | Never) -> None:
    after = State.REFUSED if isinstance(obstacle, Never) else State.WAITING
    seconds = _LOOK_AGAIN_SECONDS if obstacle.reason == "content-missing" else _AGREE_AGAIN_SECONDS
    await signing.queue.give_back(job, after, obstacle.reason, obstacle.sentence, seconds)


async def _try_later(signing: Signing, job: Job, error: AttestorError) -> None:
    if job.request.tries >= signing.tries:
        await signing.queue.give_back(
            job, State.ASIDE, error.code, f"{error.sentence} Set aside after {job.request.tries} tries.", 0
        )
        return
    delay = _BACKOFF_SECONDS[min(job.request.tries, len(_BACKOFF_SECONDS)) - 1]
    await signing.queue.give_back(job, State.QUEUED, error.code, error.sentence, delay)
