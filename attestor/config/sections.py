"""The sections of ``attestor.toml`` as types: unknown names are refused, and no security number has a default.

Every path is absolute after decoding: a relative one counts from the file's own folder.
"""

from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from attestor.core.algorithm import Algorithm
from attestor.core.limits import Rates

CredentialName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")]
"""A file's name, never a path: in ``$CREDENTIALS_DIRECTORY`` or in ``[credentials] folder``."""
DeviceName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")]
"""A key, user or namespace as a NetHSM takes it (schema ``ID``)."""
Seconds = Annotated[float, Meta(gt=0, le=86400)]
Count = Annotated[int, Meta(ge=1, le=10_000)]
ByteCount = Annotated[int, Meta(ge=1, le=2**50)]
Audience = Literal["read", "submit", "request", "operate"]


class Role(StrEnum):
    """Whose credentials are read: one process has one role. ``owner`` migrates."""

    API = "api"
    SEQUENCER = "sequencer"
    SIGNER = "signer"
    OWNER = "owner"


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where credentials lie when systemd does not bring them."""

    folder: Path | None = None


class Passwords(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Names of the credentials that hold each database user's password; absent where the socket proves the user."""

    api: CredentialName | None = None
    sequencer: CredentialName | None = None
    signer: CredentialName | None = None
    owner: CredentialName | None = None


class Database(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One connection string per database user (P9), each without a password."""

    dsn_api: str
    dsn_sequencer: str
    dsn_signer: str
    dsn_owner: str
    passwords: Passwords = Passwords()


class Listener(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One address that the API serves, for these audiences. ``key`` is the name of a credential."""

    address: str
    """``HOST:PORT`` or ``[IPv6]:PORT``, port 0 takes a free one; or ``unix:/PATH``."""
    audiences: tuple[Audience, ...]
    certificate: Path | None = None
    key: CredentialName | None = None
    client_ca: Path | None = None
    proxies: tuple[str, ...] = ()
    """Addresses and networks whose ``X-Forwarded-For`` is believed."""

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0].removeprefix("[").removesuffix("]")

    @property
    def port(self) -> int:
        """Raises ``ValueError`` when the address names no port."""
        return int(self.address.rpartition(":")[2])

    @property
    def loopback(self) -> bool:
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where bytes come from; sizes in bytes. A root is a folder's path or an ``https://HOST/PATH/`` address."""

    spool: Path
    scratch: Path
    max_bytes: ByteCount
    max_total_bytes: ByteCount
    roots: dict[str, str] = {}
    https_deadline_seconds: Seconds = 600
    https_ca: Path | None = None


class HsmNode(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One NetHSM: its address and the lower-case hex SHA-256 of its TLS certificate."""

    url: Annotated[str, Meta(pattern=r"^https://[^/@\s]+/?\Z")]
    fingerprint: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class ReservedSlots(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many of the HSM's slots only one lane takes: others may fill all the rest, and never these."""

    database: Annotated[int, Meta(ge=0, le=63)] = 0
    image: Annotated[int, Meta(ge=0, le=63)] = 0
    """ISO and VM images."""


class Hsm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The devices, how long a call may take, and how many run at once. ``admin`` and others name credentials."""

    production: bool
    """Refuses the emulator, embedded parts, and plain HTTP beyond this host."""
    nodes: tuple[HsmNode, ...]
    deadline_seconds: Seconds
    slots: Annotated[int, Meta(ge=1, le=64)]
    reserved: ReservedSlots = ReservedSlots()
    admin_passphrase: CredentialName = "hsm-admin-passphrase"  # noqa: S105 - a credential's name
    unlock_passphrase: CredentialName = "hsm-unlock-passphrase"  # noqa: S105 - a credential's name


class SigningKeySection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One release key: where it lies on the HSM, who may use it there, and what its OpenPGP certificate says."""

    namespace: DeviceName
    key_id: DeviceName
    user: DeviceName
    passphrase: CredentialName
    algorithm: Algorithm
    user_id: Annotated[str, Meta(min_length=1, max_length=512)]
    certificate_fingerprint: Annotated[str, Meta(pattern=r"^[0-9A-F]{40}\Z")] | None = None
    """Version 4 fingerprint; with it, another certificate on the device is refused."""
    rsa_bits: Annotated[int, Meta(ge=2048, le=8192)] | None = None

    @property
    def device_user(self) -> str:
        """The user as the device spells it."""
        return f"{self.namespace}~{self.user}"


class Canary(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who has every release key sign the canary's string: in each namespace of them an HSM user of this name, and how often."""

    user: DeviceName
    passphrase: CredentialName
    interval_seconds: Annotated[float, Meta(ge=60, le=604800)]


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the sequencer needs. ``key`` names the credential of the log's secret key, which only this role reads."""

    key: CredentialName
    poll_seconds: Seconds


class Signer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who this signer is and what it remembers; how long a claim on a request lasts, how often it is tried and looked for.

    ``seal`` names the credential of the signer's own key, one of those in the policy's ``[log]``.
    """

    instance: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}\Z")]
    """Its name in readiness and metrics, another one for each signer."""
    seal: CredentialName
    anchor: Path
    """A folder outside the database and its backups."""
    lease_seconds: Seconds
    tries: Annotated[int, Meta(ge=1, le=100)]
    poll_seconds: Seconds


class Alarms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When somebody should look."""

    dissents_per_hour: Annotated[int, Meta(ge=1, le=1_000_000)]
    """Dissents of one operator in one API process; above half of them it warns, above all it is critical."""


class Logging(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much is said."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the roles of this host say that they run, and under which policy: ``attestor policy reload`` finds them there."""

    folder: Path


class Embedded(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parts for a first look, in one folder: PostgreSQL and the emulated NetHSM, started with the service."""

    enabled: bool
    folder: Path


class DeploymentFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file."""

    policy: Path
    database: Database
    listeners: tuple[Listener, ...]
    content: Content
    hsm: Hsm
    signing_keys: dict[str, SigningKeySection]
    log: Log
    signer: Signer
    limits: Rates
    alarms: Alarms
    canary: Canary | None = None
    credentials: Credentials = Credentials()
    logging: Logging = Logging()
    run: Run | None = None
    embedded: Embedded | None = None
