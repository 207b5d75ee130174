"""The TLS of a listener: version 1.3 alone, and clients of one authority."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from attestor.core.errors import Rejected


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the server's certificate chain and key, and the authority that client certificates must come from."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


def server_tls(files: TlsFiles, address: str) -> ssl.SSLContext:
    """With a client authority, a certificate that it signed, by the strict rules of RFC 5280.

    Raises ``Rejected`` ``listener-tls`` with the listener's address.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
        if files.client_ca is not None:
            context.load_verify_locations(cafile=files.client_ca)
    except (OSError, ssl.SSLError) as error:
        raise Rejected("listener-tls", f"The TLS files of {address} cannot be used: {error}.") from None
    if files.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.num_tickets = 0  # a resumed session would not look at the certificate's validity again
    return context


def _no_password() -> str:
    """Without this OpenSSL asks at the terminal, and the service hangs at start."""
    return ""
