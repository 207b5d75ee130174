"""The evidence document: everything that one decision weighed, named by digest in its log entry and carried by a bundle.

Canonical JSON (RFC 8785). Envelopes and withdrawals stand in it by the SHA-256 of their bytes as they came, so that no bit
of an envelope can change unseen, also where no signature covers it.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from attestor.core import canonical
from attestor.core.approvaldocuments import read_approval
from attestor.core.approvals import Given
from attestor.core.claims import Claim
from attestor.core.entries import Code, CountedVote, OperatorName, UncountedVote
from attestor.core.errors import Malformed
from attestor.core.quorum import Reached
from attestor.core.tlog.grammar import read_base64, write_base64
from attestor.core.wire import Sha256Hex

_Moment = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}\.[0-9]{6}Z\Z",
        description="RFC 3339, UTC, microseconds",
    ),
]

Base64 = Annotated[str, Meta(max_length=32768, description="canonical base64")]


class WeighedVote(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """One payload of one operator, counted or with the reason why not."""

    operator: OperatorName
    payload: Sha256Hex
    envelope: Sha256Hex
    """SHA-256 of the envelope's bytes."""
    received_at: _Moment
    reason: Code | None


class SpentApprovalBytes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """An approval that the decision spent, as it was given; its manifest is a document of its own, which it names."""

    key: str
    """The fingerprint of the approver's key."""
    document: Base64
    signature: Base64


class TakenBack(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A payload that its operator took back, by the log's word, with a key that the policy does not know any more."""

    operator: OperatorName
    payload: Sha256Hex


class Dossier(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename="camel",
    kw_only=True,
    tag_field="type",
    tag="evidence",
    omit_defaults=True,
):
    """The document. Votes in the order of operator and payload, withdrawals in the order of their digests."""

    version: Literal[1]
    votes: tuple[WeighedVote, ...]
    withdrawals: tuple[Sha256Hex, ...]
    approvals: tuple[SpentApprovalBytes, ...] = ()
    """In the order of the SHA-256s of what was signed; absent where none was spent."""
    taken_back: tuple[TakenBack, ...] = ()
    """In the order of operator and payload; absent where nothing is. Such a vote neither agrees nor ceases to dissent."""

    @property
    def raw(self) -> bytes:
        return canonical.encode(self)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()


_DECODER: Final = msgspec.json.Decoder(Dossier)


def dossier(
    envelopes: Iterable[tuple[str, bytes, bytes, datetime]],
    withdrawals: Iterable[bytes],
    decision: Reached,
    approvals: Iterable[Given] = (),
    taken_back: Iterable[tuple[str, bytes]] = (),
) -> Dossier:
    """Write down what *decision* weighed: (operator, payload digest, envelope, received at), withdrawals and approvals as they came.

    *taken_back*: (operator, payload digest) of what the log alone says of withdrawals, see :class:`TakenBack`.
    """
    reasons: Mapping[tuple[str, bytes], str] = {
        (said.operator, said.payload_digest): said.reason for said in decision.tally.uncounted
    }
    votes = (
        WeighedVote(
            operator=operator,
            payload=payload.hex(),
            envelope=hashlib.sha256(body).hexdigest(),
            received_at=received.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            reason=reasons.get((operator, payload)),
        )
        for operator, payload, body, received in envelopes
    )
    return Dossier(
        version=1,
        votes=tuple(sorted(votes, key=lambda vote: (vote.operator, vote.payload))),
        withdrawals=tuple(sorted({hashlib.sha256(body).hexdigest() for body in withdrawals})),
        approvals=tuple(
            SpentApprovalBytes(
                key=given.key, document=write_base64(given.document), signature=write_base64(given.signature)
            )
            for given in sorted(approvals, key=lambda each: each.digest)
        ),
        taken_back=tuple(
            TakenBack(operator=operator, payload=payload.hex()) for operator, payload in sorted(taken_back)
        ),
    )


def read_dossier(raw: bytes) -> Dossier:
    """Raises ``Malformed`` ``evidence-malformed`` for any other form than the canonical one."""
    read = canonical.decode(raw, _DECODER, "evidence-malformed", "evidence document")
    canonical.refuse_other_spelling(raw, read.raw, "evidence-malformed", "evidence document")
    return read


def taken_back_in(weighed: Dossier) -> frozenset[tuple[str, bytes]]:
    """(operator, payload digest) of what was taken back by the log's word alone."""
    return frozenset((each.operator, bytes.fromhex(each.payload)) for each in weighed.taken_back)


def manifests_named(weighed: Dossier) -> frozenset[str]:
    """SHA-256, in hex, of each manifest that a spent approval names.

    Raises ``Malformed`` ``evidence-malformed``, ``approval-malformed``.
    """
    named = (read_approval(_bytes_of(spent.document)).manifest for spent in weighed.approvals)
    return frozenset(digest for digest in named if digest is not None)


def approvals_given(weighed: Dossier, manifests: Mapping[str, bytes]) -> tuple[Given, ...]:
    """The spent approvals as they were given in; *manifests* by the SHA-256 that they are named by. Raises as :func:`manifests_named`."""
    given = []
    for spent in weighed.approvals:
        document = _bytes_of(spent.document)
        manifest = manifests.get(read_approval(document).manifest or "")
        given.append(Given(spent.key, document, _bytes_of(spent.signature), manifest))
    return tuple(given)


def received_at(vote: WeighedVote) -> datetime:
    """Raises ``ValueError`` for a moment that no calendar has."""
    return datetime.strptime(vote.received_at, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def counted_votes(weighed: Dossier, agreeing: frozenset[str], claims: Iterable[Claim]) -> tuple[CountedVote, ...]:
    """For each agreeing operator, the first payload of its that states the bytes; *claims* are those that the envelopes hold.

    A failed build is no vote, and what no key of the policy signed says nothing: neither has a reason why it does not count.
    """
    stating = {(claim.operator, claim.payload_digest.hex()) for claim in claims if claim.sha256 is not None}
    first = {}
    for vote in sorted(weighed.votes, key=lambda vote: (vote.received_at, vote.payload), reverse=True):
        if vote.reason is None and vote.operator in agreeing and (vote.operator, vote.payload) in stating:
            first[vote.operator] = vote.payload
    return tuple(CountedVote(operator=operator, payload=first[operator]) for operator in sorted(first))


def not_counted_votes(weighed: Dossier, limit: int) -> tuple[UncountedVote, ...]:
    """The first *limit* votes that did not count."""
    votes = [vote for vote in weighed.votes if vote.reason is not None]
    return tuple(
        UncountedVote(operator=vote.operator, payload=vote.payload, reason=vote.reason or "") for vote in votes[:limit]
    )


def _bytes_of(text: str) -> bytes:
    try:
        return read_base64(text)
    except ValueError:
        raise Malformed(
            "evidence-malformed", "An approval in the evidence is not base64 in its one spelling."
        ) from None
