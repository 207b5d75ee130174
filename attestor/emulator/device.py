"""The device: its state, what it keeps in its folder, and how both change."""

from enum import StrEnum
from pathlib import Path

import msgspec

from attestor.emulator import keys, passphrases
from attestor.emulator.errors import StartError, StatusError
from attestor.emulator.folder import write_whole
from attestor.emulator.names import ROOT, Name, fresh_identifier

VENDOR = "attestor emulator (software, not a Nitrokey product)"
PRODUCT = "NetHSM emulator: keys in a plain file, for tests and demonstrations only"
SOFTWARE_VERSION = "4.0"
"""The API version that is emulated: the last one without key labels."""


class State(StrEnum):
    """``SystemState``, without the Failed of version 5."""

    UNPROVISIONED = "Unprovisioned"
    LOCKED = "Locked"
    OPERATIONAL = "Operational"


class User(msgspec.Struct):
    """A user as it is kept; the passphrase only as a digest."""

    real_name: str
    role: str
    passphrase: passphrases.Digest
    tags: list[str] = []


class Key(msgspec.Struct):
    """A key as it is kept. ``private`` is PKCS #8, in the clear: this program protects nothing."""

    type: str
    mechanisms: list[str]
    private: bytes
    tags: list[str] = []
    certificate: bytes | None = None
    operations: int = 0

    def __repr__(self) -> str:
        return f"Key({self.type}, ...)"


class Memory(msgspec.Struct, forbid_unknown_fields=True):
    """All that outlives the process, as state.json holds it. Users by full name, keys by namespace and ID."""

    device_id: str = msgspec.field(default_factory=lambda: f"EMULATOR-{fresh_identifier()[:10]}")
    unlock: passphrases.Digest | None = None
    unattended_boot: bool = False
    namespaces: list[str] = []
    users: dict[str, User] = {}
    keys: dict[str, dict[str, Key]] = {}


class Device:
    """One emulated device on one folder. Not for two threads: the event loop's thread alone calls it."""

    def __init__(self, folder: Path) -> None:
        """Read the folder; a provisioned device comes up Locked unless it was set to boot unattended."""
        self._file = folder / "state.json"
        self.memory = _read(self._file)
        self._parsed: dict[tuple[str, str], keys.PrivateKey] = {}
        self._unsaved_operations = False
        if self.memory.unlock is None:
            self.state = State.UNPROVISIONED
        else:
            self.state = State.OPERATIONAL if self.memory.unattended_boot else State.LOCKED

    def save(self) -> None:
        """Make every change durable; called before the answer that acknowledges it."""
        write_whole(self._file, msgspec.json.encode(self.memory))
        self._unsaved_operations = False

    def save_operations(self) -> None:
        """Write the counters if they moved: hourly and at the end, never per signature, as the device does."""
        if self._unsaved_operations:
            self.save()

    def provision(self, unlock_passphrase: str, admin_passphrase: str) -> None:
        """Unprovisioned to Operational, with the one user ``admin``."""
        self.memory.unlock = passphrases.of_unlock(unlock_passphrase)
        self.memory.users["admin"] = User("admin", "Administrator", passphrases.of_user(admin_passphrase))
        self.save()
        self.state = State.OPERATIONAL

    def is_unlock_passphrase(self, passphrase: str) -> bool:
        """Whether this passphrase unlocks the device."""
        return self.memory.unlock is not None and passphrases.is_unlock(self.memory.unlock, passphrase)

    def namespace_exists(self, namespace: str) -> bool:
        """Whether users of the namespace may act; the root namespace always exists."""
        return namespace == ROOT or namespace in self.memory.namespaces

    def user(self, name: Name) -> User:
        """The user, else 404."""
        user = self.memory.users.get(str(name))
        if user is None:
            raise StatusError(404, "User not found.")
        return user

    def keys_in(self, namespace: str) -> dict[str, Key]:
        """The keys of one namespace by ID."""
        return self.memory.keys.get(namespace, {})

    def key(self, namespace: str, key_id: str) -> Key:
        """The key of this namespace, else 404: keys of other namespaces do not exist for the caller."""
        key = self.keys_in(namespace).get(key_id)
        if key is None:
            raise StatusError(404, "Key not found.")
        return key

    def add_key(self, namespace: str, key_id: str, key: Key) -> None:
        """Keep a new key; an ID in use is 400 (the device's own answer, although its description says 409)."""
        if key_id in self.keys_in(namespace):
            raise StatusError(400, f"Key with id {key_id} already exists")
        self.memory.keys.setdefault(namespace, {})[key_id] = key
        self.save()

    def remove_key(self, namespace: str, key_id: str) -> None:
        """Forget a key."""
        del self.memory.keys[namespace][key_id]
        self._parsed.pop((namespace, key_id), None)
        self.save()

    def remove_namespace(self, namespace: str) -> None:
        """Forget a namespace and its keys; its users stay, and may do nothing."""
        self.memory.namespaces.remove(namespace)
        for key_id in self.memory.keys.pop(namespace, {}):
            self._parsed.pop((namespace, key_id), None)
        self.save()

    def private_key(self, namespace: str, key_id: str) -> keys.PrivateKey:
        """The private key, parsed once."""
        parsed = self._parsed.get((namespace, key_id))
        if parsed is None:
            parsed = self._parsed[namespace, key_id] = keys.from_der(self.key(namespace, key_id).private)
        return parsed

    def count_operation(self, key: Key) -> None:
        """One more use of the key; durable at the next save."""
        key.operations += 1
        self._unsaved_operations = True


def _read(file: Path) -> Memory:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Memory)
    except FileNotFoundError:
        return Memory()
    except msgspec.MsgspecError as error:
        raise StartError(f"{file} is not this emulator's state ({error}): give another --state.") from error
