"""Who is at the other end of a connection: an address, past the proxies that a listener names, or a user of this host.

A header is believed from a named proxy alone, and only ``X-Forwarded-For``, which every proxy writes; ``Forwarded``
(RFC 7239) is read from nobody, because one of two headers that may differ would be the client's own.
"""

import asyncio
import pwd
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from aiohttp import web

from attestor.core.errors import Malformed
from attestor.core.policy import UNIX

FORWARDED: Final = "X-Forwarded-For"
_CREDENTIALS: Final = "3i"
"""struct ucred of unix(7): process, user, group."""
_OVERFLOW_UID: Final = 65534
"""Whom the kernel shows for a user of another namespace: it says nothing about who that is (user_namespaces(7))."""

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a request comes from; on a Unix socket ``address`` is ``unix``, and ``user`` is there where it was asked for."""

    address: str
    uid: int | None = None
    user: str | None = None

    @property
    def counted(self) -> str:
        """As whom it is counted."""
        return self.address if self.uid is None else f"{UNIX}:{self.uid}"


class Peers:
    """What one listener believes of its peers; *proxies* are those whose header counts."""

    def __init__(self, *, local: bool, proxies: Sequence[Network]) -> None:
        self._local = local
        self._proxies = proxies

    async def of(self, request: web.BaseRequest, *, named: bool) -> Peer:
        """The peer; *named* asks for the user's name too.

        Raises ``Malformed`` ``forwarded-malformed`` when a proxy that is named says something unreadable.
        """
        transport = request.transport
        if self._local:
            return await _user(transport, named=named)
        known = transport.get_extra_info("peername") if transport else None
        if not isinstance(known, tuple):
            return Peer("")
        if not self._proxies:
            return Peer(str(known[0]).removeprefix("::ffff:"))
        return Peer(str(self._origin(_plain(str(known[0])), request.headers.getall(FORWARDED, []))))

    def _origin(self, peer: Address, said: Sequence[str]) -> Address:
        """The right-most address that no named proxy has: what stands left of it, anybody may have written."""
        chain = [part.strip() for line in said for part in line.split(",")]
        while chain and any(peer in network for network in self._proxies):
            try:
                peer = _plain(chain.pop())
            except ValueError:
                raise Malformed(
                    "forwarded-malformed",
                    f"The proxy's {FORWARDED} holds something that is no address; see its configuration.",
                ) from None
        return peer


def _plain(text: str) -> Address:
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


async def _user(transport: asyncio.Transport | None, *, named: bool) -> Peer:
    """Who connected, as the kernel noted it then; nothing that the peer sends can change it (unix(7), SO_PEERCRED)."""
    connected = transport.get_extra_info("socket") if transport else None
    if connected is None:
        return Peer(UNIX)
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(_CREDENTIALS))
    _, uid, _ = struct.unpack(_CREDENTIALS, raw)
    # A directory service may take its time to answer.
    return Peer(UNIX, uid, await asyncio.to_thread(_name, uid) if named else None)


def _name(uid: int) -> str | None:
    if uid == _OVERFLOW_UID:
        return None
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
