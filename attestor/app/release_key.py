"""A release key: where the HSM's room and OpenPGP's meet (port ``Signer``)."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from attestor.config import Config
from attestor.config.sections import Hsm
from attestor.core.authorisation import Authorisation
from attestor.core.canary import CANARY, CanaryPermit
from attestor.core.errors import Rejected
from attestor.core.hashstate import Hasher
from attestor.core.lanes import Lane
from attestor.core.obstacles import NotNow
from attestor.core.secret import Secret
from attestor.hsm.connection import NodeSettings
from attestor.hsm.device import Count, Device, DeviceSettings, SigningSlot
from attestor.hsm.keys import SigningKey
from attestor.openpgp.certificate import Certificate, parse_certificate
from attestor.openpgp.signature import Notation, draft_signature, verify_signature
from attestor.service.keyports import Operations


@dataclass(frozen=True, slots=True)
class ReleasePen:
    """A taken place at the HSM, with the key and its certificate."""

    slot: SigningSlot
    key: SigningKey
    certificate: Certificate

    async def sign(self, authorisation: Authorisation, hasher: Hasher) -> bytes:
        draft = draft_signature(
            self.certificate,
            created=authorisation.created,
            file_sha512=authorisation.sha512,
            notations=(Notation(*authorisation.notation),),
        )
        raw = await self.slot.sign(self.key, draft.digest(hasher))
        return draft.seal(raw, hasher)


@dataclass(frozen=True, slots=True)
class ReleaseKey:
    """See the port for its promises."""

    device: Device
    key: SigningKey
    certificate: Certificate
    operations: Operations

    @property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint

    async def held(self) -> NotNow | None:
        return (await self.operations.key(self.key.place)).obstacle

    def verify(self, signature: bytes, hasher: Hasher) -> None:
        verify_signature(self.certificate, signature, hasher)

    @asynccontextmanager
    async def slot(self, lane: Lane) -> AsyncIterator[ReleasePen]:
        async with self.device.slot(lane) as slot:
            yield ReleasePen(slot, self.key, self.certificate)


@dataclass(frozen=True, slots=True)
class CanaryUserPen:
    """A taken place at the HSM for the canary's own user: there is no way to have it sign anything but the constant string."""

    slot: SigningSlot
    key: SigningKey
    certificate: Certificate

    async def sign(self, permit: CanaryPermit) -> bytes:
        whole = hashlib.sha512(CANARY)
        draft = draft_signature(
            self.certificate,
            created=permit.created,
            file_sha512=whole.digest(),
            notations=(Notation(*permit.notation),),
        )
        return draft.seal(await self.slot.sign(self.key, draft.digest(whole)), whole)


@dataclass(frozen=True, slots=True)
class CanaryUserKey:
    """See the port ``CanaryKey``; *key* is a release key with the canary's login in the place of its own Operator's."""

    release: ReleaseKey
    key: SigningKey

    @property
    def fingerprint(self) -> str:
        return self.release.fingerprint

    async def held(self) -> NotNow | None:
        return await self.release.held()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[CanaryUserPen]:
        async with self.release.device.slot(Lane.BULK) as slot:
            yield CanaryUserPen(slot, self.key, self.release.certificate)


def canary_keys_of(config: Config, keys: Mapping[str, ReleaseKey], passphrase: Secret) -> dict[str, CanaryUserKey]:
    """Every release key as the canary's user has it; none where the deployment has no canary."""
    if config.canary is None:
        return {}
    user = config.canary.user
    return {
        name: CanaryUserKey(
            key,
            replace(key.key, user=f"{config.signing_keys[name].namespace}~{user}", passphrase=passphrase),
        )
        for name, key in keys.items()
    }


def device_of(config: Config, count: Count | None = None) -> Device:
    """The HSM of a deployment; opens nothing yet. Without *count*, it signs nothing."""
    hsm = config.hsm
    nodes = tuple(
        NodeSettings(url=node.url, fingerprint=node.fingerprint, answer_seconds=hsm.deadline_seconds / 2)
        for node in hsm.nodes
    )
    settings = DeviceSettings(
        nodes=nodes,
        slots=hsm.slots,
        deadline_seconds=hsm.deadline_seconds,
        production=hsm.production,
        reserved=reserved_of(hsm),
    )
    return Device(settings, count)


def reserved_of(hsm: Hsm) -> dict[Lane, int]:
    """Slots that only requests of one lane take."""
    return {Lane.DATABASE: hsm.reserved.database, Lane.IMAGE: hsm.reserved.image}


def workers_of(hsm: Hsm) -> tuple[Lane, ...]:
    """One worker for each slot, by the last lane that it takes from: who works for one lane never waits behind another."""
    reserved = [lane for lane, count in reserved_of(hsm).items() for _ in range(count)]
    return (*reserved, *[Lane.BULK] * (hsm.slots - len(reserved)))


def signing_keys_of(config: Config, passphrases: Mapping[str, Secret]) -> dict[str, SigningKey]:
    """The keys as the HSM's room knows them, by the name that tiers use."""
    return {
        name: SigningKey(
            name=name,
            key_id=section.key_id,
            user=section.device_user,
            passphrase=passphrases[name],
            algorithm=section.algorithm,
        )
        for name, section in config.signing_keys.items()
    }


async def open_release_keys(
    config: Config, device: Device, passphrases: Mapping[str, Secret], operations: Operations
) -> dict[str, ReleaseKey]:
    """Read each key's certificate from the device, and refuse one that is not what the deployment says.

    Raises ``Rejected`` ``certificate-missing`` or ``certificate-differs``, and what the device and OpenPGP's room raise.
    """
    certificates = await read_certificates(config, device, passphrases)
    keys = signing_keys_of(config, passphrases)
    return {name: ReleaseKey(device, keys[name], found, operations) for name, found in certificates.items()}


async def read_certificates(
    config: Config, device: Device, passphrases: Mapping[str, Secret]
) -> dict[str, Certificate]:
    """The same certificates, without the keys. Raises as :func:`open_release_keys`."""
    keys = signing_keys_of(config, passphrases)
    await device.check(list(keys.values()))
    return {name: await _read(config, device, key) for name, key in keys.items()}


async def _read(config: Config, device: Device, key: SigningKey) -> Certificate:
    raw = await device.certificate(key)
    if raw is None:
        raise Rejected(
            "certificate-missing", f"The signing key {key.name} has no OpenPGP certificate: run attestor hsm provision."
        )
    certificate = parse_certificate(raw)
    expected = config.signing_keys[key.name].certificate_fingerprint
    if certificate.algorithm is not key.algorithm or expected not in {None, certificate.fingerprint}:
        raise Rejected(
            "certificate-differs",
            f"The certificate of signing key {key.name} is {certificate.algorithm} {certificate.fingerprint}, "
            "which is not what the deployment file says.",
        )
    return certificate
