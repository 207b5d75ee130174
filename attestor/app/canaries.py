"""``attestor canary``: have a signer make canaries now, and check those that a service gives out."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from attestor.app.canarycheck import check_canary
from attestor.config import Config, Role
from attestor.core.errors import AttestorError, Missing, Rejected, Unavailable
from attestor.core.wire import CanaryList
from attestor.openpgp.certificate import MAX_CERTIFICATE, parse_certificate
from attestor.store.keybook import made_since, want_canaries
from attestor.store.pool import Settings, connect

_LOOK_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class KeyCanary:
    """What came of one key's canary; ``problem`` is why it does not hold."""

    key: str
    """The certificate's fingerprint, or its file where it cannot be read."""
    created: datetime | None
    origin: str | None
    entry: int | None
    problem: AttestorError | None


async def run(config: Config, seconds: float) -> tuple[str, ...]:
    """Ask every signer for canaries, as the database's owner, and wait until each key has one; their names.

    Raises ``Missing`` ``canary-none``; ``Unavailable`` ``canary-late`` with the keys that had none in time.
    """
    if config.canary is None:
        raise Missing("canary-none", f"{config.path} has no [canary]: nobody would make one.")
    async with connect(Settings(config.for_role(Role.OWNER).dsn.reveal(), connections=1)) as pool:
        asked = await want_canaries(pool)
        late = set(config.signing_keys)
        try:
            async with asyncio.timeout(seconds):
                while late:
                    await asyncio.sleep(_LOOK_SECONDS)
                    made = await made_since(pool, asked)
                    late = {name for name in config.signing_keys if not made.get(name, False)}
        except TimeoutError:
            raise Unavailable(
                "canary-late",
                f"Within {seconds:.0f} s no canary was made with {', '.join(sorted(late))}: the signer's log says why.",
            ) from None
    return tuple(sorted(config.signing_keys))


def check(given: CanaryList, certificate: Path, *, now: datetime, oldest: timedelta) -> KeyCanary:
    """Hold what a service gave out against one certificate. Raises ``Rejected`` for a file that is none, ``OSError``."""
    with certificate.open("rb") as file:
        trusted = parse_certificate(file.read(MAX_CERTIFICATE + 1))
    shown = [each.signature for each in given.canaries if each.key == trusted.fingerprint]
    if not shown:
        problem = Missing("canary-missing", "The service gives out no canary of this key.")
        return KeyCanary(trusted.fingerprint, None, None, None, problem)
    try:
        checked = check_canary(trusted, shown[0])
    except Rejected as error:
        return KeyCanary(trusted.fingerprint, None, None, None, error)
    stale = None
    if not timedelta(seconds=-5) <= now - checked.created <= oldest:
        stale = Rejected(
            "canary-old", f"It was made at {checked.created:%Y-%m-%dT%H:%M:%SZ}: the key has not signed since."
        )
    return KeyCanary(trusted.fingerprint, checked.created, checked.origin, checked.index, stale)
