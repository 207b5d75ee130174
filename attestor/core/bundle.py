"""The bundle: all that an offline check of one signed release needs, in one document of one spelling (design §8).

RFC 8785, no member beyond these, binary parts in canonical base64, proofs as the text of C2SP tlog-proof@v1. Envelopes,
withdrawals and manifests stand in the order of their SHA-256, each once; the member ``manifests`` is left out where there are
none. Reading believes nothing: :mod:`attestor.core.bundlecheck` does.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from attestor.core import canonical
from attestor.core.entries import NamedArtifact
from attestor.core.errors import Malformed, TooLarge
from attestor.core.naming import Release
from attestor.core.tlog.grammar import read_base64, write_base64

MAX_BUNDLE: Final = 64 << 20
"""Bytes that are read at most: over a hundred envelopes of the largest kind."""


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    pass


class BundledRelease(_Part, frozen=True, kw_only=True):
    """The release by its three names."""

    kind: Literal["package", "database", "iso", "vm"]
    purl: str
    file_name: str


class _Logged(_Part, frozen=True, kw_only=True):
    entry: str
    proof: str


class _Document(_Part, frozen=True, kw_only=True, tag_field="type", tag="attestor-bundle", omit_defaults=True):
    version: Literal[1]
    release: BundledRelease
    artifact: NamedArtifact
    policy: str
    evidence: str
    envelopes: tuple[str, ...]
    withdrawals: tuple[str, ...]
    signature: str
    decision: _Logged
    signed: _Logged
    summary: str
    manifests: tuple[str, ...] = ()


_DECODER: Final = msgspec.json.Decoder(_Document)


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """An entry's bytes, and the tlog-proof of its place in the log."""

    entry: bytes
    proof: bytes


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle's parts as bytes; none is verified."""

    release: BundledRelease
    artifact: NamedArtifact
    policy: bytes
    """The policy file."""
    evidence: bytes
    """The dossier (:mod:`attestor.core.dossier`)."""
    envelopes: tuple[bytes, ...]
    withdrawals: tuple[bytes, ...]
    signature: bytes
    """Binary detached OpenPGP signature."""
    decision: LoggedEntry
    signed: LoggedEntry
    summary: bytes
    """The verification summary's DSSE envelope."""
    manifests: tuple[bytes, ...] = ()
    """Those that spent approvals name in the place of one release (:mod:`attestor.core.approvals`)."""


def encode_bundle(bundle: Bundle) -> bytes:
    """The document; parts may come in any order, and as often as they come."""
    document = _Document(
        version=1,
        release=bundle.release,
        artifact=bundle.artifact,
        policy=write_base64(bundle.policy),
        evidence=write_base64(bundle.evidence),
        envelopes=tuple(map(write_base64, in_order(bundle.envelopes))),
        withdrawals=tuple(map(write_base64, in_order(bundle.withdrawals))),
        signature=write_base64(bundle.signature),
        decision=_written(bundle.decision),
        signed=_written(bundle.signed),
        summary=write_base64(bundle.summary),
        manifests=tuple(map(write_base64, in_order(bundle.manifests))),
    )
    return canonical.encode(document)


def read_bundle(raw: bytes) -> Bundle:
    """Take a bundle apart.

    Raises ``TooLarge`` ``bundle-too-large``; ``Malformed`` ``bundle-form`` for any other form than the one that
    :func:`encode_bundle` writes.
    """
    if len(raw) > MAX_BUNDLE:
        raise TooLarge("bundle-too-large", f"The bundle has {len(raw)} bytes; {MAX_BUNDLE} are the limit.")
    document = canonical.decode(raw, _DECODER, "bundle-form", "bundle")
    canonical.refuse_other_spelling(raw, canonical.encode(document), "bundle-form", "bundle")
    return Bundle(
        release=document.release,
        artifact=document.artifact,
        policy=_bytes_of(document.policy, "policy"),
        evidence=_bytes_of(document.evidence, "evidence"),
        envelopes=_all_of(document.envelopes, "envelopes"),
        withdrawals=_all_of(document.withdrawals, "withdrawals"),
        signature=_bytes_of(document.signature, "signature"),
        decision=_logged_of(document.decision, "decision"),
        signed=_logged_of(document.signed, "signed"),
        summary=_bytes_of(document.summary, "summary"),
        manifests=_all_of(document.manifests, "manifests"),
    )


def bundled_release(release: Release) -> BundledRelease:
    return BundledRelease(kind=release.kind.value, purl=release.purl, file_name=release.file_name)


def in_order(bodies: Iterable[bytes]) -> tuple[bytes, ...]:
    """Each body once, in the order of the SHA-256s."""
    return tuple(body for _, body in sorted({hashlib.sha256(body).digest(): body for body in bodies}.items()))


def _written(logged: LoggedEntry) -> _Logged:
    return _Logged(entry=write_base64(logged.entry), proof=logged.proof.decode("utf-8"))


def _logged_of(logged: _Logged, place: str) -> LoggedEntry:
    return LoggedEntry(_bytes_of(logged.entry, f"{place}.entry"), logged.proof.encode("utf-8"))


def _all_of(texts: tuple[str, ...], place: str) -> tuple[bytes, ...]:
    bodies = tuple(_bytes_of(text, f"{place}[{number}]") for number, text in enumerate(texts))
    if in_order(bodies) != bodies:
        raise Malformed("bundle-form", f"The bundle's {place} do not stand in the order of their SHA-256, each once.")
    return bodies


def _bytes_of(text: str, place: str) -> bytes:
    try:
        return read_base64(text)
    except ValueError:
        raise Malformed("bundle-form", f"The bundle's {place} is not base64 in its one spelling.") from None
