"""Have every release key sign the canary's string, on a schedule and when somebody asks.

As for a release, the log comes first: 1. the entry that announces it is enqueued; 2. the log includes it and the anchor has moved
past it; 3. the HSM signs, the signature is verified; 4. it is kept for everybody to read. A crash in between leaves an entry
without a signature, and the next canary is another one.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from attestor.core.canary import LoggedCanary, permit_canary
from attestor.core.entries import CanaryEntry, moment_text
from attestor.core.entrybytes import outgoing, seal_entry
from attestor.core.errors import AttestorError, Halted, Unavailable
from attestor.core.seal import Seal
from attestor.service.conclude import INCLUDED_SECONDS
from attestor.service.keyports import Canary, CanaryClock, CanaryKey, KeyBook
from attestor.service.past import Past, within
from attestor.service.sign import MAX_CLOCK_SKEW, refuse_wrong_clock
from attestor.service.signports import Queue

AT_MOST_EVERY: Final = timedelta(seconds=10)
"""Whoever has the database in hand can ask for canaries without end: each costs a log entry and a call."""
_DOUBLED_TIMES: Final = 6
"""How often that time is doubled, each time one cannot be made, unless somebody asks: a device that is away overnight fills no log."""


@dataclass(slots=True)
class Canaries:
    """What one signer process needs for its canaries."""

    keys: Mapping[str, CanaryKey]
    """By the name that tiers use."""
    book: KeyBook
    queue: Queue
    past: Past
    seal: Seal
    instance: str
    now: Callable[[], datetime]
    interval: timedelta
    _tried: dict[str, datetime] = field(default_factory=dict)
    _failures: Counter[str] = field(default_factory=Counter)

    async def make_due(self) -> dict[str, AttestorError | None]:
        """Make those that are due; by key name, what kept one from being made.

        Raises ``Halted`` as the log is followed, and ``clock-differs``; ``Unavailable`` when the database does not answer.
        """
        clock = await self.book.canary_clock()
        refuse_wrong_clock(self.now(), clock.now)
        due = [name for name, key in self.keys.items() if self._is_due(name, key, clock)]
        return {name: await self._tried_once(name) for name in due}

    async def make(self, name: str) -> None:
        """Make one now. Raises ``Halted``; ``Unavailable``, also ``log-behind`` and where the key is held."""
        key = self.keys[name]
        await _refuse_held(key)
        logged = await self._announced(key)
        async with key.slot() as pen:
            await _refuse_held(key)
            policy = self.past.policy_loaded
            permit = permit_canary(
                logged,
                key_fingerprint=key.fingerprint,
                instance=self.instance,
                origin=policy.origin,
                log=policy.log.key.name,
            )
            signature = await pen.sign(permit)
        await self.book.keep_canary(Canary(key.fingerprint, logged.index, permit.created, signature))

    async def _announced(self, key: CanaryKey) -> LoggedCanary:
        created, anchor = moment_text(self.now()), self.past.anchor_id
        entry = CanaryEntry(instance=self.instance, key=key.fingerprint, created=created, anchor=anchor)
        raw = seal_entry(entry, self.seal)
        with self.past.expecting(raw) as included:
            await self.queue.tell(outgoing(raw), [])
            index = await within(included, INCLUDED_SECONDS)
        await self.past.prove(index, raw)
        return LoggedCanary(index, entry)

    async def _tried_once(self, name: str) -> AttestorError | None:
        self._tried[name] = self.now()
        try:
            await self.make(name)
        except Halted:
            raise
        except AttestorError as error:
            self._failures[name] += 1
            return error
        del self._failures[name]
        return None

    def _is_due(self, name: str, key: CanaryKey, clock: CanaryClock) -> bool:
        tried = self._tried.get(name)
        if tried is not None and abs(self.now() - tried) < self._pause(name, tried, clock):
            return False
        made = clock.made.get(key.fingerprint)
        if made is None or clock.now - made >= self.interval:
            return True
        return clock.wanted is not None and clock.wanted > made

    def _pause(self, name: str, tried: datetime, clock: CanaryClock) -> timedelta:
        asked = clock.wanted is not None and clock.wanted > tried - MAX_CLOCK_SKEW
        return AT_MOST_EVERY if asked else AT_MOST_EVERY * 2 ** min(self._failures[name], _DOUBLED_TIMES)


async def _refuse_held(key: CanaryKey) -> None:
    held = await key.held()
    if held is not None:
        raise Unavailable(held.reason, held.sentence)
