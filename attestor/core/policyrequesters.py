"""The policy file's requesters: which clients and which users of the host they are, and from where each tier is asked (design §7)."""

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from attestor.core.policy import UNIX
from attestor.core.policytables import PolicyTable, RequesterTable, refusal

_CLIENT: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_USER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", re.ASCII)


def requester_of_user(table: PolicyTable) -> dict[str, str]:
    """Which requester each system user is."""
    return {user: name for name, requester in table.requesters.items() for user in requester.users}


def networks(stated: tuple[str, ...], place: str, source: str) -> Iterator[IPv4Network | IPv6Network]:
    """The networks among the places from which a tier is asked; the word ``unix`` is a place and no network."""
    if not stated:
        raise refusal(source, place, "must not be empty: an empty list allows nobody")
    for text in stated:
        if text == UNIX:
            continue
        try:
            yield ip_network(text)
        except ValueError as error:
            raise refusal(
                source,
                place,
                f"{error}; write an address or network such as 192.0.2.0/24 or 2001:db8::/32, or {UNIX!r} for a socket of this host",
            ) from error


def refuse_unfit_requesters(table: PolicyTable, source: str) -> None:
    """Each requester is somebody, and nobody is two."""
    for name, requester in table.requesters.items():
        _refuse_nobody(name, requester, source)
    clients = ((name, requester.clients) for name, requester in table.requesters.items())
    _refuse_shared(clients, "clients", "client", source)
    users = ((name, requester.users) for name, requester in table.requesters.items())
    _refuse_shared(users, "users", "user", source)


def _refuse_nobody(name: str, requester: RequesterTable, source: str) -> None:
    place = f"requesters.{name}.clients"
    if not requester.clients and not requester.users:
        raise refusal(source, place, "must not be empty where no users are listed: an empty list allows nobody")
    if not all(map(_CLIENT.fullmatch, requester.clients)):
        raise refusal(
            source,
            place,
            "each client is the lower-case hex SHA-256 of its public key (attestor ca issue prints it)",
        )
    if not all(map(_USER.fullmatch, requester.users)):
        raise refusal(
            source, f"requesters.{name}.users", "each user is the name of a system user, such as signstar-relay"
        )


def _refuse_shared(listed: Iterable[tuple[str, tuple[str, ...]]], member: str, what: str, source: str) -> None:
    owners: dict[str, str] = {}
    for name, items in listed:
        for item in items:
            if item in owners:
                raise refusal(
                    source,
                    f"requesters.{name}.{member}",
                    f"this {what} already stands under requester {owners[item]}",
                )
            owners[item] = name
