"""What a process knows of the parts that it rests on, for ``/readyz`` and ``/metrics``."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from attestor.api.metrics import Standing
from attestor.app.policyfile import PolicyFile
from attestor.core.tlog.checkpoint import open_checkpoint
from attestor.core.wire import PartHealth
from attestor.service.logports import LogSource
from attestor.service.ports import SIGNING, Ledger, SignerStatus
from attestor.store.pool import Pool, clock
from attestor.store.progress import held_requests, log_progress

Probe = Callable[[], Awaitable[PartHealth]]

_SILENT: Final = timedelta(seconds=30)
_GONE: Final = timedelta(days=1)
"""Whoever says nothing for so long was taken away, and no other signer's readiness waits for it."""
_HELD_SECONDS: Final = 60.0
_BACKLOG_SECONDS: Final = 10.0


def database_probe(pool: Pool, now: Callable[[], datetime]) -> Probe:
    """The database answers, and its clock agrees with ours."""

    async def database() -> PartHealth:
        skew = abs((await clock(pool) - now()).total_seconds())
        return PartHealth(part="database", ready=skew <= 5, age_seconds=0.0, detail=f"clock differs by {skew:.3f} s")

    return database


def signer_probe(ledger: Ledger, now: Callable[[], datetime]) -> Probe:
    """Every signer spoke just now, and none halted."""

    async def signer() -> PartHealth:
        moment = now()
        known = [status for status in await ledger.signers() if _age(status, moment) < _GONE]
        if not known:
            return PartHealth(part="signer", ready=False, age_seconds=0.0, detail="no signer has reported")
        bad = [status for status in known if status.halted or _age(status, moment) > _SILENT]
        detail = "; ".join(_said(status, _age(status, moment)) for status in bad or known)
        oldest = max(_age(status, moment) for status in known)
        return PartHealth(part="signer", ready=not bad, age_seconds=oldest.total_seconds(), detail=detail)

    return signer


def policy_probe(ledger: Ledger, file: PolicyFile, now: Callable[[], datetime]) -> Probe:
    """Which policy is in force here, who has another one, and why the file was refused. That requests wait fails nothing."""

    async def policy() -> PartHealth:
        moment = now()
        others = [
            status.instance
            for status in await ledger.signers()
            if _age(status, moment) <= _SILENT and status.policy_digest != file.policy.digest
        ]
        detail = f"serial {file.policy.serial}, sha256 {file.policy.digest}"
        if others:
            detail += f"; another one is in force at {', '.join(others)}: what they would sign waits"
        if file.refusal is not None:
            detail += f"; the file was refused [{file.refusal.code}]: {file.refusal.sentence}"
        return PartHealth(part="policy", ready=True, age_seconds=0.0, detail=detail)

    return policy


def log_probe(source: LogSource, pool: Pool, file: PolicyFile) -> Probe:
    """The log's published checkpoint is the policy's log's; what it is told is appended soon, and published soon."""

    async def log() -> PartHealth:
        policy = file.policy.log
        note = await source.checkpoint()
        if note is None:
            return PartHealth(part="log", ready=False, age_seconds=0.0, detail="no checkpoint: is a sequencer running?")
        open_checkpoint(note, policy.key)
        progress = await log_progress(pool)
        held, backlog = progress.held_seconds or 0.0, progress.backlog_seconds or 0.0
        detail = f"{progress.published} of {progress.size} entries are published"
        if held:
            detail += f"; the rest waits for {policy.quorum} witnesses"
        if backlog > _BACKLOG_SECONDS:
            detail += f"; the next waits for {backlog:.0f} s: is a sequencer running?"
        ready = held <= _HELD_SECONDS and backlog <= _BACKLOG_SECONDS
        return PartHealth(part="log", ready=ready, age_seconds=max(held, backlog), detail=detail)

    return log


def standing(
    ledger: Ledger, pool: Pool, file: PolicyFile, now: Callable[[], datetime]
) -> Callable[[], Awaitable[Standing]]:
    """Reads what ``/metrics`` shows of signers and log."""

    async def read() -> Standing:
        moment = now()
        signers = [status for status in await ledger.signers() if _age(status, moment) < _GONE]
        progress = await log_progress(pool)
        return Standing(
            signers=signers,
            policy_serial=file.policy.serial,
            policy_digest=file.policy.digest,
            size=progress.size,
            published=progress.published,
            backlog_seconds=progress.backlog_seconds or 0.0,
            refused=progress.refused,
            held=await held_requests(pool),
        )

    return read


def _age(status: SignerStatus, moment: datetime) -> timedelta:
    # The two clocks agree within 5 s, else the database's own probe fails.
    return max(moment - status.at, timedelta(0)) if status.at else _GONE


def _said(status: SignerStatus, age: timedelta) -> str:
    if status.halted:
        return f"{status.instance} halted [{status.code}]: {status.sentence}"
    said = f"{status.instance} spoke {age.total_seconds():.0f} s ago, anchor at {status.anchor_size} entries"
    return said if status.code == SIGNING else f"{said} [{status.code}]: {status.sentence}"
