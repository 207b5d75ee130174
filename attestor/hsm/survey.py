"""What stands in a device, read whole: the ground of `hsm status`, and of `hsm provision` before it changes anything."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nethsm import Key, KeyMechanism, KeyType, NetHSM, Role, State

from attestor.core.secret import Secret
from attestor.hsm.check import require_device, require_version
from attestor.hsm.connection import NodeSettings
from attestor.hsm.keys import Login
from attestor.hsm.session import ADMIN, Session, open_session


@dataclass(frozen=True, slots=True)
class UserFound:
    """A user; only Operators have tags."""

    role: Role
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyFound:
    """A key; ``public_key`` is PEM (SubjectPublicKeyInfo)."""

    type: KeyType
    mechanisms: tuple[KeyMechanism, ...]
    tags: tuple[str, ...]
    operations: int
    public_key: str = field(repr=False)
    certificate: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class NamespaceFound:
    """A namespace with all that its Administrator sees; users by full name, keys by ID."""

    users: Mapping[str, UserFound]
    keys: Mapping[str, KeyFound]


@dataclass(frozen=True, slots=True)
class DeviceFound:
    """A device; what only Administrators see is empty unless it is Operational."""

    state: State
    vendor: str
    product: str
    version: str | None
    unattended_boot: bool | None
    namespaces: frozenset[str]
    administrators: Mapping[str, Role | None]
    """The role of each namespace's Administrator who was asked for by name; None if there is no such user."""
    surveyed: Mapping[str, NamespaceFound]
    """Those of the namespaces asked for that exist, with the Administrator named."""


async def status(
    node: NodeSettings, admin: Secret, namespaces: Mapping[str, Login], *, production: bool
) -> DeviceFound:
    """Read one node. ``namespaces`` are the Administrators of those to look into; nothing is changed.

    :raises Unavailable: the node does not answer.
    :raises Forbidden: ``hsm-login``.
    :raises Rejected: ``hsm-emulator`` in production, ``hsm-version``.
    """
    async with open_session(node) as session:
        return await survey(session, Login(ADMIN, admin), namespaces, production=production)


async def survey(session: Session, admin: Login, namespaces: Mapping[str, Login], *, production: bool) -> DeviceFound:
    """As :func:`status`, within a session."""
    info = await session.ask(None, NetHSM.get_info)
    require_device(info, production=production)
    state = await session.ask(None, NetHSM.get_state)
    if state is not State.OPERATIONAL:
        return DeviceFound(state, info.vendor, info.product, None, None, frozenset(), {}, {})
    version = (await session.ask(admin, NetHSM.get_system_info)).software_version
    require_version(version)
    unattended = await session.ask(admin, NetHSM.get_config_unattended_boot)
    existing = frozenset(await session.ask(admin, NetHSM.list_namespaces))
    administrators = {name: await _role(session, admin, login) for name, login in namespaces.items()}
    surveyed = {
        name: await _namespace(session, login)
        for name, login in namespaces.items()
        if name in existing and administrators[name] is Role.ADMINISTRATOR
    }
    return DeviceFound(
        state, info.vendor, info.product, version, unattended == "on", existing, administrators, surveyed
    )


async def _role(session: Session, admin: Login, asked: Login) -> Role | None:
    found = await session.find(admin, lambda sdk: sdk.get_user(asked.user))
    return found.role if found else None


async def _namespace(session: Session, login: Login) -> NamespaceFound:
    users = {name: await _user(session, login, name) for name in await session.ask(login, NetHSM.list_users)}
    keys = {key_id: await _key(session, login, key_id) for key_id in await session.ask(login, NetHSM.list_keys)}
    return NamespaceFound(users, keys)


async def _user(session: Session, login: Login, name: str) -> UserFound:
    found = await session.ask(login, lambda sdk: sdk.get_user(name))
    operator = found.role is Role.OPERATOR
    return UserFound(
        found.role, tuple(await session.ask(login, lambda sdk: sdk.list_operator_tags(name))) if operator else ()
    )


async def _key(session: Session, login: Login, key_id: str) -> KeyFound:
    found: Key = await session.ask(login, lambda sdk: sdk.get_key(key_id))
    public_key = await session.ask(login, lambda sdk: sdk.get_key_public_key(key_id))
    certificate = await session.find(login, lambda sdk: sdk.get_key_certificate(key_id))
    return KeyFound(found.type, tuple(found.mechanisms), tuple(found.tags), found.operations, public_key, certificate)
