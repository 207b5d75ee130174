"""What our certificates say (RFC 5280 §4.2), so that strict checkers accept them: OpenSSL, curl, Python, Go."""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from attestor.core.errors import Rejected

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Extensions: TypeAlias = Iterator[tuple[x509.ExtensionType, bool]]

# RFC 1123 §2.1 host names in lower case; an internationalised one in its xn-- form. No wildcard: it would name hosts
# that nobody listed.
_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_HOST_LENGTH: Final = 253


def common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def san(server_names: Sequence[str], ips: Sequence[Address]) -> list[x509.GeneralName]:
    """The names that a server answers to. Raises Rejected ``certificate-host-name``."""
    for name in server_names:
        if len(name) > _HOST_LENGTH or not _HOST.fullmatch(name) or name.rpartition(".")[2].isdecimal():
            raise Rejected("certificate-host-name", f"{name!r} is no host name: lower case, no wildcard, no address.")
    return [*(x509.DNSName(name) for name in server_names), *(x509.IPAddress(ip) for ip in ips)]


def authority_extensions(key: ec.EllipticCurvePublicKey) -> Extensions:
    """Of a root that issues end certificates only (path length 0)."""
    yield x509.BasicConstraints(ca=True, path_length=0), True
    yield _key_usage(authority=True), True
    yield from _key_identifiers(key, key)


def end_extensions(
    key: ec.EllipticCurvePublicKey, issuer: ec.EllipticCurvePublicKey, names: list[x509.GeneralName], *, client: bool
) -> Extensions:
    """Of a client, of a server (with names), or of both."""
    yield x509.BasicConstraints(ca=False, path_length=None), True
    yield _key_usage(authority=False), True
    server_use = [ExtendedKeyUsageOID.SERVER_AUTH] if names else []
    client_use = [ExtendedKeyUsageOID.CLIENT_AUTH] if client else []
    yield x509.ExtendedKeyUsage(server_use + client_use), False
    if names:
        yield x509.SubjectAlternativeName(names), False
    yield from _key_identifiers(key, issuer)


def signed(  # noqa: PLR0913 - the fields of a certificate
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    extensions: Extensions,
    *,
    validity: tuple[datetime, datetime],
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    """A certificate of version 3; times are cut to the second, as X.509 has them."""
    start, end = (moment.astimezone(UTC).replace(microsecond=0) for moment in validity)
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), start, end)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256())


def _key_identifiers(key: ec.EllipticCurvePublicKey, issuer: ec.EllipticCurvePublicKey) -> Extensions:
    yield x509.SubjectKeyIdentifier.from_public_key(key), False
    yield x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), False


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    """An authority signs certificates and lists of revoked ones; a TLS 1.3 peer signs handshakes."""
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
