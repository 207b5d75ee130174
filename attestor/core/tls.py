"""Who a TLS client is: the SHA-256 of its public key (policy ``[requesters.X].clients``), and nothing else.

Names in a certificate, its serial number, its validity and its issuer identify nobody here: a renewed certificate for
the same key is the same client, and a name with a NUL in it is only a name.
"""

import hashlib
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestor.core.errors import Malformed

MAX_CERTIFICATE_BYTES: Final = 64 << 10


def load_client_fingerprint(der: bytes) -> str:
    """The lower-case hex SHA-256 of the DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) of a certificate in DER.

    The key is decoded and encoded anew, so each key has one fingerprint. Proves nothing about the certificate: whoever
    calls has it from a handshake that verified it. Raises Malformed ``client-certificate-unreadable``.
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise _unreadable(f"it is longer than {MAX_CERTIFICATE_BYTES} bytes")
    try:
        return fingerprint_of(x509.load_der_x509_certificate(der).public_key())
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise _unreadable(str(error)) from None


def fingerprint_of(key: CertificatePublicKeyTypes) -> str:
    """The fingerprint of a public key, as :func:`load_client_fingerprint` gives it."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _unreadable(why: str) -> Malformed:
    return Malformed("client-certificate-unreadable", f"The client's certificate cannot be read: {why}.")
