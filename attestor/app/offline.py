"""The offline check, put together: core's rules and OpenPGP's room over files, with no configuration and no network."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from attestor.core.bundle import MAX_BUNDLE, BundledRelease, read_bundle
from attestor.core.bundlecheck import Check, MeasuredFile, OpenPgpFacts, check_bundle
from attestor.core.errors import AttestorError, Missing, Rejected
from attestor.core.hashstate import Hasher
from attestor.core.policyfile import parse_policy
from attestor.core.policytables import MAX_POLICY_BYTES
from attestor.core.tlog.note import parse_vkey
from attestor.openpgp.approvers import Approvers
from attestor.openpgp.certificate import MAX_CERTIFICATE, Certificate, parse_certificate
from attestor.openpgp.signature import verify_signature

MAX_VKEY: Final = 4096
_PIECE: Final = 1 << 20
Progress = Callable[[int], None]
"""Told how many more bytes were read."""


@dataclass(frozen=True, slots=True)
class Given:
    """The files that are believed, and the two that are not."""

    bundle: Path
    file: Path
    policy: Path
    log_key: Path
    certificate: Path


@dataclass(frozen=True, slots=True)
class Holds:
    """Everything holds: what the file is, and what was checked."""

    release: BundledRelease
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Fails:
    """What is wrong, and where: ``code`` is ``bundle-PLACE``."""

    code: str
    sentence: str


def verify_files(given: Given, progress: Progress) -> Holds | Fails:
    """Check a bundle and its file against the files that are believed.

    Raises ``AttestorError`` for what says nothing about the bundle: a file that cannot be read (``Missing``
    ``file-unreadable``), and a policy, log key or certificate that is none.
    """
    raw = _read(given.bundle, MAX_BUNDLE)
    policy = parse_policy(_read(given.policy, MAX_POLICY_BYTES), str(given.policy))
    log_key = parse_vkey(_read(given.log_key, MAX_VKEY).decode("utf-8", "replace").strip())
    certificate = parse_certificate(_read(given.certificate, MAX_CERTIFICATE))
    file, hasher = _measured(given.file, progress)
    try:
        bundle = read_bundle(raw)
        checks = check_bundle(
            bundle,
            file=file,
            policy=policy,
            log_key=log_key,
            openpgp=lambda raw: _facts(certificate, raw, hasher),
            approvals=Approvers().verify,
        )
    except Rejected as error:
        return Fails(error.code, error.sentence)
    return Holds(bundle.release, checks)


def _facts(certificate: Certificate, signature: bytes, hasher: Hasher) -> OpenPgpFacts:
    said = verify_signature(certificate, signature, hasher)
    return OpenPgpFacts(said.created, said.issuer, tuple((each.name, each.value) for each in said.notations))


def _measured(path: Path, progress: Progress) -> tuple[MeasuredFile, Hasher]:
    sha256, sha512, size = hashlib.sha256(), hashlib.sha512(), 0
    try:
        with path.open("rb") as opened:
            while piece := opened.read(_PIECE):
                sha256.update(piece)
                sha512.update(piece)
                size += len(piece)
                progress(len(piece))
    except OSError as error:
        raise _unreadable(path, error) from None
    return MeasuredFile(size, sha256.digest(), sha512.digest()), sha512


def _read(path: Path, limit: int) -> bytes:
    """At most one byte more than the limit, so that whoever decodes it can say that it is too large."""
    try:
        with path.open("rb") as opened:
            return opened.read(limit + 1)
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> AttestorError:
    return Missing("file-unreadable", f"{path} cannot be read: {error.strerror}.")
