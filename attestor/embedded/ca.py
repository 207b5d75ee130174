"""A private certificate authority for mutual TLS, in a folder: ``ca.pem`` and ``ca.key``.

It says who may open a connection at all; who a client is, the policy says by the fingerprint of its key. Keys are EC
P-256, which every TLS 1.3 peer has (RFC 8446 §9.1).
"""

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from attestor.core.errors import Conflict, Missing, Rejected
from attestor.core.tls import fingerprint_of
from attestor.embedded import profile
from attestor.embedded.files import own_folder, write_new

CERTIFICATE, KEY = "ca.pem", "ca.key"
_YEARS: Final = timedelta(days=3653)
# A peer whose clock is a little behind must not see a certificate from the future.
_BACKDATED: Final = timedelta(minutes=5)
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
_PEM_LIMIT: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Issued:
    """A new certificate and its key; ``client_fingerprint`` is what the policy's ``clients`` lists."""

    name: str
    certificate_pem: bytes
    key_pem: bytes = field(repr=False)
    client_fingerprint: str

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write ``NAME.pem`` and ``NAME.key`` (0600) to a folder of ours, both or neither.

        Raises Conflict ``file-exists``: nothing is overwritten.
        """
        return _write_pair(own_folder(folder), self.name, self.certificate_pem, self.key_pem)


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """Made by :meth:`create` or :meth:`load`. ``certificate_pem`` is what each side trusts."""

    certificate_pem: bytes
    _certificate: x509.Certificate = field(repr=False)
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def create(cls, folder: Path, *, name: str, now: datetime) -> "CertificateAuthority":
        """Make an authority for ten years in ``folder``, 0700. Raises Conflict ``file-exists``, Rejected."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject, public = profile.common_name(_checked(name)), key.public_key()
        validity = (now - _BACKDATED, now + _YEARS)
        made = profile.signed(
            subject,
            public,
            profile.authority_extensions(public),
            validity=validity,
            issuer=subject,
            issuer_key=key,
        )
        authority = cls(made.public_bytes(Encoding.PEM), made, key)
        _write_pair(own_folder(folder), Path(CERTIFICATE).stem, authority.certificate_pem, _private_pem(key))
        return authority

    @classmethod
    def load(cls, folder: Path) -> "CertificateAuthority":
        """Read an authority that :meth:`create` made.

        Raises Missing ``ca-missing``; Rejected ``ca-open`` (others may read the key), ``ca-unreadable``.
        """
        pem, key_pem = _read(folder / CERTIFICATE), _read_private(folder / KEY)
        try:
            certificate, key = x509.load_pem_x509_certificate(pem), load_pem_private_key(key_pem, None)
        except (ValueError, TypeError):
            raise Rejected("ca-unreadable", f"{folder} holds no readable {CERTIFICATE} and {KEY}.") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
            raise Rejected("ca-unreadable", f"{folder / KEY} is not the key of {CERTIFICATE}.")
        return cls(pem, certificate, key)

    def issue(  # noqa: PLR0913 - what a certificate says, each by name
        self,
        name: str,
        *,
        server_names: Sequence[str] = (),
        ips: Sequence[profile.Address] = (),
        client: bool,
        valid_days: int,
        now: datetime,
    ) -> Issued:
        """A new key and certificate: of a client, of a server with these names and addresses, or of both.

        ``now`` is aware. Raises Rejected ``certificate-name``, ``certificate-host-name``, ``certificate-without-use``,
        ``certificate-validity`` (it would outlive the authority, or has no day).
        """
        names = profile.san(server_names, ips)
        if not names and not client:
            raise Rejected("certificate-without-use", f"{name}: a certificate is for a client, or lists server names.")
        validity = (now - _BACKDATED, now + timedelta(days=valid_days))
        self._refuse_outliving(valid_days, validity)
        key = ec.generate_private_key(ec.SECP256R1())
        public, issuer = key.public_key(), self._key.public_key()
        made = profile.signed(
            profile.common_name(_checked(name)),
            public,
            profile.end_extensions(public, issuer, names, client=client),
            validity=validity,
            issuer=self._certificate.subject,
            issuer_key=self._key,
        )
        return Issued(name, made.public_bytes(Encoding.PEM), _private_pem(key), fingerprint_of(public))

    def _refuse_outliving(self, valid_days: int, validity: tuple[datetime, datetime]) -> None:
        start, end = self._certificate.not_valid_before_utc, self._certificate.not_valid_after_utc
        if valid_days < 1 or validity[0] + _BACKDATED < start or validity[1] > end:
            raise Rejected(
                "certificate-validity",
                f"{valid_days} days from now do not lie within the authority's own ({start} to {end}).",
            )


def _checked(name: str) -> str:
    if name == Path(CERTIFICATE).stem or not _NAME.fullmatch(name):
        raise Rejected("certificate-name", f"{name!r} is no name: at most 63 of a-z 0-9 . _ -, and not 'ca'.")
    return name


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_pair(folder: Path, stem: str, certificate: bytes, key: bytes) -> tuple[Path, Path]:
    certificate_path, key_path = folder / f"{stem}.pem", folder / f"{stem}.key"
    write_new(key_path, key)
    try:
        write_new(certificate_path, certificate)
    except (Conflict, OSError):
        key_path.unlink()
        raise
    return certificate_path, key_path


def _read_private(path: Path) -> bytes:
    for place, found in ((path, _status(path)), (path.parent, _status(path.parent))):
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077 or found.st_uid != os.geteuid():
            raise Rejected("ca-open", f"{place} has mode {mode:04o} and owner {found.st_uid}: only you may read it.")
    return _read(path)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_PEM_LIMIT)
    except FileNotFoundError:
        raise _missing(path) from None


def _status(path: Path) -> os.stat_result:
    try:
        return path.lstat()
    except FileNotFoundError:
        raise _missing(path) from None


def _missing(path: Path) -> Missing:
    return Missing("ca-missing", f"There is no {path}: make the authority first.")
