"""What people sign to let an exception through, or to take that back, and its one spelling (P7, design §7).

What is signed is the line ``attestor approval v1`` and RFC 8785 JSON. It is bound to the instance, one action, the exact bytes
(or a manifest of them), the rules of the tier as they were, a window of time, and a nonce.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from attestor.core import canonical
from attestor.core.entries import Hex32, Moment, OperatorName, Uuid, moment
from attestor.core.errors import Malformed, TooLarge
from attestor.core.wire import Sha256Hex

NAMESPACE: Final = "approval@attestor"
"""Of SSH signatures (OpenSSH PROTOCOL.sshsig)."""
MAX_MANIFEST: Final = 10_000
"""Pairs of release and digest that one approval may carry."""
MAX_MANIFEST_BYTES: Final = 2 << 20
MAX_DOCUMENT_BYTES: Final = 4096
MAX_SIGNATURE_BYTES: Final = 16384
_APPROVAL: Final = b"attestor approval v1\n"
_REVOCATION: Final = b"attestor approval revocation v1\n"


class _Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    pass


class ApprovalDocument(_Signed, frozen=True, kw_only=True, omit_defaults=True):
    """What one person approves: either one request's release and digest, or all pairs of a manifest."""

    origin: OperatorName
    """The instance; an approval counts nowhere else."""
    action: Literal["release", "downgrade", "re-sign", "dispute", "quota"]
    tier: OperatorName
    rules: Sha256Hex
    """:func:`attestor.core.approvals.rules_digest` of the tier: after a change of its rules nobody has approved anything."""
    reason: Sha256Hex
    """SHA-256 of the reason that the approver gave, in UTF-8."""
    not_before: Moment
    until: Moment
    """The decision's time must lie in this window, its end excluded."""
    nonce: Hex32
    request: Uuid | None = None
    release: Sha256Hex | None = None
    digest: Sha256Hex | None = None
    manifest: Sha256Hex | None = None
    """SHA-256 of the manifest (:func:`encode_manifest`), in the place of request, release and digest."""

    def window(self) -> tuple[datetime, datetime]:
        """Its first moment, and the first after it. Raises ``Malformed`` ``approval-malformed``."""
        try:
            return moment(self.not_before), moment(self.until)
        except ValueError:
            raise Malformed("approval-malformed", "The approval's window has a time that no calendar has.") from None


class RevocationDocument(_Signed, frozen=True, kw_only=True):
    """An approver takes an approval back that is not spent yet."""

    origin: OperatorName
    approval: Sha256Hex
    """SHA-256 of what was signed."""
    nonce: Hex32


class _Manifest(_Signed, frozen=True, kw_only=True):
    releases: Annotated[tuple[tuple[Sha256Hex, Sha256Hex], ...], Meta(min_length=1, max_length=MAX_MANIFEST)]


_DOCUMENTS: Final = msgspec.json.Decoder(ApprovalDocument)
_REVOCATIONS: Final = msgspec.json.Decoder(RevocationDocument)
_MANIFESTS: Final = msgspec.json.Decoder(_Manifest)

Pair = tuple[str, str]
"""Release id and SHA-256 of the bytes, both lower-case hex."""


def encode_approval(document: ApprovalDocument) -> bytes:
    """The bytes to sign."""
    return _APPROVAL + canonical.encode(msgspec.to_builtins(document))


def encode_revocation(document: RevocationDocument) -> bytes:
    """The bytes to sign."""
    return _REVOCATION + canonical.encode(document)


def encode_manifest(pairs: Iterable[Pair]) -> bytes:
    """A manifest of these pairs, each once, in order. Raises ``TooLarge`` ``manifest-too-large``."""
    ordered = tuple(sorted(set(pairs)))
    if len(ordered) > MAX_MANIFEST:
        raise TooLarge("manifest-too-large", f"The manifest has {len(ordered)} pairs; {MAX_MANIFEST} are the limit.")
    return canonical.encode(_Manifest(releases=ordered))


@lru_cache(maxsize=16)
def manifest_digest(raw: bytes) -> str:
    """As an approval names it: a signer asks of the same few again and again."""
    return hashlib.sha256(raw).hexdigest()


def read_approval(signed: bytes) -> ApprovalDocument:
    """Raises ``Malformed`` ``approval-malformed`` for any other form than the one that :func:`encode_approval` writes."""
    read = canonical.decode(_body(signed, _APPROVAL), _DOCUMENTS, "approval-malformed", "approval")
    canonical.refuse_other_spelling(signed, encode_approval(read), "approval-malformed", "approval")
    single = (read.request, read.release, read.digest)
    if (None in single) == (read.manifest is None) or (read.manifest is not None and single != (None, None, None)):
        raise Malformed(
            "approval-malformed", "An approval names a request, release and digest, or a manifest, and not both."
        )
    read.window()
    return read


def read_revocation(signed: bytes) -> RevocationDocument:
    """Raises ``Malformed`` ``approval-malformed``."""
    read = canonical.decode(_body(signed, _REVOCATION), _REVOCATIONS, "approval-malformed", "approval's revocation")
    canonical.refuse_other_spelling(signed, encode_revocation(read), "approval-malformed", "approval's revocation")
    return read


@lru_cache(maxsize=16)
def read_manifest(raw: bytes) -> frozenset[Pair]:
    """Raises ``Malformed`` ``manifest-malformed``, ``TooLarge`` ``manifest-too-large``."""
    if len(raw) > MAX_MANIFEST_BYTES:
        raise TooLarge("manifest-too-large", f"The manifest has {len(raw)} bytes; {MAX_MANIFEST_BYTES} are the limit.")
    read = canonical.decode(raw, _MANIFESTS, "manifest-malformed", "manifest")
    pairs = frozenset(read.releases)
    canonical.refuse_other_spelling(raw, encode_manifest(pairs), "manifest-malformed", "manifest")
    return pairs


def _body(signed: bytes, prefix: bytes) -> bytes:
    if not signed.startswith(prefix):
        raise Malformed(
            "approval-malformed", f"What was signed does not begin with the line {prefix.decode().strip()!r}."
        )
    return signed[len(prefix) :]
