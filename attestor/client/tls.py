"""How the client trusts a server and shows who it is: TLS 1.3, a private authority, a certificate."""

import ssl
from pathlib import Path

from attestor.core.errors import Rejected


def client_tls(*, ca: Path | None, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """A context that trusts *ca* alone (the system's authorities without one), with a client certificate if given.

    Raises ``Rejected`` ``client-tls`` naming the file that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        if ca is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ssl.SSLError) as error:
        named = ", ".join(str(path) for path in (ca, certificate, key) if path)
        raise Rejected("client-tls", f"The TLS files ({named}) cannot be used: {error}.") from None
    return context


def _no_password() -> str:
    """Without this OpenSSL asks at the terminal."""
    return ""
