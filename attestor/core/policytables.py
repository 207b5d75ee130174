"""The policy file's tables as TOML spells them, before their meaning is checked (:mod:`attestor.core.policyfile`)."""

import re
import tomllib
from collections.abc import Iterable
from datetime import date, datetime, time
from typing import Final, TypeVar

import msgspec

from attestor.core.errors import Rejected
from attestor.core.naming import Kind
from attestor.core.policy import Provenance, Scope
from attestor.core.quota import Period
from attestor.core.versions import VersionOrder

MAX_POLICY_BYTES: Final = 4 * 1024 * 1024

_T = TypeVar("_T")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}", re.ASCII)


class KeyTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[[operators.NAME.keys]]``."""

    public_key: str
    valid_from: datetime
    valid_until: datetime
    statements: tuple[str, ...]
    scopes: tuple[Scope, ...]
    provenance: tuple[Provenance, ...] = ()
    revoked: datetime | None = None
    compromised_since: datetime | None = None


class OperatorTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[operators.NAME]``."""

    keys: tuple[KeyTable, ...]
    suspended: bool = False
    person: str | None = None


class ApproverKeyTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[[approvers.NAME.keys]]``: one of ``openpgp`` and ``ssh``."""

    fingerprint: str
    valid_from: datetime
    valid_until: datetime
    openpgp: str | None = None
    ssh: str | None = None
    revoked: datetime | None = None


class ApproverTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[approvers.NAME]``."""

    person: str
    keys: tuple[ApproverKeyTable, ...]


class QuotaTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[tiers.NAME.quota]``."""

    limit: int
    period: Period


class ApprovalsTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[tiers.NAME.approvals]``: how many people let each exception through; one that is not named is none."""

    hours: int
    release: int | None = None
    downgrade: int | None = None
    re_sign: int | None = None
    dispute: int | None = None
    quota: int | None = None


class TierTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[tiers.NAME]``; no number of it has a default."""

    kind: Kind
    purl: str
    operators: tuple[str, ...]
    threshold: int
    dissent_limit: int
    signing_key: str
    requesters: tuple[str, ...]
    networks: tuple[str, ...]
    required: tuple[str, ...] = ()
    version_order: VersionOrder = VersionOrder.NONE
    compare_predecessor: bool = False
    quota: QuotaTable | None = None
    approvals: ApprovalsTable | None = None


class RequesterTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[requesters.NAME]``."""

    clients: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    person: str | None = None


class WitnessTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[log.witnesses.NAME]``."""

    key: str
    url: str


class LogTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[log]``; how many witnesses must have cosigned has no default either."""

    key: str
    signers: tuple[str, ...]
    quorum: int
    witnesses: dict[str, WitnessTable]


class PolicyTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    origin: str
    serial: int
    log: LogTable
    operators: dict[str, OperatorTable]
    tiers: dict[str, TierTable]
    requesters: dict[str, RequesterTable]
    approvers: dict[str, ApproverTable]


class _LogSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str
    signers: tuple[str, ...]
    quorum: int
    witnesses: dict[str, object] = {}


class _Sections(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    origin: str
    serial: int
    log: object
    operators: dict[str, object]
    tiers: dict[str, object]
    requesters: dict[str, object]
    approvers: dict[str, object] = {}


def read_tables(raw: bytes, source: str) -> PolicyTable:
    """Decode TOML into tables of known members and types. Raises ``Rejected`` ``policy-invalid``."""
    read = _converted(_toml(raw, source), _Sections, (), source)
    # Each table by itself, because msgspec's own place leaves out the names of a mapping.
    return PolicyTable(
        read.origin,
        read.serial,
        _log(read.log, source),
        {n: _converted(v, OperatorTable, ("operators", n), source) for n, v in read.operators.items()},
        {n: _converted(v, TierTable, ("tiers", n), source) for n, v in read.tiers.items()},
        {n: _converted(v, RequesterTable, ("requesters", n), source) for n, v in read.requesters.items()},
        {n: _converted(v, ApproverTable, ("approvers", n), source) for n, v in read.approvers.items()},
    )


def _log(value: object, source: str) -> LogTable:
    read = _converted(value, _LogSection, ("log",), source)
    witnesses = {n: _converted(v, WitnessTable, ("log", "witnesses", n), source) for n, v in read.witnesses.items()}
    return LogTable(read.key, read.signers, read.quorum, witnesses)


def is_name(text: str) -> bool:
    """Whether the policy may name something so: lower-case letters, digits, dots and dashes."""
    return _NAME.fullmatch(text) is not None


def refuse_bad_names(section: str, names: Iterable[str], source: str) -> None:
    """Raises ``Rejected`` ``policy-invalid`` unless :func:`is_name` takes each."""
    for name in names:
        if not is_name(name):
            raise refusal(source, f"{section}.{name[:64]!a}", "names are lower-case letters, digits, dots and dashes")


def refusal(source: str, place: str, sentence: str) -> Rejected:
    """Say what is wrong in which place of which file."""
    return Rejected("policy-invalid", f"{source}: {place}: {sentence}.")


def _toml(raw: bytes, source: str) -> dict[str, object]:
    if len(raw) > MAX_POLICY_BYTES:
        raise refusal(source, "the file", f"is over {MAX_POLICY_BYTES} bytes")
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise refusal(source, "the file", "is not UTF-8") from error
    except RecursionError as error:
        raise refusal(source, "the file", "is nested too deeply") from error
    except ValueError as error:
        # TOMLDecodeError, and Python's limit on the digits of a number.
        raise refusal(source, "the file", f"is not TOML: {str(error)[:200]}") from error


def _converted(value: object, table: type[_T], within: tuple[str, ...], source: str) -> _T:
    try:
        return msgspec.convert(value, table, builtin_types=(datetime, date, time))
    except msgspec.ValidationError as error:
        sentence, _, inner = str(error).partition(" - at `$")
        place = ".".join(
            f"{name[:64]}" if name.isascii() and name.isprintable() else ascii(name[:64]) for name in within
        )
        raise refusal(source, (place + inner.rstrip("`")).lstrip(".") or "the file", sentence) from error
