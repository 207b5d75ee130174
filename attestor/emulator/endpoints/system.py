"""Identity, health, provisioning, locking and the settings that provisioning needs."""

from datetime import datetime, timedelta
from typing import Literal

from attestor.emulator import passphrases
from attestor.emulator.calls import DONE, Answer, Body, Call, answer_json, read_json
from attestor.emulator.device import PRODUCT, SOFTWARE_VERSION, VENDOR, State
from attestor.emulator.errors import StatusError
from attestor.emulator.names import passphrase

_UNLOCK = "_unlock"
"""The name that failed unlocks are counted under; no user can have it."""


class _Provision(Body):
    unlock_passphrase: str
    admin_passphrase: str
    system_time: str


class _Unlock(Body):
    passphrase: str


class _UnlockPassphrase(Body):
    new_passphrase: str
    current_passphrase: str


class _UnattendedBoot(Body):
    status: Literal["on", "off"]


async def info(_: Call) -> Answer:
    """GET /info: anyone can see that this is no NetHSM."""
    return answer_json({"vendor": VENDOR, "product": PRODUCT})


async def healthy(_: Call) -> Answer:
    """GET /health/alive and /health/ready: reached only in the states that the table gives."""
    return Answer(200)


async def state(call: Call) -> Answer:
    """GET /health/state."""
    return answer_json({"state": call.device.state})


async def metrics(call: Call) -> Answer:
    """GET /metrics: counters since the start of this process."""
    return answer_json(call.emulator.counters)


async def system_info(call: Call) -> Answer:
    """GET /system/info: there is no TPM, so no attestation keys and no registers."""
    return answer_json(
        {
            "softwareVersion": SOFTWARE_VERSION,
            "softwareBuild": "attestor-emulator",
            "firmwareVersion": "none (emulator)",
            "hardwareVersion": "none (emulator)",
            "deviceId": call.device.memory.device_id,
            "akPub": {},
            "pcr": {},
        }
    )


async def provision(call: Call) -> Answer:
    """POST /provision. The time must be RFC 3339 and UTC; the emulator has no clock of its own to set."""
    asked = read_json(call.body, _Provision)
    passphrase(asked.unlock_passphrase, "unlockPassphrase")
    passphrase(asked.admin_passphrase, "adminPassphrase")
    try:
        offset = datetime.fromisoformat(asked.system_time).utcoffset()
    except ValueError:
        raise StatusError(400, "Failed to decode timestamp.") from None
    if offset != timedelta(0):
        raise StatusError(400, "Error while parsing timestamp. Offset must be 0.")
    call.device.provision(asked.unlock_passphrase, asked.admin_passphrase)
    return DONE


async def unlock(call: Call) -> Answer:
    """POST /unlock: limited like a login, and a malformed passphrase counts as a failed one."""
    asked = read_json(call.body, _Unlock)
    failed = call.emulator.failed_logins
    failed.check(call.address, _UNLOCK, "Service unavailable: too many requests")
    try:
        _check_unlock_passphrase(call, passphrase(asked.passphrase, "passphrase"))
    except StatusError:
        failed.add(call.address, _UNLOCK)
        raise
    call.device.state = State.OPERATIONAL
    return DONE


async def lock(call: Call) -> Answer:
    """POST /lock."""
    call.device.state = State.LOCKED
    return DONE


async def get_unattended_boot(call: Call) -> Answer:
    """GET /config/unattended-boot."""
    return answer_json({"status": "on" if call.device.memory.unattended_boot else "off"})


async def set_unattended_boot(call: Call) -> Answer:
    """PUT /config/unattended-boot: ``on`` makes a restart come back Operational instead of Locked."""
    call.device.memory.unattended_boot = read_json(call.body, _UnattendedBoot).status == "on"
    call.device.save()
    return DONE


async def set_unlock_passphrase(call: Call) -> Answer:
    """PUT /config/unlock-passphrase."""
    asked = read_json(call.body, _UnlockPassphrase)
    passphrase(asked.new_passphrase, "passphrase")
    _check_unlock_passphrase(call, asked.current_passphrase)
    call.device.memory.unlock = passphrases.of_unlock(asked.new_passphrase)
    call.device.save()
    return DONE


def _check_unlock_passphrase(call: Call, given: str) -> None:
    if not call.device.is_unlock_passphrase(given):
        raise StatusError(403, "Access denied: wrong unlock passphrase.")
