"""Rows to values and back; total, so that a row that cannot be read is an error and never a guess."""

from collections.abc import Sequence
from typing import TypeVar

import asyncpg
import msgspec

from attestor.core.claims import Claim, Outcome
from attestor.core.entries import DecisionEntry
from attestor.core.entrybytes import read_entry
from attestor.core.errors import AttestorError, Unavailable
from attestor.core.lanes import Lane
from attestor.core.lifecycle import State
from attestor.core.naming import Release, parse_release
from attestor.core.requests import Content, SigningRequest
from attestor.core.suspects import Signed
from attestor.core.wire import DecisionView
from attestor.service.ports import ReleaseRecord, StoredDecision, Vote

_CONTENT: msgspec.json.Decoder[Content] = msgspec.json.Decoder(Content)
_VIEW = msgspec.json.Decoder(DecisionView)
_T = TypeVar("_T")


def release_of(row: asyncpg.Record, key: str = "id") -> Release:
    """Raises ``Unavailable`` ``row-unreadable`` when names and id do not belong together (P8)."""
    try:
        release = parse_release(row["kind"], row["purl"], row["file_name"])
    except AttestorError as error:
        raise unreadable("a release's names") from error
    if bytes.fromhex(release.id) != row[key]:
        raise unreadable("a release's id")
    return release


def vote_of(row: asyncpg.Record) -> Vote:
    claim = Claim(
        operator=row["operator"],
        release=release_of(row),
        payload_digest=row["payload_digest"],
        form=row["form"],
        keys=frozenset(row["keys"]),
        outcome=Outcome(row["outcome"]),
        sha256=row["sha256"],
        sha512=row["sha512"],
        size=row["size"],
        received_at=row["received_at"],
    )
    return Vote(claim, tuple(row["withdrawals"]))


def record_of(row: asyncpg.Record) -> ReleaseRecord:
    release = release_of(row)
    if row["view"] is None:
        return ReleaseRecord(release, None)
    view = _decoded(_VIEW, row["view"], "a decision")
    return ReleaseRecord(release, StoredDecision(release.id, view, row["holds_until"]))


def request_of(row: asyncpg.Record, release: Release) -> SigningRequest:
    return SigningRequest(
        id=row["id"],
        release=release,
        requester=row["requester"],
        tier=row["tier"],
        size=row["size"],
        sha256=row["sha256"],
        sha512=row["sha512"],
        content=_decoded(_CONTENT, row["content"], "a request's content"),
        content_present=row["content_present"],
        state=State(row["state"]),
        reason=row["reason"],
        sentence=row["sentence"],
        tries=row["tries"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        decided_at=row["decided_at"],
        decided_under=row["decided_under"],
        not_before=row["not_before"],
        lane=Lane(row["lane"]),
    )


def signed_of(row: asyncpg.Record, votes: Sequence[Vote]) -> Signed:
    """Of a signed release with its decision entry."""
    decision = _decision(row["entry"])
    claims = tuple(vote.claim for vote in votes)
    withdrawn = frozenset((vote.claim.operator, vote.claim.payload_digest) for vote in votes if vote.withdrawals)
    return Signed(release_of(row), row["sha256"], row["idx"], decision, claims, withdrawn)


def _decision(raw: bytes) -> DecisionEntry:
    try:
        entry = read_entry(raw)
    except AttestorError as error:
        raise unreadable("a decision entry") from error
    if not isinstance(entry, DecisionEntry):
        raise unreadable("a decision entry")
    return entry


def _decoded(decoder: msgspec.json.Decoder[_T], text: str, what: str) -> _T:
    try:
        return decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise unreadable(what) from error


def unreadable(what: str) -> Unavailable:
    """``row-unreadable``: nothing is decided from what cannot be (P8)."""
    return Unavailable("row-unreadable", f"The database holds {what} that cannot be; nothing is decided from it.")
