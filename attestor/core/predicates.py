"""The forms of payloads on the wire, and readers of their single members; what they mean is :mod:`attestor.core.statement`.

Sources: in-toto Statement v1, link v0.3, the legacy link of in-toto 0.9, SLSA provenance v1. ``Rebuild`` and ``Withdrawal``
are ours: their JSON Schemas stand in ``ops/schemas``, and a test holds that schema and reader agree.
"""

import re
from datetime import datetime
from typing import Annotated, Final, Generic, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType, field

from attestor.core.errors import Rejected
from attestor.core.strictjson import MAX_INTEGER

MAX_INPUTS: Final = 1024

_P = TypeVar("_P")
_STATEMENT_V1 = Literal["https://in-toto.io/Statement/v1"]
_Identifier = Annotated[str, Meta(min_length=1, max_length=1024)]

# Printable ASCII but slash and backslash.
_FILE_NAME = re.compile(r"(?!\.{1,2}\Z)[ -.0-\[\]-~]{1,255}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
# RFC 3339 §5.6 with UTC written as Z; at most microseconds, which is what datetime holds.
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z", re.ASCII)
_ORIGIN = re.compile(r"[!-*,-~]{1,255}", re.ASCII)
# No control characters and none that turns the reading direction: people read the reason in a terminal.
_REASON = re.compile(r"[^\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]{1,500}")


class Digests(Struct):
    """An in-toto DigestSet; other algorithms are ignored."""

    sha256: str | UnsetType = UNSET
    sha512: str | UnsetType = UNSET


class Descriptor(Struct):
    """An in-toto ResourceDescriptor."""

    name: str
    digest: Digests


class Statement(Struct, Generic[_P], rename="camel"):
    """An in-toto Statement v1 around somebody's predicate."""

    type_: _STATEMENT_V1 = field(name="_type")
    subject: list[Descriptor]
    predicate: _P


class LinkPredicate(Struct):
    """in-toto's link v0.3, whose products are the subjects."""

    name: str


class LegacyLink(Struct):
    """The ``signed`` part of a legacy link."""

    type_: Literal["link"] = field(name="_type")
    name: str
    products: dict[str, Digests]


class BuildDefinition(Struct, rename="camel"):
    """The part of a SLSA build definition that a policy names."""

    build_type: _Identifier


class Builder(Struct):
    """The SLSA builder that a policy names."""

    id: _Identifier


class RunDetails(Struct):
    """How a SLSA build ran."""

    builder: Builder


class ProvenancePredicate(Struct, rename="camel"):
    """SLSA provenance v1."""

    build_definition: BuildDefinition
    run_details: RunDetails


class OurDigests(Digests, forbid_unknown_fields=True):
    """A digest set of ours: sha256 and sha512 alone."""


class OurDescriptor(Struct, forbid_unknown_fields=True):
    """A file in a form of ours."""

    name: str
    digest: OurDigests


class ReleaseNames(Struct, rename="camel", forbid_unknown_fields=True):
    """The three names of a release."""

    kind: str
    purl: str
    file_name: str


class RebuildPredicate(Struct, rename="camel", forbid_unknown_fields=True):
    """``urn:attestor:rebuild:v1``."""

    release: ReleaseNames
    outcome: Literal["built", "failed"]
    inputs: Annotated[list[OurDescriptor], Meta(max_length=MAX_INPUTS)]
    size: Annotated[int, Meta(ge=1, le=MAX_INTEGER)] | UnsetType = UNSET
    started_on: str | UnsetType = UNSET
    finished_on: str | UnsetType = UNSET
    log_digest: str | UnsetType = UNSET


class Rebuild(Struct, rename="camel", forbid_unknown_fields=True):
    """A whole statement around our predicate; as strict as the predicate, which in-toto leaves to its author."""

    type_: _STATEMENT_V1 = field(name="_type")
    subject: list[OurDescriptor]
    predicate_type: str
    predicate: RebuildPredicate


class Withdrawal(Struct, rename="camel", forbid_unknown_fields=True):
    """The payload of ``application/vnd.attestor.withdrawal+json``."""

    origin: str
    release_id: str
    payload_digest: str
    reason: str


def file_name(text: str) -> str:
    """One plain name of printable ASCII. Raises ``Rejected`` ``bad-name``."""
    if not _FILE_NAME.fullmatch(text):
        raise Rejected(
            "bad-name", f"{text[:64]!a} is not a plain file name: 1 to 255 printable ASCII characters without a slash."
        )
    return text


def digest(text: str | UnsetType, algorithm: Literal["sha256", "sha512"]) -> bytes:
    """Lower-case hex of exactly that algorithm's length. Raises ``Rejected``: ``sha256-missing``, ``sha512-missing``, ``bad-digest``."""
    if isinstance(text, UnsetType):
        raise Rejected(f"{algorithm}-missing", f"A file is stated without its {algorithm}; add it.")
    length = 64 if algorithm == "sha256" else 128
    if len(text) != length or not _HEX.fullmatch(text):
        raise Rejected("bad-digest", f"A {algorithm} is not {length} characters of lower-case hex.")
    return bytes.fromhex(text)


def moment(text: str | UnsetType) -> datetime | None:
    """RFC 3339 in UTC, where stated. Raises ``Rejected`` ``bad-time``."""
    if isinstance(text, UnsetType):
        return None
    try:
        if _MOMENT.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise Rejected("bad-time", "A time is not RFC 3339 in UTC; write it like 2025-10-12T08:30:00Z.")


def origin(text: str) -> str:
    """The name of a service's log, as C2SP spells origins: no space, no plus. Raises ``Rejected`` ``bad-origin``."""
    if not _ORIGIN.fullmatch(text):
        raise Rejected("bad-origin", "The origin is not 1 to 255 printable ASCII characters without space and plus.")
    return text


def reason(text: str) -> str:
    """A sentence for people. Raises ``Rejected`` ``bad-reason``."""
    if not _REASON.fullmatch(text):
        raise Rejected("bad-reason", "The reason is not one line of 1 to 500 characters without control characters.")
    return text
