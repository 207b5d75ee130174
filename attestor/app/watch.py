"""What a signer's process does for its release keys beside releases: hold the HSM's counts against its own, and the canary."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog

from attestor.app.clock import now
from attestor.app.logkeys import seal_of
from attestor.app.release_key import ReleaseKey, canary_keys_of
from attestor.config import Config, RoleView
from attestor.core.errors import AttestorError
from attestor.core.operations import KeyCount
from attestor.hsm.device import Device
from attestor.service.canary import Canaries
from attestor.service.case import Signing
from attestor.service.keyports import KeyBook, KeyStanding, Operations
from attestor.service.reconcile import reconcile

RECONCILE_SECONDS: Final = 60.0

log = structlog.get_logger("attestor.signer")


@dataclass(slots=True)
class KeyWatch:
    """One signer's release keys, their counts, and what everybody is shown of them."""

    device: Device
    operations: Operations
    keys: Mapping[str, ReleaseKey]
    book: KeyBook
    _stopped: set[str] = field(default_factory=set)
    _missing: dict[str, int] = field(default_factory=dict)
    _warned: dict[str, int] = field(default_factory=dict)

    async def reconcile(self) -> None:
        """Hold what the device says against the counts, and show how the keys stand. Raises ``Unavailable``."""
        read = await self.device.operations([key.key for key in self.keys.values()])
        counts = await reconcile(self.operations, read, now)
        for name, key in self.keys.items():
            self._tell(name, counts[key.key.place])
        await self.book.stands([_standing(name, key, counts[key.key.place]) for name, key in self.keys.items()])

    async def reconcile_on(self) -> None:
        """Again every minute, and for ever; what fails is logged."""
        while True:
            await asyncio.sleep(RECONCILE_SECONDS)
            try:
                await self.reconcile()
            except AttestorError as error:
                log.warning("reconciling", code=error.code, detail=error.sentence)

    def _tell(self, name: str, count: KeyCount) -> None:
        if count.obstacle is not None and name not in self._stopped:
            log.critical("key stopped", key=name, code=count.obstacle.reason, detail=count.obstacle.sentence)
        (self._stopped.add if count.stopped else self._stopped.discard)(name)
        # What is under way is among the missing at one look, and not at the next.
        missing = min(self._missing.get(name, 0), count.missing)
        if missing > self._warned.get(name, 0):
            log.warning("operations missing", key=name, counted=count.counted_then, operations=count.operations)
            self._warned[name] = missing
        self._missing[name] = count.missing


def canaries_of(config: Config, view: RoleView, watch: KeyWatch, signing: Signing) -> Canaries | None:
    """The canaries of this signer; ``None`` where the deployment has none."""
    if config.canary is None:
        return None
    return Canaries(
        keys=canary_keys_of(config, watch.keys, view.canary),
        book=watch.book,
        queue=signing.queue,
        past=signing.past,
        seal=seal_of(config, view),
        instance=config.signer.instance,
        now=signing.now,
        interval=timedelta(seconds=config.canary.interval_seconds),
    )


def _standing(name: str, key: ReleaseKey, count: KeyCount) -> KeyStanding:
    return KeyStanding(
        name=name,
        fingerprint=key.fingerprint,
        certificate=key.certificate.raw,
        counted=count.counted_then,
        operations=count.operations,
        stopped=count.stopped,
    )
