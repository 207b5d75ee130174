"""The signing device: one NetHSM, or several nodes with the same users and keys."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from nethsm import Base64, NetHSM
from tenacity import AsyncRetrying, retry_if_exception, stop_before_delay

from attestor.core.errors import AttestorError, Missing, Rejected, Unavailable
from attestor.core.lanes import Lane
from attestor.hsm.check import NodeReport, check_node, require_device
from attestor.hsm.connection import Connection, NodeSettings
from attestor.hsm.errors import DEADLINE
from attestor.hsm.keys import ASKING, Login, SigningKey, message_of
from attestor.hsm.node import Node
from attestor.hsm.slots import Slot, Slots

READERS: Final = 2
"""Slots of their own for what is no signature, so that it neither waits for signatures nor takes their place."""
_SHORTEST_WAIT: Final = 0.01

Count = Callable[[str], Awaitable[None]]
"""Counts one use of a key (:attr:`SigningKey.place`), durably, before it is made."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """The nodes and how they are used.

    :raises Rejected: no node, no slot, or no time.
    """

    nodes: tuple[NodeSettings, ...]
    slots: int
    """Signatures asked at a time."""
    deadline_seconds: float
    """For a whole call with its other tries; so that these happen, larger than a node's ``answer_seconds``."""
    production: bool
    """Refuse the emulator."""
    reserved: Mapping[Lane, int] = field(default_factory=dict)
    """Of the slots, those that one lane alone takes."""

    @property
    def shared(self) -> int:
        """Slots that every lane takes."""
        return self.slots - sum(self.reserved.values())

    def __post_init__(self) -> None:
        if not self.nodes or self.shared < 1 or self.deadline_seconds <= 0:
            raise Rejected(
                "hsm-settings",
                "A device needs at least one node, one slot that no lane has for itself, and some time per call.",
            )


class SigningSlot:
    """One slot, taken: what is asked of it waits for nobody else's signature. See :meth:`Device.slot`."""

    def __init__(self, device: "Device", slot: Slot) -> None:
        """Made by the device."""
        self._device = device
        self._slot = slot

    async def sign(self, key: SigningKey, digest: bytes) -> bytes:
        """As :meth:`Device.sign`, in this slot. After a call past its deadline the slot is used up."""
        message = Base64.encode(message_of(key.algorithm, digest))
        mode = ASKING[key.algorithm].mode
        return await self._device.call(
            self._slot,
            key.login,
            lambda sdk: sdk.sign(key.key_id, message, mode).decode(),
            first=lambda: self._device.count(key.place),
        )


class Device:
    """Signs with the keys of a NetHSM. For one event loop; ``calls``, ``failures`` and ``late`` are for metrics."""

    def __init__(self, settings: DeviceSettings, count: Count | None = None) -> None:
        """Opens nothing yet. Every try at a signature is counted first; without *count*, nothing is signed."""
        self.settings = settings
        self.count: Final = count or _refuse_uncounted
        self.calls = 0
        self.failures: Counter[str] = Counter()
        """Calls that failed, by the code of the error that ended them."""
        refused_users: dict[str, AttestorError] = {}
        connections = settings.slots + READERS
        self._nodes = [Node(Connection(each, connections=connections), refused_users) for each in settings.nodes]
        self._next = 0
        self._signing = Slots(settings.shared, "hsm-sign")
        self._reserved = {
            lane: Slots(count, f"hsm-sign-{lane.name.lower()}") for lane, count in settings.reserved.items() if count
        }
        self._reading = Slots(READERS, "hsm-read")

    @property
    def late(self) -> int:
        """Calls whose result was dropped, because the caller had left."""
        return sum(slots.late for slots in (self._signing, self._reading, *self._reserved.values()))

    def free(self) -> bool:
        """Whether :meth:`slot` would give a slot at once."""
        return self._signing.free()

    @asynccontextmanager
    async def slot(self, lane: Lane = Lane.BULK) -> AsyncIterator[SigningSlot]:
        """Wait for a slot (without deadline), so that the caller can look once more before it signs.

        A lane with slots of its own takes a shared one only where those are all taken. The slot comes back when the block has ended and no thread of it runs any more.
        """
        own = self._reserved.get(lane)
        slots = own if own is not None and (own.free() or not self._signing.free()) else self._signing
        async with slots.take() as slot:
            yield SigningSlot(self, slot)

    async def sign(self, key: SigningKey, digest: bytes) -> bytes:
        """The raw signature of a SHA-512 digest (64 bytes), as the device returns it: verify it before it is used.

        Ed25519 r || s, RSA PKCS #1 v1.5 block, ECDSA DER. Other nodes and further tries are within the deadline.

        :raises Unavailable: ``hsm-unreachable``, ``hsm-certificate``, ``hsm-busy``, ``hsm-deadline``.
        :raises Forbidden: ``hsm-login``: from now on this user is tried no more, until there is another Device.
        :raises Rejected: ``hsm-refused`` with the device's words, ``hsm-protocol``, ``hsm-emulator``, ``hsm-uncounted``.
        """
        async with self.slot() as slot:
            return await slot.sign(key, digest)

    async def public_key(self, key: SigningKey) -> str:
        """The key's public half (PEM). Raises as :meth:`sign`."""
        return await self._read(key.login, lambda sdk: sdk.get_key_public_key(key.key_id))

    async def certificate(self, key: SigningKey) -> bytes | None:
        """The certificate that is stored with the key, byte for byte; None without one. Raises as :meth:`sign`."""
        await self.public_key(key)  # a key that is missing has the same answer as one without certificate
        try:
            return await self._read(key.login, lambda sdk: sdk.get_key_certificate(key.key_id))
        except Missing:
            return None

    async def operations(self, keys: Sequence[SigningKey]) -> dict[str, int]:
        """How often each key was used, by its place, as the node says that knows of most; nodes that fail say nothing.

        :raises Unavailable: ``hsm-operations-unread``: no node says it of one of the keys.
        """
        found: dict[str, int] = {}
        for report in await self.check(keys):
            for key, said in zip(keys, report.keys, strict=False):
                if said.operations is not None:
                    found[key.place] = max(found.get(key.place, 0), said.operations)
        for key in keys:
            if key.place not in found:
                raise Unavailable("hsm-operations-unread", f"No node says how often the key {key.place} was used.")
        return found

    async def check(self, keys: Sequence[SigningKey], *, administrator: Login | None = None) -> tuple[NodeReport, ...]:
        """Each node as it is, tried once. The version is known only to an ``administrator`` outside of all namespaces.

        :raises Rejected: ``hsm-emulator`` in production; ``hsm-version`` (3.0, which signs RSA otherwise).
        """
        return tuple([await self._check(node, keys, administrator) for node in self._nodes])

    async def _check(self, node: Node, keys: Sequence[SigningKey], administrator: Login | None) -> NodeReport:
        async def ask(login: Login | None, work: Callable[[NetHSM], T]) -> T:
            async with self._reading.take() as slot:
                with self._counted():
                    return await self._on(node, slot, login, _Asked(work), self._deadline())

        return await check_node(
            node.connection.settings.url, ask, keys, administrator, production=self.settings.production
        )

    async def _read(self, login: Login, work: Callable[[NetHSM], T]) -> T:
        async with self._reading.take() as slot:
            return await self.call(slot, login, work)

    async def call(
        self,
        slot: Slot,
        login: Login,
        work: Callable[[NetHSM], T],
        *,
        first: Callable[[], Awaitable[None]] | None = None,
    ) -> T:
        """``work`` on a node that serves; what may pass is tried again, there or on the next node, within the deadline.

        *first* is done before each try at ``work``, and ends the call if it fails.
        """
        ends = self._deadline()

        async def once() -> T:
            return await self._on(self._pick(login), slot, login, _Asked(work, first), ends)

        retrying = AsyncRetrying(
            retry=retry_if_exception(_may_pass),
            wait=lambda _: max(_SHORTEST_WAIT, min(node.ready_in(login.user) for node in self._nodes)),
            stop=stop_before_delay(self.settings.deadline_seconds),
            reraise=True,
        )
        with self._counted():
            try:
                return await retrying(once)
            except _FirstFailedError as failed:
                raise failed.why from None

    def _pick(self, login: Login) -> Node:
        """In turn, those first that serve this user now."""
        self._next = (self._next + 1) % len(self._nodes)
        return min(self._nodes[self._next :] + self._nodes[: self._next], key=lambda node: node.ready_in(login.user))

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self.settings.deadline_seconds

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.calls += 1
        try:
            yield
        except AttestorError as error:
            self.failures[error.code] += 1
            raise

    async def _on(self, node: Node, slot: Slot, login: Login | None, asked: "_Asked[T]", ends: float) -> T:
        def identify() -> None:
            require_device(node.connection.call(None, NetHSM.get_info), production=self.settings.production)

        async def done() -> T:
            # Before anything is counted, so that a node that is away lets no counts pile up.
            if not node.identified:
                await slot.run(identify)
                node.identified = True
            if asked.first is not None:
                await _passed(asked.first)
            return await slot.run(lambda: node.connection.call(login, asked.work))

        return await node.call(login.user if login else "", done, ends)

    def close(self) -> None:
        """Take no more calls and close idle connections; threads that still run end by their connections' limits."""
        for slots in (self._signing, *self._reserved.values(), self._reading):
            slots.close()
        for node in self._nodes:
            node.connection.close()


@dataclass(frozen=True, slots=True)
class _Asked(Generic[T]):
    """One call, and what is to be done before each try at it."""

    work: Callable[[NetHSM], T]
    first: Callable[[], Awaitable[None]] | None = None


class _FirstFailedError(Exception):
    """Not the node's failure: what was to be done first failed."""

    def __init__(self, why: AttestorError) -> None:
        super().__init__(str(why))
        self.why = why


async def _passed(first: Callable[[], Awaitable[None]]) -> None:
    try:
        await first()
    except AttestorError as error:
        raise _FirstFailedError(error) from error


async def _refuse_uncounted(place: str) -> None:
    raise Rejected("hsm-uncounted", f"Nothing here counts the uses of the key {place}, so it is not used.")


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, Unavailable) and error.code != DEADLINE
