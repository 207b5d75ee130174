"""The verification summary of a signed release (SLSA VSA, ``https://slsa.dev/verification_summary/v1``), sealed by a signer.

It is a function of the decision entry and the policy alone, so whoever has both writes the same bytes again. Its URIs name
and need not resolve: the verifier is ``https://ORIGIN``, the policy ``https://ORIGIN/policy/SERIAL``. Each counted
attestation is named by the URL at which the service gives it out, with the SHA-256 of its signed bytes (for DSSE the PAE); the
evidence document, which names every envelope that was weighed by the SHA-256 of the file, stands behind them.
"""

from typing import Final, Literal

import msgspec

from attestor.core import canonical
from attestor.core.entries import DecisionEntry
from attestor.core.envelope import IN_TOTO, Signature, encode_envelope, parse_envelope
from attestor.core.errors import AttestorError, Malformed
from attestor.core.past import LoggedDecision
from attestor.core.policy import Policy
from attestor.core.seal import Seal, SealRing

PREDICATE: Final = "https://slsa.dev/verification_summary/v1"
SLSA_VERSION: Final = "1.2"


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    pass


class Sha256(_Part, frozen=True, kw_only=True):
    """A digest set of one."""

    sha256: str


class BothDigests(Sha256, frozen=True, kw_only=True):
    """What the file is."""

    sha512: str


class SummarySubject(_Part, frozen=True, kw_only=True):
    """The file by its own name."""

    name: str
    digest: BothDigests


class Verifier(_Part, frozen=True, kw_only=True):
    """Who verified."""

    id: str


class Named(_Part, frozen=True, kw_only=True):
    """An in-toto resource descriptor: what was verified with, or verified."""

    uri: str
    digest: Sha256


class SummaryPredicate(_Part, frozen=True, kw_only=True):
    """SLSA's members, in which all of it is said."""

    verifier: Verifier
    time_verified: str
    resource_uri: str
    policy: Named
    input_attestations: tuple[Named, ...]
    verification_result: Literal["PASSED"]
    verified_levels: tuple[str, ...]
    """``ATTESTOR_<n>_OF_<m>``: so many operators had to agree, of so many in the tier."""
    slsa_version: str


class Summary(_Part, frozen=True, kw_only=True):
    """An in-toto Statement v1 about one file."""

    type_: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(
        name="_type", default="https://in-toto.io/Statement/v1"
    )
    subject: tuple[SummarySubject]
    predicate_type: Literal["https://slsa.dev/verification_summary/v1"] = PREDICATE
    predicate: SummaryPredicate


_DECODER: Final = msgspec.json.Decoder(Summary)


def summary_of(entry: DecisionEntry, policy: Policy) -> Summary:
    """What a signer says of a release after the decision to sign it under *policy*."""
    tier = next(tier for tier in policy.tiers if tier.name == entry.tier)
    verifier = f"https://{policy.origin}"
    release = entry.release
    digest = BothDigests(sha256=entry.artifact.sha256, sha512=entry.artifact.sha512)
    votes = (
        Named(
            uri=f"{verifier}/v1/releases/{release.id}/envelopes/{vote.operator}/{vote.payload}",
            digest=Sha256(sha256=vote.payload),
        )
        for vote in entry.counted
    )
    evidence = Named(
        uri=f"{verifier}/v1/releases/{release.id}/bundle#evidence", digest=Sha256(sha256=entry.evidence or "")
    )
    return Summary(
        subject=(SummarySubject(name=release.file_name, digest=digest),),
        predicate=SummaryPredicate(
            verifier=Verifier(id=verifier),
            time_verified=entry.created or "",
            resource_uri=release.purl,
            policy=Named(uri=f"{verifier}/policy/{policy.serial}", digest=Sha256(sha256=policy.digest)),
            input_attestations=(*votes, evidence),
            verification_result="PASSED",
            verified_levels=(f"ATTESTOR_{tier.threshold}_OF_{len(tier.operators)}",),
            slsa_version=SLSA_VERSION,
        ),
    )


def summary_envelope(logged: LoggedDecision, policy: Policy, seal: Seal) -> bytes:
    """The summary in a DSSE envelope under the signer's seal; the same arguments give the same bytes."""
    payload = canonical.encode(summary_of(logged.entry, policy))
    return encode_envelope(IN_TOTO, payload, [Signature(seal.public.fingerprint, seal.sign(IN_TOTO, payload))])


def read_summary(raw: bytes, ring: SealRing) -> Summary:
    """Read a summary that one of the policy's signers sealed; the envelope and the payload have one spelling each.

    Raises ``Malformed`` ``summary-malformed``; ``Rejected`` ``seal-unknown``, ``seal-invalid``.
    """
    try:
        envelope = parse_envelope(raw)
    except AttestorError as error:
        raise Malformed(
            "summary-malformed", f"The verification summary is no DSSE envelope: {error.sentence}"
        ) from None
    signature, *more = envelope.signatures
    if more or encode_envelope(IN_TOTO, envelope.payload, [signature]) != raw:
        raise Malformed("summary-malformed", "The summary's envelope holds more than the signer's seal.")
    ring.verify(signature.keyid, signature.sig, IN_TOTO, envelope.payload)
    read = canonical.decode(envelope.payload, _DECODER, "summary-malformed", "verification summary")
    canonical.refuse_other_spelling(
        envelope.payload, canonical.encode(read), "summary-malformed", "verification summary"
    )
    return read
