"""The SDK over a connection that proves who the device is before a passphrase is sent.

The SDK 3.0.0 trusts certifi's web authorities by default, follows redirects, retries, reads without limit and waits for
ever. So its connection pool is replaced: an SDK in which the pool cannot be found is refused, not used without.
"""

import io
import logging
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from socket import SO_KEEPALIVE, SOL_SOCKET
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import nethsm
import urllib3
from urllib3.connection import HTTPConnection
from urllib3.util import create_urllib3_context

from attestor.core.errors import AttestorError, Rejected
from attestor.hsm.errors import translate
from attestor.hsm.keys import Login

MAX_ANSWER: Final = 1 << 20
"""Bytes of one answer: a list of 1024 keys has 150 KiB."""

_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PIECE: Final = 1 << 16

# It logs each answer's body at DEBUG: signatures that nobody may read yet.
logging.getLogger("nethsm.client.rest").setLevel(logging.INFO)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """One NetHSM and how it proves itself: by its certificate's fingerprint, an authority's file, or both.

    :raises Rejected: no https URL of a host, no such fingerprint, or neither proof.
    """

    url: str
    """``https://HOST`` or ``https://HOST:PORT``."""
    fingerprint: str | None = None
    """SHA-256 of the whole certificate, 64 lower-case hex digits."""
    ca_certs: Path | None = None
    connect_seconds: float = 5
    answer_seconds: float = 10
    """How long one answer may take, to its last byte."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme != "https" or self.url.rstrip("/") != f"https://{parts.netloc}" or "@" in parts.netloc:
            raise Rejected("hsm-url", "A NetHSM's URL is https://HOST or https://HOST:PORT and nothing more.")
        if self.fingerprint is not None and not _FINGERPRINT.fullmatch(self.fingerprint):
            raise Rejected(
                "hsm-fingerprint", "A NetHSM's fingerprint is the certificate's SHA-256: 64 lower-case hex digits."
            )
        if self.fingerprint is None and self.ca_certs is None:
            raise Rejected("hsm-fingerprint", f"{self.url} needs the fingerprint of its certificate, or ca_certs.")

    @property
    def host(self) -> str:
        """Host and port, as the SDK wants them."""
        return urlsplit(self.url).netloc


class Connection:
    """Calls of the SDK to one node, over one pool that all users share. For any thread."""

    def __init__(self, settings: NodeSettings, *, connections: int = 1) -> None:
        """Opens nothing yet; ``connections`` are kept open between calls."""
        self.settings = settings
        self._pool = _Pool(settings, connections)

    def call(self, login: Login | None, work: Callable[[nethsm.NetHSM], T]) -> T:
        """``work`` with the SDK, logged in (or not); blocks. Raises only errors of :mod:`attestor.core.errors`."""
        asked = f"NetHSM {self.settings.host}, {login.user if login else 'nobody'}"
        try:
            return work(self._sdk(login))
        except Exception as error:  # noqa: BLE001 - whatever the SDK raises may carry a passphrase, so nothing gets past
            failure: AttestorError = translate(error, asked)
        # Outside of the clause, so that the SDK's exception does not hang on ours.
        failure.__cause__ = failure.__context__ = None
        raise failure

    def close(self) -> None:
        """Close idle connections."""
        self._pool.clear()

    def _sdk(self, login: Login | None) -> nethsm.NetHSM:
        auth = nethsm.Authentication(login.user, login.passphrase.reveal()) if login else None
        sdk = nethsm.NetHSM(self.settings.host, auth)
        if not isinstance(getattr(sdk.client.rest_client, "pool_manager", None), urllib3.PoolManager):
            raise Rejected(
                "hsm-sdk", "This nethsm SDK has no urllib3 pool to assert the fingerprint in: use version 3.0.0."
            )
        sdk.client.rest_client.pool_manager = self._pool  # type: ignore[assignment]  # the SDK does not declare it
        return sdk


class _Pool(urllib3.PoolManager):
    """To one origin only, proven, without redirects and retries, each answer limited in size and time."""

    def __init__(self, settings: NodeSettings, connections: int) -> None:
        super().__init__(
            num_pools=1,
            maxsize=connections,
            retries=False,
            socket_options=[*HTTPConnection.default_socket_options, (SOL_SOCKET, SO_KEEPALIVE, 1)],
            **_proof(settings),
        )
        self._origin = f"https://{settings.host}/"
        self._settings = settings

    def urlopen(  # type: ignore[override]  # the base returns its own base class
        self,
        method: str,
        url: str,
        redirect: bool = True,  # noqa: ARG002, FBT001, FBT002 - the base's signature; a redirect is never followed
        **request: Any,
    ) -> urllib3.HTTPResponse:
        """One request and its whole answer."""
        if not url.startswith(self._origin):
            raise Rejected("hsm-sdk", "The nethsm SDK asked for a URL outside of its device.")
        ends = time.monotonic() + self._settings.answer_seconds
        request["timeout"] = urllib3.Timeout(connect=self._settings.connect_seconds, read=self._settings.answer_seconds)
        request.update(preload_content=False, retries=False)
        response = super().urlopen(method, url, redirect=False, **request)
        try:
            body = _read(response, ends)
        except BaseException:
            response.close()
            raise
        response.release_conn()
        return urllib3.HTTPResponse(
            io.BytesIO(body), response.headers, response.status, reason=response.reason, decode_content=False
        )


def _proof(settings: NodeSettings) -> dict[str, Any]:
    if settings.fingerprint is None:
        return {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": str(settings.ca_certs)}
    if settings.ca_certs is not None:
        return {
            "cert_reqs": ssl.CERT_REQUIRED,
            "ca_certs": str(settings.ca_certs),
            "assert_fingerprint": settings.fingerprint,
        }
    # A device's certificate is self-signed: the fingerprint of the whole of it is the proof, asserted before any request.
    # A context of our own, because urllib3's loads the system's authorities for each connection, to ask none of them.
    context = create_urllib3_context(cert_reqs=ssl.CERT_NONE)
    return {"cert_reqs": ssl.CERT_NONE, "assert_fingerprint": settings.fingerprint, "ssl_context": context}


def _read(response: urllib3.BaseHTTPResponse, ends: float) -> bytes:
    body = bytearray()
    while piece := response.read1(_PIECE, decode_content=False):  # read() waits for the whole of a piece
        body += piece
        if len(body) > MAX_ANSWER:
            raise urllib3.exceptions.ProtocolError("the answer is too long")
        if time.monotonic() > ends:
            raise urllib3.exceptions.ProtocolError("the answer takes too long")
    return bytes(body)
