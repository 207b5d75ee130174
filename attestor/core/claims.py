"""From a verified statement to claims: what a key may say, about which releases, as whose vote.

A claim's release comes from signed bytes and the policy alone, never from a URL, header or request (design §5.3).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from attestor.core.errors import Forbidden, Rejected
from attestor.core.keys import PublicKey
from attestor.core.naming import Release, release_named
from attestor.core.policy import OperatorKey, Policy, Provenance, form_of
from attestor.core.statement import LinkStatement, ProvenanceStatement, RebuildStatement, Subject

VoteStatement = RebuildStatement | LinkStatement | ProvenanceStatement


class Outcome(StrEnum):
    """What a rebuilder saw: a digest, or no result. A failure is evidence, never a vote."""

    BUILT = "built"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Claim:
    """One verified vote of one operator on one release."""

    operator: str
    release: Release
    payload_digest: bytes
    form: str
    keys: frozenset[str]
    """Fingerprints of the operator's keys that signed it."""
    outcome: Outcome
    sha256: bytes | None
    sha512: bytes | None
    size: int | None
    received_at: datetime


def claims_of(
    statement: VoteStatement,
    *,
    signers: frozenset[PublicKey],
    payload_digest: bytes,
    policy: Policy,
    received_at: datetime,
) -> tuple[Claim, ...]:
    """Turn one verified statement into the claims that its signers may make; several operators may have signed one payload.

    Raises ``Forbidden``: ``key-revoked``, ``key-expired``, ``key-not-yet-valid``, ``statement-not-allowed``,
    ``key-out-of-scope``; ``Rejected``: ``name-fits-no-scope``, ``name-fits-two-scopes``.
    """
    held = _speaking(statement, _in_order(policy, signers), received_at)
    claims: dict[tuple[str, str], Claim] = {}
    refusal: Rejected | None = None
    for key in held:
        try:
            # All of a statement or nothing: a subject that is refused takes its neighbours with it, wherever it stands.
            said = tuple(_claims_of_key(statement, key, payload_digest, received_at))
        except Rejected as error:
            refusal = error
        else:
            for claim in said:
                _merge(claims, claim)
    if not claims and refusal is not None:
        raise refusal
    return tuple(claims[place] for place in sorted(claims))


def _in_order(policy: Policy, signers: frozenset[PublicKey]) -> list[OperatorKey]:
    """Sort what a set holds, so that one envelope is always refused with the same words."""
    return [policy.keys[key] for key in sorted(signers, key=lambda key: key.fingerprint)]


def _merge(claims: dict[tuple[str, str], Claim], claim: Claim) -> None:
    """Two keys of one operator under one payload are one claim that stands while either key counts."""
    place = (claim.release.id, claim.operator)
    known = claims.get(place)
    claims[place] = claim if known is None else replace(claim, keys=known.keys | claim.keys)


def _speaking(statement: VoteStatement, held: list[OperatorKey], moment: datetime) -> list[OperatorKey]:
    """Keep the keys that count at *moment* and may make such a statement; say why when none is left."""
    refusals = {key: key.refusal_at(moment) for key in held}
    valid = [key for key, refusal in refusals.items() if refusal is None]
    if not valid:
        code = min(filter(None, refusals.values()))
        raise Forbidden(
            code,
            f"The key of operator {held[0].operator} does not count now ({code}); sign with a valid key of the policy.",
        )
    form = statement_form(statement)
    allowed = [key for key in valid if key.may_say(form)]
    if not allowed:
        raise Forbidden(
            "statement-not-allowed", f"The policy lets no signing key of operator {valid[0].operator} say {form!r}."
        )
    return allowed


def statement_form(statement: VoteStatement) -> str:
    """Name the form as the policy does: ``rebuild``, ``link`` or ``provenance BUILD_TYPE BUILDER_ID``."""
    match statement:
        case RebuildStatement():
            return "rebuild"
        case LinkStatement():
            return "link"
        case ProvenanceStatement():
            return form_of(Provenance(build_type=statement.build_type, builder_id=statement.builder_id))


def _claims_of_key(
    statement: VoteStatement, key: OperatorKey, payload_digest: bytes, received_at: datetime
) -> Iterator[Claim]:
    for release, subject in _votes(statement, key):
        yield Claim(
            operator=key.operator,
            release=release,
            payload_digest=payload_digest,
            form=statement_form(statement),
            keys=frozenset({key.public_key.fingerprint}),
            outcome=Outcome.FAILED if subject is None else Outcome.BUILT,
            sha256=subject.sha256 if subject else None,
            sha512=subject.sha512 if subject else None,
            size=subject.size if subject else None,
            received_at=received_at,
        )


def _votes(statement: VoteStatement, key: OperatorKey) -> Iterator[tuple[Release, Subject | None]]:
    match statement:
        case RebuildStatement():
            if not key.covers(statement.release):
                raise Forbidden(
                    "key-out-of-scope",
                    f"No scope of this key of operator {key.operator} covers {statement.release.purl}.",
                )
            yield statement.release, statement.subject
        case LinkStatement():
            yield _release_in_scope(statement.product.name, key), statement.product
        case ProvenanceStatement():
            for subject in statement.subjects:
                yield _release_in_scope(subject.name, key), subject


def _release_in_scope(file_name: str, key: OperatorKey) -> Release:
    """Name the release that a bare file name means within the key's scopes: exactly one, else nothing."""
    named = {
        release
        for scope in key.scopes
        if (release := release_named(scope.kind, scope.type, scope.namespace, file_name)) is not None
        and scope.covers(release)
    }
    if len(named) == 1:
        return named.pop()
    code, found = ("name-fits-two-scopes", "more than one scope") if named else ("name-fits-no-scope", "no scope")
    raise Rejected(
        code,
        f"The file name {file_name!r} fits {found} of this key of operator {key.operator}; attest it with a purl (predicate urn:attestor:rebuild:v1).",
    )
