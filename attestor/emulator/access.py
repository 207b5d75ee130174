"""Who asks, and may they: Basic authentication, the limit on failed logins, roles, namespaces, tags."""

import base64
import binascii
import time
from collections.abc import Collection
from typing import NamedTuple

from attestor.emulator import passphrases
from attestor.emulator.device import Device, Key
from attestor.emulator.errors import StatusError
from attestor.emulator.names import ROOT, Name, user_name

ADMINISTRATOR, OPERATOR, METRICS = "Administrator", "Operator", "Metrics"


class Caller(NamedTuple):
    """An authenticated user with the role that was checked."""

    name: Name
    role: str

    @property
    def namespace(self) -> str:
        """Where the caller's keys and users are."""
        return self.name.namespace


class FailedLogins:
    """One failed attempt of (client address, user name) blocks that pair for a second; success neither counts nor clears."""

    _SECONDS = 1.0
    _MANY = 4096

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], float] = {}

    def check(self, address: str, user: str, message: str = "Too many requests") -> None:
        """429 while the pair is blocked. There is no Retry-After."""
        failed = self._last.get((address, user))
        if failed is not None and time.monotonic() - failed < self._SECONDS:
            raise StatusError(429, message)

    def add(self, address: str, user: str) -> None:
        """Note a failed attempt; forgets old ones when there are many."""
        now = time.monotonic()
        if len(self._last) >= self._MANY:
            self._last = {pair: at for pair, at in self._last.items() if now - at < self._SECONDS}
        self._last[address, user] = now


def authenticate(device: Device, failed: FailedLogins, address: str, authorization: str | None) -> Caller:
    """The user of a Basic authorization header: 429 first, then 401."""
    if authorization is None:
        raise _unauthorized("Authentication required but none provided.")
    user, passphrase = _decode_basic(authorization)
    failed.check(address, user)
    try:
        name = user_name(user)
    except StatusError as error:
        raise _unauthorized(error.message) from None
    known = device.memory.users.get(str(name))
    if known is None or not passphrases.is_user(known.passphrase, passphrase):
        failed.add(address, user)
        raise _unauthorized("Invalid user name or passphrase.")
    return Caller(name, known.role)


def _decode_basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    try:
        user, colon, passphrase = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        colon = ""
    if scheme != "Basic" or not colon:
        raise _unauthorized("Invalid authorization header.")
    return user, passphrase


def _unauthorized(message: str) -> StatusError:
    return StatusError(401, message, {"WWW-Authenticate": 'Basic realm="NetHSM emulator"'})


def check_role(device: Device, caller: Caller, roles: Collection[str], *, root_only: bool) -> None:
    """403 unless the caller has one of the roles, in a namespace that exists (and is the root namespace if asked)."""
    if caller.role not in roles or not device.namespace_exists(caller.namespace):
        raise StatusError(403, "Access denied.")
    if root_only and caller.namespace != ROOT:
        raise StatusError(403, "Access denied: this needs a user outside of all namespaces.")


def check_target(device: Device, caller: Caller, target: Name, *, root_may: bool = False) -> None:
    """403 unless the target user is in the caller's namespace.

    A root Administrator also reaches users of a namespace that does not exist (yet), and of any one where ``root_may``.
    """
    if caller.namespace == target.namespace:
        return
    if caller.namespace == ROOT and (root_may or not device.namespace_exists(target.namespace)):
        return
    raise StatusError(403, "Access denied: the user is in another namespace.")


def check_self(caller: Caller, target: Name) -> None:
    """403 unless the caller administers, or is, the target."""
    if caller.role != ADMINISTRATOR and caller.name != target:
        raise StatusError(403, "Access denied: this is another user.")


def may_use(device: Device, caller: Caller, key: Key) -> bool:
    """A key without tags is for every Operator of its namespace; one with tags for those who share at least one."""
    return not key.tags or not set(key.tags).isdisjoint(device.user(caller.name).tags)


def check_tags(device: Device, caller: Caller, key: Key) -> None:
    """403 unless the caller may use the key."""
    if not may_use(device, caller, key):
        raise StatusError(403, "tags restriction not met")
