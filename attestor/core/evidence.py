"""Read the evidence of a release again from the envelopes themselves, believing nothing that a database says of them (P9)."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from attestor.core.claims import Claim, claims_of
from attestor.core.envelope import verify
from attestor.core.errors import AttestorError
from attestor.core.naming import Release
from attestor.core.policy import Policy
from attestor.core.statement import WithdrawalStatement, parse_attestation, read_statement


@dataclass(frozen=True, slots=True)
class Reading:
    """What verified envelopes say of one release."""

    claims: tuple[Claim, ...]
    withdrawn: frozenset[tuple[str, bytes]]
    """(operator, payload digest), taken back by a key that is not revoked."""
    doubted: frozenset[tuple[str, bytes]] = frozenset()
    """The same, taken back by revoked keys alone: it may have been their thief."""

    def unverified(self, logged: AbstractSet[tuple[str, bytes]]) -> frozenset[tuple[str, bytes]]:
        """Of what the log says was taken back, what no key of the policy vouches for: that key has left it."""
        return frozenset(logged - self.withdrawn - self.doubted)


def read_evidence(
    release: Release,
    envelopes: Iterable[tuple[str, bytes, datetime]],
    withdrawals: Iterable[bytes],
    policy: Policy,
) -> Reading:
    """Verify and decode every envelope anew; what does not verify, or speaks of another release, says nothing."""
    claims: dict[tuple[str, bytes], Claim] = {}
    for _, envelope, received_at in envelopes:
        for claim in _claims(envelope, received_at, policy):
            if claim.release == release:
                claims.setdefault((claim.operator, claim.payload_digest), claim)
    taken_back = [said for each in withdrawals for said in _taken_back(each, release, policy)]
    withdrawn = frozenset(pair for pair, revoked in taken_back if not revoked)
    return Reading(tuple(claims.values()), withdrawn, frozenset(pair for pair, _ in taken_back) - withdrawn)


def _claims(envelope: bytes, received_at: datetime, policy: Policy) -> tuple[Claim, ...]:
    try:
        verified = verify(parse_attestation(envelope), policy.key_ring)
        statement = read_statement(verified)
        if isinstance(statement, WithdrawalStatement):
            return ()
        return claims_of(
            statement,
            signers=verified.keys,
            payload_digest=verified.payload_digest,
            policy=policy,
            received_at=received_at,
        )
    except AttestorError:
        return ()


def _taken_back(envelope: bytes, release: Release, policy: Policy) -> list[tuple[tuple[str, bytes], bool]]:
    """What each key takes back, and whether it is revoked by now; an expired key's word was final."""
    try:
        verified = verify(parse_attestation(envelope), policy.key_ring)
        statement = read_statement(verified)
    except AttestorError:
        return []
    if not isinstance(statement, WithdrawalStatement) or (statement.origin, statement.release_id) != (
        policy.origin,
        release.id,
    ):
        return []
    held = (policy.keys[key] for key in verified.keys)
    return [((key.operator, statement.payload_digest), key.revoked) for key in held]
