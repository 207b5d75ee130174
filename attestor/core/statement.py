"""What verified bytes say: from :class:`~attestor.core.envelope.Verified` to one frozen value.

The type is the permit: nothing here takes bytes that no known key signed. Forms that are ours (``rebuild``, withdrawal)
refuse unknown members, so nothing can be said that is not understood; in-toto's forms ignore them, as its specification
demands of consumers. The forms on the wire are in :mod:`attestor.core.predicates`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from attestor.core import predicates as wire
from attestor.core import strictjson
from attestor.core.envelope import (
    IN_TOTO,
    MAX_DEPTH,
    WITHDRAWAL,
    Envelope,
    Verified,
    envelope_of,
    read_form,
    refuse_oversized,
)
from attestor.core.errors import Malformed, Rejected
from attestor.core.link import Link, parse_link
from attestor.core.naming import Release, parse_release

MAX_SUBJECTS: Final = 256
REBUILD: Final = "urn:attestor:rebuild:v1"
LINK: Final = "https://in-toto.io/attestation/link/v0.3"
PROVENANCE: Final = "https://slsa.dev/provenance/v1"


@dataclass(frozen=True, slots=True)
class Subject:
    """One file, named by its plain file name and its digests."""

    name: str
    sha256: bytes
    """32 bytes."""
    sha512: bytes | None = None
    """64 bytes, where stated."""
    size: int | None = None
    """Bytes, where stated."""


@dataclass(frozen=True, slots=True)
class RebuildStatement:
    """``urn:attestor:rebuild:v1``: what one rebuilder got, or that it got nothing."""

    release: Release
    outcome: Literal["built", "failed"]
    subject: Subject | None
    """The file with sha256, sha512 and size when ``built``, else ``None``."""
    inputs: tuple[Subject, ...] = ()
    started_on: datetime | None = None
    finished_on: datetime | None = None
    log_digest: bytes | None = None
    """SHA-256 of the build log."""


@dataclass(frozen=True, slots=True)
class LinkStatement:
    """An in-toto link named ``rebuild <product>`` with exactly that product, legacy or link v0.3."""

    name: str
    product: Subject


@dataclass(frozen=True, slots=True)
class ProvenanceStatement:
    """SLSA provenance v1; which build types and builders count is the policy's matter."""

    build_type: str
    builder_id: str
    subjects: tuple[Subject, ...]


@dataclass(frozen=True, slots=True)
class WithdrawalStatement:
    """An operator takes one of its payloads back, for good."""

    origin: str
    release_id: str
    payload_digest: bytes
    reason: str


Statement = RebuildStatement | LinkStatement | ProvenanceStatement | WithdrawalStatement


def parse_attestation(raw: bytes) -> Envelope | Link:
    """Read an attestation in whichever of the two formats its members show.

    Raises as :func:`attestor.core.envelope.parse_envelope` and :func:`attestor.core.link.parse_link`, and ``Malformed``
    ``unknown-format`` for neither or both.
    """
    refuse_oversized(raw)
    document = strictjson.decode(raw, limit_depth=MAX_DEPTH)
    members = document.keys() if isinstance(document, dict) else frozenset()
    match "payload" in members, "signed" in members:
        case True, False:
            return envelope_of(document)
        case False, True:
            return parse_link(raw)
    raise Malformed("unknown-format", "The document is neither a DSSE envelope nor an in-toto link.")


def read_statement(verified: Verified) -> Statement:
    """Say what verified bytes say.

    Raises ``Malformed``: those of :mod:`attestor.core.strictjson`, ``not-a-statement``; ``Rejected``:
    ``unknown-payload-type``, ``unknown-predicate``, ``no-subject``, ``too-many-subjects``, ``two-digests``, ``bad-name``,
    ``sha256-missing``, ``sha512-missing``, ``bad-digest``, ``bad-time``, ``times-disagree``, ``size-missing``,
    ``size-unexpected``, ``subject-not-file``, ``subjects-not-inputs``, ``link-not-one-product``, ``equivalence-is-no-vote``,
    ``bad-origin``, ``bad-reason``, and what :func:`attestor.core.naming.parse_release` raises.
    """
    if verified.payload_type is None:
        return _legacy_link(strictjson.decode(verified.payload, limit_depth=MAX_DEPTH, integers_only=True))
    if verified.payload_type == IN_TOTO:
        return _in_toto(strictjson.decode(verified.payload, limit_depth=MAX_DEPTH))
    if verified.payload_type == WITHDRAWAL:
        return _withdrawal(strictjson.decode(verified.payload, limit_depth=MAX_DEPTH))
    raise Rejected("unknown-payload-type", f"Envelopes carry {IN_TOTO} or {WITHDRAWAL}; nothing else is read.")


def rebuild_payload(statement: RebuildStatement) -> bytes:
    """Make the bytes that a rebuilder signs (as :func:`attestor.core.envelope.pae` under ``IN_TOTO``).

    :func:`read_statement` gives ``statement`` back; what it would refuse is refused here, with the same errors. Times are UTC.
    """
    subject = statement.subject
    predicate: dict[str, object] = {
        "release": {
            "kind": str(statement.release.kind),
            "purl": statement.release.purl,
            "fileName": statement.release.file_name,
        },
        "outcome": statement.outcome,
        "inputs": [_descriptor(one) for one in statement.inputs],
        "size": None if subject is None else subject.size,
        "startedOn": _spelled(statement.started_on),
        "finishedOn": _spelled(statement.finished_on),
        "logDigest": None if statement.log_digest is None else statement.log_digest.hex(),
    }
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [_descriptor(one) for one in (statement.inputs if subject is None else [subject])],
        "predicateType": REBUILD,
        "predicate": {name: value for name, value in predicate.items() if value is not None},
    }
    return _checked(document, _in_toto)


def withdrawal_payload(statement: WithdrawalStatement) -> bytes:
    """Make the bytes that an operator signs (under ``WITHDRAWAL``); refuses what :func:`read_statement` would refuse."""
    document = {
        "origin": statement.origin,
        "releaseId": statement.release_id,
        "payloadDigest": statement.payload_digest.hex(),
        "reason": statement.reason,
    }
    return _checked(document, _withdrawal)


def _checked(document: object, read: Callable[[object], Statement]) -> bytes:
    payload = msgspec.json.encode(document)
    read(strictjson.decode(payload, limit_depth=MAX_DEPTH))
    return payload


def _descriptor(subject: Subject) -> dict[str, object]:
    digests = {"sha256": subject.sha256.hex()}
    if subject.sha512 is not None:
        digests["sha512"] = subject.sha512.hex()
    return {"name": subject.name, "digest": digests}


def _spelled(moment: datetime | None) -> str | None:
    # A naive time or another zone stays without Z, and is then refused as the service would refuse it.
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def _in_toto(document: object) -> Statement:
    stated = document.get("predicateType") if isinstance(document, dict) else None
    if stated == REBUILD:
        return _rebuild(document)
    if stated == LINK:
        return _link(document)
    if stated == PROVENANCE:
        return _provenance(document)
    raise Rejected("unknown-predicate", f"Statements carry {REBUILD}, {LINK} or {PROVENANCE}; nothing else is read.")


def _rebuild(document: object) -> RebuildStatement:
    form = read_form(document, wire.Rebuild, "not-a-statement")
    said = form.predicate
    release = parse_release(said.release.kind, said.release.purl, said.release.file_name)
    subjects, inputs = _subjects(form.subject), _distinct(said.inputs)
    started_on, finished_on = wire.moment(said.started_on), wire.moment(said.finished_on)
    if started_on is not None and finished_on is not None and finished_on < started_on:
        raise Rejected("times-disagree", "The build finished before it started; state the times as they were.")
    subject = None
    if said.outcome == "built":
        subject = _built_file(release, subjects, said.size)
    else:
        _refuse_other_subjects(subjects, inputs, said.size)
    log_digest = None if said.log_digest is UNSET else wire.digest(said.log_digest, "sha256")
    return RebuildStatement(release, said.outcome, subject, inputs, started_on, finished_on, log_digest)


def _built_file(release: Release, subjects: tuple[Subject, ...], size: int | UnsetType) -> Subject:
    if [subject.name for subject in subjects] != [release.file_name]:
        raise Rejected("subject-not-file", f"The subject of a build is exactly the file {release.file_name}.")
    if subjects[0].sha512 is None:
        raise Rejected("sha512-missing", "The built file is stated without its sha512; add it.")
    if isinstance(size, UnsetType):
        raise Rejected("size-missing", "The built file is stated without its size; add it.")
    return replace(subjects[0], size=size)


def _refuse_other_subjects(subjects: tuple[Subject, ...], inputs: tuple[Subject, ...], size: int | UnsetType) -> None:
    if not isinstance(size, UnsetType):
        raise Rejected("size-unexpected", "A failed build has no file, and so no size; leave it out.")
    if frozenset(subjects) != frozenset(inputs):
        raise Rejected("subjects-not-inputs", "The subjects of a failed build are exactly its inputs.")


def _link(document: object) -> LinkStatement:
    form = read_form(document, wire.Statement[wire.LinkPredicate], "not-a-statement")
    return _one_product(form.predicate.name, _subjects(form.subject))


def _legacy_link(document: object) -> LinkStatement:
    form = read_form(document, wire.LegacyLink, "not-a-statement")
    return _one_product(form.name, _subjects(wire.Descriptor(*product) for product in form.products.items()))


def _one_product(name: str, products: tuple[Subject, ...]) -> LinkStatement:
    if len(products) != 1 or name != f"rebuild {products[0].name}":
        raise Rejected("link-not-one-product", "A link is named `rebuild <product>` and has exactly that product.")
    return LinkStatement(name, products[0])


def _provenance(document: object) -> ProvenanceStatement:
    form = read_form(document, wire.Statement[wire.ProvenancePredicate], "not-a-statement")
    build_type = form.predicate.build_definition.build_type
    if "artifactequivalence" in build_type.lower():
        raise Rejected(
            "equivalence-is-no-vote",
            "ArtifactEquivalence says that files are alike after normalisation; attest the rebuilt bytes themselves.",
        )
    return ProvenanceStatement(build_type, form.predicate.run_details.builder.id, _subjects(form.subject))


def _withdrawal(document: object) -> WithdrawalStatement:
    form = read_form(document, wire.Withdrawal, "not-a-statement")
    return WithdrawalStatement(
        wire.origin(form.origin),
        wire.digest(form.release_id, "sha256").hex(),
        wire.digest(form.payload_digest, "sha256"),
        wire.reason(form.reason),
    )


class _Described(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> wire.Digests: ...


def _subjects(listed: Iterable[_Described]) -> tuple[Subject, ...]:
    described = list(listed)
    if not described:
        raise Rejected("no-subject", "The statement is about nothing; name at least one file.")
    if len(described) > MAX_SUBJECTS:
        raise Rejected(
            "too-many-subjects", f"The statement names {len(described)} files; {MAX_SUBJECTS} are the limit."
        )
    return _distinct(described)


def _distinct(listed: Iterable[_Described]) -> tuple[Subject, ...]:
    """Each name once; a name listed twice must say the same (real builders do list one twice with two digests)."""
    found: dict[str, Subject] = {}
    for one in listed:
        sha512 = None if one.digest.sha512 is UNSET else wire.digest(one.digest.sha512, "sha512")
        subject = Subject(wire.file_name(one.name), wire.digest(one.digest.sha256, "sha256"), sha512)
        if found.setdefault(subject.name, subject) != subject:
            raise Rejected("two-digests", f"The statement gives {subject.name} two different digests.")
    return tuple(found.values())
