"""The signer's process: the only one that holds HSM credentials; it opens no port and believes nobody."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from attestor.anchor.clockfile import SteadyClock
from attestor.anchor.memory import FileMemory
from attestor.anchor.operations import FileOperations
from attestor.app.clock import now
from attestor.app.ending import halted_among, until
from attestor.app.logkeys import refuse_unlisted, seal_of
from attestor.app.policyfile import PolicyFile
from attestor.app.release_key import device_of, open_release_keys
from attestor.app.watch import KeyWatch, canaries_of
from attestor.config import Config
from attestor.content.artifacts import SPOOL, Artifacts
from attestor.content.roots import DirectoryRoot, PullRoots
from attestor.core.errors import AttestorError, Halted, Unavailable
from attestor.core.lanes import Lane
from attestor.core.policy import Policy
from attestor.core.seal import Seal
from attestor.openpgp.approvers import Approvers
from attestor.service.canary import Canaries
from attestor.service.case import Signing
from attestor.service.conclude import Conclusions
from attestor.service.past import Past
from attestor.service.ports import SIGNING, SignerStatus
from attestor.service.sign import bring_on
from attestor.service.signports import Job, Queue
from attestor.store.keybook import PostgresKeyBook
from attestor.store.listen import Listener, listening
from attestor.store.log import PostgresLog
from attestor.store.pool import Settings, connect
from attestor.store.queue import PostgresQueue

_REPORT_SECONDS: Final = 5.0
_KEEP_TIME_SECONDS: Final = 60.0
_GATHER_SECONDS: Final = 0.05
"""How long entries that nobody waits for may gather before the memory takes them in: each step costs durable writes."""

log = structlog.get_logger("attestor.signer")


@dataclass(slots=True)
class SignerProcess:
    """What one signer process runs: requests are signed beside the log that is followed.

    ``signing`` is of the policy in force: each claim takes it once. ``behind`` is the serial of a newer policy that another
    signer has logged, and this one has yet to load.
    """

    signing: Signing
    past: Past
    queue: Queue
    listener: Listener
    instance: str
    poll_seconds: float
    seal: Seal
    file: PolicyFile
    steady: SteadyClock
    watch: KeyWatch | None = None
    canaries: Canaries | None = None
    behind: int | None = None

    def load(self, policy: Policy) -> None:
        """Sign under another policy from now on. Raises ``Rejected`` ``seal-unlisted``."""
        refuse_unlisted(self.seal, policy)
        self.past.load(policy, alone=policy.log.quorum == 0)
        conclusions = Conclusions(self.queue, self.past, policy, self.seal)
        self.signing = replace(self.signing, policy=policy, conclusions=conclusions)
        self.behind = None

    async def meet_policy(self) -> None:
        """Hold the policy in force against the newest one in the log; where that is newer, look for it in the file."""
        known = await self.past.policy()
        newer = known[0] if known is not None and known[0] > self.signing.policy.serial else None
        if newer is not None and newer != self.behind:
            log.warning("policy older", serial=self.signing.policy.serial, serial_in_log=newer)
            self.file.wanted.set()
        self.behind = newer

    async def report(self) -> None:
        """Say to everybody how the signer stands."""
        code, sentence = SIGNING, "The signer follows the log and signs."
        if self.behind is not None:
            code = "policy-older"
            sentence = (
                f"The log says that policy serial {self.behind} is in force, and this signer has serial "
                f"{self.signing.policy.serial}: it signs nothing until it has loaded the newer one."
            )
        if self.file.refusal is not None:
            sentence += f" The policy file was refused [{self.file.refusal.code}]: {self.file.refusal.sentence}"
        status = SignerStatus(
            instance=self.instance,
            halted=False,
            code=code,
            sentence=sentence,
            anchor_size=await self.past.size(),
            policy_digest=self.signing.policy.digest,
        )
        await self.queue.report(status)


@asynccontextmanager
async def signer(config: Config, file: PolicyFile | None = None) -> AsyncIterator[SignerProcess]:
    """Open database, memory, content and release keys for as long as the context lasts.

    What halts the signer, from the opening on, is reported, and raised as that ``Halted``.
    """
    file = file or PolicyFile(config)
    view = config.for_role("signer")
    settings = Settings(dsn=view.dsn.reveal(), connections=config.hsm.slots + 4)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(connect(settings))
        listener = await stack.enter_async_context(listening(settings))
        queue = PostgresQueue(pool, listener)
        await stack.enter_async_context(_telling_what_halts(queue, config, file))
        memory = await stack.enter_async_context(FileMemory.opened(config.signer.anchor, config.policy.log.key.name))
        steady = await asyncio.to_thread(SteadyClock, config.signer.anchor, now)
        operations = await stack.enter_async_context(FileOperations.opened(config.signer.anchor))
        device = device_of(config, operations.count)
        seal = seal_of(config, view)
        past = Past(PostgresLog(pool), memory, config.policy, alone=config.policy.log.quorum == 0)
        keys = await open_release_keys(config, device, view.passphrases, operations)
        watch = KeyWatch(device, operations, keys, PostgresKeyBook(pool))
        # Before anything is claimed: what the device counted while nobody looked stops its key first.
        await watch.reconcile()
        signing = Signing(
            queue=queue,
            content=_artifacts(config),
            signers=keys,
            policy=config.policy,
            verify_approval=Approvers().verify,
            past=past,
            conclusions=Conclusions(queue, past, config.policy, seal),
            now=steady.now,
            lease_seconds=config.signer.lease_seconds,
            tries=config.signer.tries,
        )
        instance, poll_seconds = config.signer.instance, config.signer.poll_seconds
        canaries = canaries_of(config, view, watch, signing)
        yield SignerProcess(signing, past, queue, listener, instance, poll_seconds, seal, file, steady, watch, canaries)


@asynccontextmanager
async def _telling_what_halts(queue: Queue, config: Config, file: PolicyFile) -> AsyncIterator[None]:
    try:
        yield
    except (Halted, ExceptionGroup) as error:
        halted = error if isinstance(error, Halted) else halted_among(error)
        if halted is None:
            raise
        log.critical("halted", code=halted.code, detail=halted.sentence)
        status = SignerStatus(
            instance=config.signer.instance,
            halted=True,
            code=halted.code,
            sentence=halted.sentence,
            anchor_size=0,
            policy_digest=file.policy.digest,
        )
        # What lies may well not take it down either: the process says it by its end as well.
        with suppress(AttestorError):
            await queue.report(status)
        raise halted from None


async def sign_until(process: SignerProcess, stop: asyncio.Event, *, workers: Sequence[Lane]) -> None:
    """Follow the log and bring request after request to its next state until *stop*; what is under way is finished.

    Each of the *workers* takes requests of the lanes up to its own. Raises ``Halted``, by itself or within a group: the process
    ends with it, and signs nothing more.
    """
    await _catch_up(process, stop)
    await _work_and_follow(process, stop, workers)


async def _catch_up(process: SignerProcess, stop: asyncio.Event) -> None:
    """Nothing is claimed before the memory has met the log as it is now."""
    while not stop.is_set():
        try:
            await process.past.follow()
            await process.meet_policy()
        except Unavailable as error:
            log.warning("following", code=error.code, detail=error.sentence)
            await until(stop, asyncio.sleep(process.poll_seconds))
        else:
            return


async def _work_and_follow(process: SignerProcess, stop: asyncio.Event, workers: Sequence[Lane]) -> None:
    async with asyncio.TaskGroup() as group:
        # Whoever finishes what is under way still waits for the log.
        beside = [group.create_task(each(process), name=each.__name__) for each in _BESIDE]
        turns = {lane: _Turn(lane) for lane in workers}
        await asyncio.wait([group.create_task(_work(process, stop, turns[lane])) for lane in workers])
        for task in beside:
            task.cancel()


async def _follow(process: SignerProcess) -> None:
    while True:
        # Listening begins before the look, so that no checkpoint falls between the two.
        larger = asyncio.ensure_future(process.listener.logged(process.poll_seconds))
        try:
            if await process.past.follow():
                await process.meet_policy()
        except Unavailable as error:
            log.warning("following", code=error.code, detail=error.sentence)
            await asyncio.sleep(process.poll_seconds)
        except BaseException:
            larger.cancel()
            raise
        await larger
        await process.past.wanted(_GATHER_SECONDS)


async def _look_again(process: SignerProcess) -> None:
    known = 0
    while True:
        try:
            await process.past.look_again()
            forged = await process.past.forged()
            if forged > known:
                log.critical("forged entries", entries=forged)
            known = forged
        except Unavailable as error:
            log.warning("looking again", code=error.code, detail=error.sentence)
        await asyncio.sleep(process.poll_seconds)


async def _reload_on(process: SignerProcess) -> None:
    """Load the policy when somebody asks for it, and log it before anything is decided under it."""
    while True:
        await process.file.wanted.wait()
        changed = await process.file.look_again(process.load)
        try:
            await process.report()
            if changed:
                await process.signing.conclusions.refuse_other_policy()
        except Unavailable as error:
            # The next claim logs it.
            log.warning("policy", code=error.code, detail=error.sentence)


async def _report_on(process: SignerProcess) -> None:
    while True:
        try:
            await process.report()
        except Unavailable as error:
            log.warning("reporting", code=error.code, detail=error.sentence)
        await asyncio.sleep(_REPORT_SECONDS)


async def _keep_time(process: SignerProcess) -> None:
    while True:
        await asyncio.to_thread(process.steady.keep)
        await asyncio.sleep(_KEEP_TIME_SECONDS)


async def _watch_on(process: SignerProcess) -> None:
    if process.watch is not None:
        await process.watch.reconcile_on()


async def _canaries_on(process: SignerProcess) -> None:
    while process.canaries is not None:
        try:
            # Who has the newer policy makes them: its seal is sure to be one that counts.
            made = await process.canaries.make_due() if process.behind is None else {}
            for name, kept_from in made.items():
                if kept_from is None:
                    log.info("canary", key=name)
                else:
                    log.error("canary", key=name, code=kept_from.code, detail=kept_from.sentence)
        except Unavailable as error:
            log.warning("canaries", code=error.code, detail=error.sentence)
        await asyncio.sleep(process.poll_seconds)


_BESIDE: Final = (_follow, _keep_time, _look_again, _reload_on, _report_on, _watch_on, _canaries_on)


@dataclass(frozen=True, slots=True)
class _Turn:
    """Of the workers that take requests of the lanes up to one, who looks for the next."""

    last: Lane
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


async def _work(process: SignerProcess, stop: asyncio.Event, turn: _Turn) -> None:
    while not stop.is_set():
        try:
            # One looks for work at a time, so that a hint does not make every idle worker ask.
            async with turn.lock:
                job = await _next_job(process, stop, turn.last)
            if job is not None:
                await bring_on(process.signing, job)
                log.info("worked", signing_request=str(job.request.id), release_id=job.request.release.id)
        except Halted:
            raise
        except AttestorError as error:
            log.warning("signing", code=error.code, detail=error.sentence)
            await until(stop, asyncio.sleep(process.poll_seconds))


async def _next_job(process: SignerProcess, stop: asyncio.Event, last: Lane) -> Job | None:
    """The next due request, once there is one; ``None`` when it is time to stop."""
    while not stop.is_set():
        if process.behind is not None:
            # Who has the newer policy takes the others; one now and then says why it waits.
            await until(stop, asyncio.sleep(process.poll_seconds))
        due = asyncio.ensure_future(process.queue.due(process.poll_seconds))
        try:
            job = await process.queue.claim(process.signing.lease_seconds, last)
            if job is not None:
                return job
            await until(stop, due)
        finally:
            due.cancel()
    return None


def _artifacts(config: Config) -> Artifacts:
    roots = {**config.pull_roots, SPOOL: DirectoryRoot(config.content.spool)}
    scratch = config.content.scratch
    return Artifacts(PullRoots(roots, scratch=scratch, max_bytes=config.content.max_bytes), scratch)
