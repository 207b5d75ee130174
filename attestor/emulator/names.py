"""Identifiers of keys, users, namespaces and tags (schemas ``ID``, ``UserID``, ``Passphrase`` of the OpenAPI description)."""

import re
import secrets
from typing import NamedTuple

from attestor.emulator.errors import StatusError

_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}\Z")
ROOT = ""
"""The namespace of users and keys that have none."""


class Name(NamedTuple):
    """A user as the device knows one: ``namespace~user``, or ``user`` in the root namespace."""

    namespace: str
    user: str

    def __str__(self) -> str:
        return f"{self.namespace}~{self.user}" if self.namespace else self.user


def identifier(text: str) -> str:
    """The text if it is a valid ID, else 400."""
    if not _ID.match(text):
        raise StatusError(
            400, "ID must have 1 to 128 characters out of a-z A-Z 0-9 _ . - and begin with a letter or digit."
        )
    return text


def user_name(text: str) -> Name:
    """``namespace~user`` or ``user``, else 400."""
    if len(text) > 128:
        raise StatusError(400, "User ID cannot be longer than 128 characters.")
    namespace, tilde, user = text.rpartition("~")
    if tilde:
        identifier(namespace)
    return Name(namespace, identifier(user))


def fresh_identifier() -> str:
    """An ID for a key or user whose creator named none: twenty hex digits, as the device makes them."""
    return secrets.token_hex(10)


def passphrase(text: str, field: str) -> str:
    """The text if it is long enough to be a passphrase, else 400."""
    if not 10 <= len(text) <= 200:
        raise StatusError(400, f"passphrase {field} is not >= 10 and <= 200 characters")
    return text
