"""The query strings that are read, as types; a parameter that is unknown, doubled or badly encoded is refused."""

import json
from datetime import datetime
from typing import Annotated, Final, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, Meta, UnsetType

from attestor.core.entries import Uuid
from attestor.core.errors import Malformed
from attestor.core.wire import MAX_PAGE, Sha256Hex

_MAX_FIELDS: Final = 16
_MAX_SENTENCE: Final = 200

# Printable ASCII: nothing else names anything here, and PostgreSQL takes no NUL.
Text = Annotated[str, Meta(min_length=1, max_length=512, pattern=r"^[ -~]+\Z")]
Limit = Annotated[int, Meta(ge=1, le=MAX_PAGE, description="how many at most")]
# Not a datetime: of text that stands for a number, the decoder would make a moment too.
Moment = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}([.][0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})\Z",
        description="RFC 3339",
        extra_json_schema={"format": "date-time"},
    ),
]
RequestState = Literal["waiting", "queued", "claimed", "signed", "refused", "aside", "withdrawn"]


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands after the ``?``."""


class ReleasesQuery(Query, frozen=True):
    """Which releases: all that is given must match."""

    purl: Text | UnsetType = UNSET
    file: Text | UnsetType = UNSET
    digest: Sha256Hex | UnsetType = UNSET
    tier: Text | UnsetType = UNSET
    state: Literal["pending", "reached", "disputed"] | UnsetType = UNSET
    cursor: Text | UnsetType = UNSET
    limit: Limit = 100


class BundleQuery(Query, frozen=True):
    """Of which bytes: the first that were signed, where no digest is given."""

    digest: Sha256Hex | UnsetType = UNSET


class SuspectsQuery(Query, frozen=True):
    """Which revoked keys, and what was received since when; ``limit`` is how many signed releases are looked through."""

    operator: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}\Z")] | UnsetType = UNSET
    since: Moment | UnsetType = UNSET
    cursor: Text | UnsetType = UNSET
    limit: Limit = MAX_PAGE

    @property
    def since_when(self) -> datetime | None:
        """Raises ``Malformed`` ``query-invalid`` for a moment that no calendar has."""
        try:
            return None if isinstance(self.since, UnsetType) else msgspec.convert(self.since, datetime)
        except msgspec.ValidationError as error:
            raise _invalid(str(error)) from None


class RequestsQuery(Query, frozen=True):
    """Which signing requests."""

    state: RequestState | UnsetType = UNSET
    cursor: Text | UnsetType = UNSET
    limit: Limit = 100


class ApprovalsQuery(Query, frozen=True):
    """Which approvals: all that is given must match."""

    tier: Text | UnsetType = UNSET
    approver: Text | UnsetType = UNSET
    release: Sha256Hex | UnsetType = UNSET
    cursor: Sha256Hex | UnsetType = UNSET
    limit: Limit = 100


class WantedQuery(Query, frozen=True):
    """Which of the signing requests that wait for people: one by its id, or a page."""

    request: Uuid | UnsetType = UNSET
    cursor: Text | UnsetType = UNSET
    limit: Limit = 100


class WaitQuery(Query, frozen=True):
    """How long to wait for the request to settle, in seconds."""

    wait: Annotated[int, Meta(ge=0, le=60)] = 0


T = TypeVar("T", bound=Query)


def read(raw: str, type_: type[T]) -> T:
    """Decode a raw query string. Raises ``Malformed`` ``query-invalid``."""
    if not raw:
        return type_()
    try:
        pairs = parse_qsl(raw, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise _invalid(str(error)) from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _invalid("a parameter stands there twice")
    try:
        return msgspec.convert(fields, type_, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None


def _invalid(why: str) -> Malformed:
    return Malformed("query-invalid", f"The query string does not fit: {json.dumps(why)[1:-1][:_MAX_SENTENCE]}.")
