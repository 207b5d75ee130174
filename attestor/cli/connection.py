"""How client verbs reach a service: the same options everywhere."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from attestor.client.calls import AttestorClient

T = TypeVar("T")

ServerOption = Annotated[
    str,
    typer.Option(
        "--server", envvar="ATTESTOR_SERVER", help="The service: https://HOST:PORT, or unix:/PATH.", show_default=False
    ),
]
CaOption = Annotated[
    Path | None, typer.Option("--ca", help="PEM file of the service's CA (default: the system's CAs).")
]
CertOption = Annotated[
    Path | None, typer.Option("--cert", help="PEM file of your client certificate (a unix: socket knows your user).")
]
KeyOption = Annotated[Path | None, typer.Option("--key", help="PEM file of its private key.")]


@dataclass(frozen=True, slots=True)
class Connection:
    """One service, and who we are there."""

    server: str
    ca: Path | None
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def of_requester(cls, server: str, ca: Path | None, certificate: Path | None, key: Path | None) -> "Connection":
        """With a client certificate; on a socket without one. Raises ``Rejected`` ``client-certificate``."""
        from attestor.core.errors import Rejected
        from attestor.core.socketaddress import is_socket

        if is_socket(server) != (certificate is None) or (certificate is None) != (key is None):
            raise Rejected(
                "client-certificate",
                "Give --cert and --key where the service has https, and neither for a unix: socket.",
            )
        return cls(server, ca, certificate, key)

    def run(self, work: "Callable[[AttestorClient], Awaitable[T]]") -> T:
        """Run *work* with a client that is closed afterwards."""
        import asyncio

        from attestor.client.calls import AttestorClient
        from attestor.client.tls import client_tls
        from attestor.core.socketaddress import is_socket

        tls = None
        if not is_socket(self.server):
            tls = client_tls(ca=self.ca, certificate=self.certificate, key=self.key)

        async def connected() -> T:
            async with AttestorClient(self.server, tls=tls) as client:
                return await work(client)

        return asyncio.run(connected())
