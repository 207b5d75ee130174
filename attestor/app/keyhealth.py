"""What the API's process knows of release keys: their canaries, verified by the certificate alone, their uses, and when keys end."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Final

import structlog

from attestor.api.metrics import KeyFigures, PolicyKeyEnd, Standing
from attestor.app.policyfile import PolicyFile
from attestor.config import Config
from attestor.core.errors import AttestorError, Missing, Rejected, Unavailable
from attestor.core.governance import EXPIRES_SOON
from attestor.core.policy import Policy
from attestor.core.wire import PartHealth
from attestor.service.keyports import KeyStanding
from attestor.service.ports import Ledger

if TYPE_CHECKING:
    from attestor.app.canarycheck import CheckedCanary
    from attestor.openpgp.certificate import Certificate

_AHEAD: Final = timedelta(seconds=5)
_OLD_INTERVALS: Final = 2

log = structlog.get_logger("attestor.api")


class KeyHealth:
    """One per API process."""

    def __init__(self, ledger: Ledger, config: Config, file: PolicyFile, now: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._config = config
        self._file = file
        self._now = now

    async def canary(self) -> PartHealth:
        """Every release key signed the canary's string within two intervals, under its certificate."""
        section = self._config.canary
        if section is None:
            return PartHealth(part="canary", ready=True, age_seconds=0.0, detail="there is none")
        ages = await self._ages()
        oldest = timedelta(seconds=_OLD_INTERVALS * section.interval_seconds)
        bad = [f"{name}: {age.sentence}" for name, age in ages.items() if isinstance(age, AttestorError)]
        known = {name: age for name, age in ages.items() if isinstance(age, timedelta)}
        bad += [
            f"{name}: the last one is {age.total_seconds():.0f} s old" for name, age in known.items() if age > oldest
        ]
        age = max(known.values(), default=timedelta(0)).total_seconds()
        detail = "; ".join(bad) or f"{len(known)} keys signed; the oldest is {age:.0f} s old"
        return PartHealth(part="canary", ready=not bad, age_seconds=age, detail=detail)

    def with_keys(self, read: Callable[[], Awaitable[Standing]]) -> Callable[[], Awaitable[Standing]]:
        """What ``/metrics`` shows, with the keys."""

        async def standing() -> Standing:
            return replace(await read(), keys=await self._figures())

        return standing

    async def warn_of_ends(self) -> bool:
        """Log each key that ends within 30 days, or has ended; says that there is no more to do. Raises ``Unavailable``."""
        for end in _ends_of(self._file.policy, self._now()):
            if end.seconds < EXPIRES_SOON.total_seconds():
                log.warning("key ends", role=end.role, name=end.name, key=end.key, days=int(end.seconds // 86400))
        for name, seconds in (await self._certificate_ends()).items():
            if seconds < EXPIRES_SOON.total_seconds():
                log.warning("certificate ends", key=name, days=int(seconds // 86400))
        return False

    async def _figures(self) -> KeyFigures:
        ages = await self._ages() if self._config.canary is not None else {}
        keys, moment = await self._keys(), self._now()
        return KeyFigures(
            canary_ages={name: age.total_seconds() for name, age in ages.items() if isinstance(age, timedelta)},
            certificate_ends=await self._certificate_ends(),
            policy_ends=tuple(_ends_of(self._file.policy, moment)),
            standings=tuple(keys.values()),
            read_ages={name: (moment - key.at).total_seconds() for name, key in keys.items() if key.at is not None},
        )

    async def _keys(self) -> dict[str, KeyStanding]:
        """By name, those of the deployment: what a signer said of a key that was taken out since stays in the database."""
        known = await self._ledger.release_keys()
        return {key.name: key for key in known if key.name in self._config.signing_keys}

    async def _certificate_ends(self) -> dict[str, float]:
        await asyncio.to_thread(_load_openpgp)
        moment, ends = self._now(), {}
        for name, key in (await self._keys()).items():
            try:
                expires = self._certificate(key).expires
            except AttestorError:
                # Readiness says so, and a key without the figure is one that somebody looks at.
                continue
            ends[name] = inf if expires is None else (expires - moment).total_seconds()
        return ends

    async def _ages(self) -> dict[str, timedelta | AttestorError]:
        await asyncio.to_thread(_load_openpgp)
        keys = await self._keys()
        made = {canary.key_fingerprint: canary.signature for canary in await self._ledger.canaries()}
        return {name: self._age(keys.get(name), made) for name in self._config.signing_keys}

    def _age(self, key: KeyStanding | None, made: dict[str, bytes]) -> timedelta | AttestorError:
        if key is None or key.fingerprint not in made:
            return Missing("canary-missing", "no canary was made yet")
        try:
            checked = _checked(self._certificate(key).raw, made[key.fingerprint])
            policy = self._file.policy
            if (checked.origin, checked.log) != (policy.origin, policy.log.key.name):
                return Rejected("canary-other", f"the canary is of {checked.origin}, logged in {checked.log}")
        except AttestorError as error:
            return error
        age = self._now() - checked.created
        if age < -_AHEAD:
            return Unavailable("canary-ahead", f"the canary is of {checked.created}, which has not come yet")
        return max(age, timedelta(0))

    def _certificate(self, key: KeyStanding) -> "Certificate":
        """What the signer said is a key's certificate; by a fingerprint in the deployment file it is known to be."""
        certificate = _parsed(key.certificate)
        pinned = self._config.signing_keys[key.name].certificate_fingerprint
        if key.fingerprint != certificate.fingerprint or pinned not in {None, certificate.fingerprint}:
            raise Rejected(
                "certificate-differs",
                f"the certificate {certificate.fingerprint} is not the one that the deployment file pins",
            )
        return certificate


def _load_openpgp() -> None:
    """The room takes a moment to load, and requests are not to wait for it."""
    from attestor.app import canarycheck  # noqa: F401 - and all that it stands on


# Both are asked at every look, and the same is answered until the next canary.
@lru_cache(maxsize=64)
def _parsed(raw: bytes) -> "Certificate":
    from attestor.openpgp.certificate import parse_certificate

    return parse_certificate(raw)


@lru_cache(maxsize=256)
def _checked(certificate: bytes, signature: bytes) -> "CheckedCanary":
    from attestor.app.canarycheck import check_canary

    return check_canary(_parsed(certificate), signature)


def _ends_of(policy: Policy, moment: datetime) -> Iterator[PolicyKeyEnd]:
    """Keys of the policy that nobody revoked."""
    for fingerprint, held in policy.keys_by_fingerprint.items():
        if not held.revoked:
            yield PolicyKeyEnd("operator", held.operator, fingerprint, (held.valid_until - moment).total_seconds())
    for fingerprint, approving in policy.approver_keys.items():
        if not approving.revoked:
            left = (approving.valid_until - moment).total_seconds()
            yield PolicyKeyEnd("approver", approving.approver, fingerprint, left)
