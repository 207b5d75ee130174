"""The address of a socket of this host, ``unix:/PATH``, as listeners and clients write it."""

from typing import Final

from attestor.core.errors import Rejected

_PREFIX: Final = "unix:"
_MAX_BYTES: Final = 107
"""sun_path of unix(7), less the NUL."""


def is_socket(address: str) -> bool:
    """Whether the address means a socket; its path may still be none."""
    return address.startswith(_PREFIX)


def socket_path(address: str) -> str:
    """The path of a socket's address. Raises ``Rejected`` ``socket-path``."""
    path = address.removeprefix(_PREFIX)
    odd = not path.isprintable() or path.endswith("/") or ".." in path.split("/")
    if not path.startswith("/") or odd or len(path.encode()) > _MAX_BYTES:
        raise Rejected(
            "socket-path", f"{address!r} is no {_PREFIX}/PATH: absolute, without '..', of {_MAX_BYTES} bytes at most."
        )
    return path
