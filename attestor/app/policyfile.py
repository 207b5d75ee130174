"""The policy of a running process: its file is read again when somebody asks, and taken whole or not at all."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from attestor.config import Config
from attestor.core.errors import AttestorError
from attestor.core.policy import Policy
from attestor.core.policychange import changes, refuse_succession

Take = Callable[[Policy], None]
"""Put another policy into force at once; raises ``Rejected`` where this process cannot."""

log: Final = structlog.get_logger("attestor.policy")


class PolicyFile:
    """One per process. ``policy`` is in force; ``refusal`` is what the file was refused with last, if it was."""

    def __init__(self, config: Config) -> None:
        self.policy = config.policy
        self.refusal: AttestorError | None = None
        self.looks = 0
        """How often the file was read again."""
        self.wanted = asyncio.Event()
        """Set when somebody wants it to be read again."""
        self.noted: Callable[[], None] = _nobody
        """Called after each look."""
        self._config = config

    async def look_again(self, take: Take) -> bool:
        """Read the file again and take what it says; say whether another policy is in force. Never raises for a bad file."""
        self.wanted.clear()
        try:
            policy = await asyncio.to_thread(self._config.read_policy)
            refuse_succession(self.policy, policy)
            changed = policy.digest != self.policy.digest
            if changed:
                take(policy)
        except AttestorError as error:
            changed, self.refusal = False, error
            _say_refused(error, self.policy)
        else:
            before, self.policy, self.refusal = self.policy, policy, None
            _say(before, policy)
        self.looks += 1
        self.noted()
        return changed

    @asynccontextmanager
    async def watched(self, take: Take, then: Callable[[], None]) -> AsyncIterator[None]:
        """Look again whenever it is wanted, for as long as the context lasts; *then* is called when another policy is in force."""

        async def watch() -> None:
            while True:
                await self.wanted.wait()
                if await self.look_again(take):
                    then()

        task = asyncio.create_task(watch(), name="policy")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _say(before: Policy, policy: Policy) -> None:
    if policy.digest == before.digest:
        log.info("policy unchanged", serial=policy.serial, sha256=policy.digest)
        return
    log.info("policy loaded", serial=policy.serial, sha256=policy.digest, serial_before=before.serial)
    for change in changes(before, policy):
        (log.warning if change.warning else log.info)("policy change", detail=change.sentence)


def _say_refused(error: AttestorError, in_force: Policy) -> None:
    log.error(
        "policy refused",
        code=error.code,
        detail=error.sentence,
        serial_in_force=in_force.serial,
        sha256_in_force=in_force.digest,
    )


def _nobody() -> None:
    """Nobody else has to know."""
