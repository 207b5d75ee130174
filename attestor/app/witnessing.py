"""Witnesses beside the sequencer: each is asked for its cosignature of what the log signed, and what it answers is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import structlog

from attestor.core.errors import Halted, Unavailable
from attestor.core.policy import LogPolicy
from attestor.publish.witness import HttpWitness
from attestor.service.logports import LogBook
from attestor.service.witness import Cosigning, Heard

_DEADLINE_SECONDS: Final = 5.0
_AWAITED_SECONDS: Final = 0.05
_UNAWAITED_SECONDS: Final = 1.0
"""How long a new checkpoint waits to be seen: a quorum holds every signature back, and without one nobody waits."""

log = structlog.get_logger("attestor.witnessing")


async def meet_witnesses(book: LogBook, policy: LogPolicy) -> None:
    """Ask every witness once whether it knows more of the log than the database does: before anything is appended.

    The log must have its first checkpoint. Raises ``Halted`` ``log-rolled-back``, ``Unavailable``.
    """
    async with _cosigning(book, policy) as cosigning:
        await cosigning.meet()


async def witness_until(book: LogBook, policy: LogPolicy, stop: asyncio.Event) -> None:
    """Bring checkpoints to the witnesses, and publish what the quorum cosigned, until *stop*.

    Raises ``Halted``: ``log-rolled-back``, ``log-signature``, and what the book halts over. Without witnesses it only waits.
    """
    if not policy.witnesses:
        await stop.wait()
        return
    seconds = _AWAITED_SECONDS if policy.quorum else _UNAWAITED_SECONDS
    async with _cosigning(book, policy) as cosigning:
        while not stop.is_set():
            try:
                await cosigning.gather(seconds)
            except Unavailable as error:
                log.warning("witnessing", code=error.code, detail=error.sentence)
                await asyncio.sleep(_UNAWAITED_SECONDS)


@asynccontextmanager
async def _cosigning(book: LogBook, policy: LogPolicy) -> AsyncIterator[Cosigning]:
    async with AsyncExitStack() as stack:
        witnesses = [
            await stack.enter_async_context(
                HttpWitness(witness.name, witness.key, witness.url, deadline_seconds=_DEADLINE_SECONDS)
            )
            for witness in policy.witnesses
        ]
        cosigning = Cosigning(book, witnesses, policy, _Telling())
        try:
            yield cosigning
        finally:
            await cosigning.stop()


class _Telling:
    """Logs what changes with a witness, and every alarm."""

    def __init__(self) -> None:
        self._codes: dict[str, str | None] = {}

    def __call__(self, heard: Heard) -> None:
        code = heard.error.code if heard.error else None
        changed = self._codes.get(heard.witness, "") != code
        self._codes[heard.witness] = code
        if isinstance(heard.error, Halted):
            log.critical(
                "witness alarm",
                witness=heard.witness,
                code=code,
                detail=heard.error.sentence,
                # The one half of the evidence; the witness has the other.
                checkpoint=heard.signed.note.decode(),
            )
        elif heard.error is not None and changed:
            log.warning("witness", witness=heard.witness, code=code, detail=heard.error.sentence)
        elif changed:
            log.info("witness", witness=heard.witness, size=heard.signed.checkpoint.size)
