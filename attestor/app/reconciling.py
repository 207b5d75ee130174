"""``attestor hsm reconcile``: how often each release key was used, by the device and by what was counted, beside a running signer."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attestor.anchor.operations import FileOperations
from attestor.app.release_key import device_of, signing_keys_of
from attestor.config import Config, Role
from attestor.core.errors import AttestorError, Missing, Rejected, Unavailable
from attestor.core.operations import Acknowledgement, KeyCount
from attestor.hsm.keys import place_of
from attestor.service.reconcile import reconcile

_NO_PASSPHRASE: Final = frozenset({"credential-missing", "credential-open", "credential-unreadable"})


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Each key by its name in the deployment, and why the device was not read just now."""

    keys: dict[str, KeyCount]
    unread: AttestorError | None


async def look(config: Config, now: Callable[[], datetime]) -> Reconciled:
    """Read the device, where this user has the passphrases and it answers, and hold it against the count.

    Else the signer's last reading is shown. A key that the device used more often than was counted stops. Raises ``Halted``
    ``anchor-…``; ``Unavailable`` ``operations-unavailable``.
    """
    async with FileOperations.opened(config.signer.anchor) as operations:
        unread = await _read(config, operations, now)
        places = _places(config)
        return Reconciled({name: await operations.key(place) for name, place in places.items()}, unread)


async def acknowledge(config: Config, name: str, said: Acknowledgement) -> KeyCount:
    """Take the device's number for the count of one key, which signs again then.

    Raises ``Missing`` ``key-unknown``; ``Conflict`` ``hsm-operations-moved``; and as :func:`look`, also where the device does not
    answer.
    """
    place = _places(config).get(name)
    if place is None:
        raise Missing(
            "key-unknown", f"The deployment has no signing key {name!r}: it has {', '.join(config.signing_keys)}."
        )
    async with FileOperations.opened(config.signer.anchor) as operations:
        unread = await _read(config, operations, lambda: said.at)
        if isinstance(unread, Unavailable):
            raise unread
        return await operations.acknowledge(place, said)


async def _read(config: Config, operations: FileOperations, now: Callable[[], datetime]) -> AttestorError | None:
    try:
        passphrases = config.for_role(Role.SIGNER).passphrases
    except Rejected as error:
        if error.code not in _NO_PASSPHRASE:
            raise
        return error
    device = device_of(config)
    try:
        await reconcile(operations, await device.operations(list(signing_keys_of(config, passphrases).values())), now)
    except Unavailable as error:
        return error
    finally:
        device.close()
    return None


def _places(config: Config) -> dict[str, str]:
    return {name: place_of(section.namespace, section.key_id) for name, section in config.signing_keys.items()}
