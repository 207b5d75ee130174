"""The TLS certificate: EC P-256, self-signed, made on the first start and kept beside the state."""

import hashlib
import ipaddress
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from attestor.emulator.folder import write_whole

CERTIFICATE, PRIVATE_KEY = "certificate.pem", "certificate.key"
# It is trusted by its fingerprint or as its own CA, never for its age: fixed dates keep a wrong clock out of the game.
_FIRST_DAY, _LAST_DAY = datetime(2025, 1, 1, tzinfo=UTC), datetime(2099, 12, 31, tzinfo=UTC)


def server_context(folder: Path, host: str) -> ssl.SSLContext:
    """TLS 1.2 or newer with the folder's certificate; made now if there is none, for ``host`` and the local names."""
    if not (folder / CERTIFICATE).exists():
        _make(folder, host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(folder / CERTIFICATE, folder / PRIVATE_KEY)
    return context


def fingerprint(folder: Path) -> str:
    """Hex SHA-256 of the certificate in DER, as clients pin it."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert((folder / CERTIFICATE).read_text())).hexdigest()


def _make(folder: Path, host: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_whole(folder / PRIVATE_KEY, private)
    # The certificate last: where it is, the key is.
    write_whole(folder / CERTIFICATE, _certificate(key, host).public_bytes(encoding))


def _certificate(key: ec.EllipticCurvePrivateKey, host: str) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "attestor NetHSM emulator")])
    subject_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), _FIRST_DAY, _LAST_DAY)
    for extension, critical in (
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_key_usage(), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectAlternativeName(_names(host)), False),
        (subject_key, False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key), False),
    ):
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256())


def _key_usage() -> x509.KeyUsage:
    """It signs handshakes, and (as its own CA) itself: Python 3.13 refuses a CA that may not sign certificates."""
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _names(host: str) -> list[x509.GeneralName]:
    names = dict.fromkeys(["localhost", "127.0.0.1", "::1", host])
    return [_general_name(name) for name in names]


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
