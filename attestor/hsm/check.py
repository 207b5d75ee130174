"""What `attestor check` tries on each node: is it a device that may be used, and is each release key what it should be?"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from nethsm import Info, Key, NetHSM

from attestor.core.algorithm import Algorithm
from attestor.core.errors import AttestorError, Missing, Rejected
from attestor.hsm.keys import ASKING, Login, SigningKey

T = TypeVar("T")
_THREE_ZERO: Final = re.compile(r"\s*v?0*3\.0+(?![0-9])")


class Ask(Protocol):
    """One call to one node, as this user; raises errors of :mod:`attestor.core.errors`."""

    async def __call__(self, login: Login | None, work: Callable[[NetHSM], T]) -> T:
        """What ``work`` returns."""


@dataclass(frozen=True, slots=True)
class KeyReport:
    """One release key on one node; ``problem`` is why it cannot sign."""

    name: str
    login: bool
    """Whether the Operator could log in."""
    certificate: bytes | None = field(repr=False)
    operations: int | None
    """How often the key was used; a lower bound."""
    problem: AttestorError | None


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One node; ``problem`` is why nothing more is known."""

    url: str
    state: str | None
    vendor: str | None
    product: str | None
    version: str | None
    """Known to Administrators only."""
    keys: tuple[KeyReport, ...]
    problem: AttestorError | None


async def check_node(
    url: str, ask: Ask, keys: Sequence[SigningKey], administrator: Login | None, *, production: bool
) -> NodeReport:
    """The report; a node that fails is one with a problem.

    :raises Rejected: ``hsm-emulator``, ``hsm-version``: a device that must not be used.
    """
    try:
        info = await ask(None, NetHSM.get_info)
        state = await ask(None, NetHSM.get_state)
        version = await _version(ask, administrator)
    except AttestorError as problem:
        if problem.code in {"hsm-emulator", "hsm-version"}:
            raise
        return NodeReport(url, None, None, None, None, (), problem)
    require_device(info, production=production)
    reports = tuple([await _check_key(ask, key) for key in keys])
    return NodeReport(url, state.value, info.vendor, info.product, version, reports, None)


def require_device(info: Info, *, production: bool) -> None:
    """Refuse software that only plays a NetHSM where production is meant."""
    if production and "emulator" in f"{info.vendor} {info.product}".lower():
        raise Rejected("hsm-emulator", "This is the emulator, which protects no key: production needs a NetHSM.")


def require_version(version: str) -> None:
    """Refuse 3.0, the only version in which mode PKCS1 hashes and wraps by itself: RSA signatures would be of something else."""
    if _THREE_ZERO.match(version):
        raise Rejected("hsm-version", "NetHSM 3.0 makes other RSA signatures than all other versions: update it.")


async def _version(ask: Ask, administrator: Login | None) -> str | None:
    if administrator is None:
        return None
    version = (await ask(administrator, NetHSM.get_system_info)).software_version
    require_version(version)
    return version


async def _check_key(ask: Ask, key: SigningKey) -> KeyReport:
    try:
        found = await ask(key.login, lambda sdk: sdk.get_key(key.key_id))
    except AttestorError as problem:
        # The device looks at the login first: another refusal comes after it.
        return _failed(key, problem, login=isinstance(problem, Missing))
    try:
        certificate = await ask(key.login, lambda sdk: sdk.get_key_certificate(key.key_id))
    except Missing:
        certificate = None
    except AttestorError as problem:
        return _failed(key, problem, login=True)
    problem_of_key = mismatch(key.name, key.algorithm, found)
    return KeyReport(key.name, login=True, certificate=certificate, operations=found.operations, problem=problem_of_key)


def _failed(key: SigningKey, problem: AttestorError, *, login: bool) -> KeyReport:
    return KeyReport(key.name, login=login, certificate=None, operations=None, problem=problem)


def mismatch(name: str, algorithm: Algorithm, found: Key) -> Rejected | None:
    """Why the key in the device is not one that signs by this algorithm, and by nothing else."""
    asking = ASKING[algorithm]
    if found.type is asking.key_type and found.mechanisms == [asking.mechanism]:
        return None
    mechanisms = ", ".join(each.value for each in found.mechanisms)
    return Rejected(
        "hsm-key",
        f"The key {name} is {found.type.value} with {mechanisms}; {algorithm} needs {asking.key_type.value} with exactly "
        f"{asking.mechanism.value}.",
    )
