"""An empty device becomes a signing device; one that is half done is completed; one that is otherwise is refused.

Each step asks for one thing that the survey found missing, so that a crash after any of them leaves a device which the
next run completes. Nothing that exists is changed or deleted.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from nethsm import Base64, NetHSM, Role, State, UnattendedBootStatus

from attestor.core.errors import Rejected, Unavailable
from attestor.core.secret import Secret
from attestor.hsm.connection import NodeSettings
from attestor.hsm.device import Count
from attestor.hsm.keys import ASKING, Login, message_of, place_of
from attestor.hsm.plan import Certificates, KeyPlan, NamespacePlan, Plan, contradictions
from attestor.hsm.session import ADMIN, Session, open_session
from attestor.hsm.survey import DeviceFound, KeyFound, NamespaceFound, survey

_IGNORED_LENGTH: Final = 256  # the SDK demands one for curves too


def new_passphrase() -> Secret:
    """A passphrase of 256 bits, within the device's 10 to 200 characters."""
    return Secret(secrets.token_urlsafe(32))


@dataclass(frozen=True, slots=True)
class Report:
    """What was there already and what was made, as sentences without verbs (``key packages/release-1``), in order."""

    existed: tuple[str, ...]
    made: tuple[str, ...]
    device: DeviceFound
    """As it stands now."""
    uncounted: tuple[str, ...] = ()
    """Keys, by place, that were used for a certificate without being counted."""


async def provision(  # noqa: PLR0913 - what it makes, how, and for whom
    node: NodeSettings,
    plan: Plan,
    certificates: Certificates,
    *,
    now: datetime,
    production: bool,
    count: Count | None = None,
) -> Report:
    """Make the device hold what the plan says. ``now`` becomes its clock, if it is new, and its certificates' creation time.

    ``count`` counts the one use of each new key that its certificate takes.

    :raises Rejected: ``hsm-plan`` with all contradictions, before anything is changed; ``hsm-emulator``, ``hsm-version``.
    :raises Forbidden: ``hsm-login``: the device knows another passphrase than the plan.
    :raises Unavailable: a call failed. Run it again: it goes on where it stopped.
    """
    async with open_session(node) as session:
        run = _Run(session, plan, certificates, now, production=production, count=count)
        return await run.whole()


class _Run:
    def __init__(  # noqa: PLR0913 - as its caller
        self,
        session: Session,
        plan: Plan,
        certificates: Certificates,
        now: datetime,
        *,
        production: bool,
        count: Count | None,
    ) -> None:
        self._session = session
        self._plan = plan
        self._certificates = certificates
        self._now = now
        self._production = production
        self._admin = Login(ADMIN, plan.admin)
        self._logins = {each.name: each.login for each in plan.namespaces}
        self._existed: list[str] = []
        self._made: list[str] = []
        self._count = count
        self._uncounted: list[str] = []

    async def whole(self) -> Report:
        await self._start((await self._survey()).state)
        found = await self._survey()
        if found.state is not State.OPERATIONAL:
            raise Unavailable("hsm-unreachable", f"The device is {found.state.value}, not Operational: run it again.")
        problems = list(contradictions(self._plan, found, self._certificates.parse))
        if problems:
            raise Rejected(
                "hsm-plan", f"The device is otherwise than planned: {'; '.join(problems)}. Nothing was changed."
            )
        await self._unattended_boot(found)
        for namespace in self._plan.namespaces:
            await self._namespace(namespace, found)
        return Report(tuple(self._existed), tuple(self._made), await self._survey(), tuple(self._uncounted))

    async def _survey(self) -> DeviceFound:
        return await survey(self._session, self._admin, self._logins, production=self._production)

    def _needs(self, what: str, *, exists: bool) -> bool:
        """Note it; the caller makes it next, or fails."""
        (self._existed if exists else self._made).append(what)
        return not exists

    async def _start(self, state: State) -> None:
        plan, now = self._plan, self._now
        if self._needs("device", exists=state is not State.UNPROVISIONED):
            await self._session.ask(None, lambda sdk: sdk.provision(plan.unlock.reveal(), plan.admin.reveal(), now))
        if state is State.LOCKED:
            self._needs("unlocked device", exists=False)
            await self._session.ask(None, lambda sdk: sdk.unlock(plan.unlock.reveal()))

    async def _unattended_boot(self, found: DeviceFound) -> None:
        wanted = self._plan.unattended_boot
        if self._needs(f"unattended boot {'on' if wanted else 'off'}", exists=found.unattended_boot == wanted):
            status = UnattendedBootStatus.ON if wanted else UnattendedBootStatus.OFF
            await self._session.ask(self._admin, lambda sdk: sdk.set_unattended_boot(status))

    async def _namespace(self, plan: NamespacePlan, found: DeviceFound) -> None:
        # The Administrator first: once the namespace exists, only its own Administrators may add users.
        if self._needs(f"Administrator {plan.login.user}", exists=found.administrators[plan.name] is not None):
            await self._add_user(self._admin, plan.login, Role.ADMINISTRATOR)
        if self._needs(f"namespace {plan.name}", exists=plan.name in found.namespaces):
            await self._session.ask(self._admin, lambda sdk: sdk.add_namespace(plan.name))
        inside = found.surveyed.get(plan.name, NamespaceFound({}, {}))
        for key in plan.keys:
            await self._key(plan, key, inside.keys.get(key.key_id))
            await self._operator(plan, key, inside)
            await self._certificate(plan, key, inside.keys.get(key.key_id))
        await self._canary(plan, inside)

    async def _key(self, plan: NamespacePlan, key: KeyPlan, found: KeyFound | None) -> None:
        asking, length = ASKING[key.algorithm], key.rsa_bits or _IGNORED_LENGTH
        if self._needs(f"key {plan.name}/{key.key_id}", exists=found is not None):
            await self._session.ask(
                plan.login, lambda sdk: sdk.generate_key(asking.key_type, [asking.mechanism], length, key.key_id)
            )
        if self._needs(f"tag {key.tag} of key {plan.name}/{key.key_id}", exists=found is not None and bool(found.tags)):
            await self._session.ask(plan.login, lambda sdk: sdk.add_key_tag(key.key_id, key.tag))

    async def _operator(self, plan: NamespacePlan, key: KeyPlan, inside: NamespaceFound) -> None:
        login = plan.operator(key)
        found = inside.users.get(login.user)
        if self._needs(f"Operator {login.user}", exists=found is not None):
            await self._add_user(plan.login, login, Role.OPERATOR)
        else:  # the only proof that the plan has its passphrase
            await self._session.ask(login, lambda sdk: sdk.get_user(login.user))
        if self._needs(f"tag {key.tag} of Operator {login.user}", exists=found is not None and bool(found.tags)):
            await self._session.ask(plan.login, lambda sdk: sdk.add_operator_tag(login.user, key.tag))

    async def _canary(self, plan: NamespacePlan, inside: NamespaceFound) -> None:
        login = plan.canary_login
        if login is None:
            return
        found = inside.users.get(login.user)
        if self._needs(f"Operator {login.user} of the canary", exists=found is not None):
            await self._add_user(plan.login, login, Role.OPERATOR)
        else:
            await self._session.ask(login, lambda sdk: sdk.get_user(login.user))
        for key in plan.keys:
            has_it = found is not None and key.tag in found.tags
            if self._needs(f"tag {key.tag} of Operator {login.user}", exists=has_it):
                await self._add_tag(plan.login, login, key.tag)

    async def _add_tag(self, by: Login, login: Login, tag: str) -> None:
        await self._session.ask(by, lambda sdk: sdk.add_operator_tag(login.user, tag))

    async def _certificate(self, plan: NamespacePlan, key: KeyPlan, found: KeyFound | None) -> None:
        has_one = found is not None and found.certificate is not None
        if not self._needs(f"certificate of key {plan.name}/{key.key_id}", exists=has_one):
            return
        operator, mode = plan.operator(key), ASKING[key.algorithm].mode
        public_key = await self._session.ask(operator, lambda sdk: sdk.get_key_public_key(key.key_id))
        draft = self._certificates.draft(public_key, key.algorithm, key.user_id, self._now)
        message = Base64.encode(message_of(key.algorithm, draft.digest))
        place = place_of(plan.name, key.key_id)
        if self._count is not None:
            await self._count(place)
        else:
            self._uncounted.append(place)
        raw = await self._session.ask(operator, lambda sdk: sdk.sign(key.key_id, message, mode).decode())
        certificate = draft.seal(raw)
        await self._session.ask(plan.login, lambda sdk: sdk.set_key_certificate(key.key_id, certificate))

    async def _add_user(self, by: Login, login: Login, role: Role) -> None:
        def add(sdk: NetHSM) -> str:
            return sdk.add_user(login.user, role, login.passphrase.reveal(), login.user)

        await self._session.ask(by, add)
