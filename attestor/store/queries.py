"""Reads the named queries of a ``*.sql`` file beside this module."""

import re
from importlib.resources import files

_NAMED = re.compile(r"^-- (?P<name>[a-z_]+): .+\n(?P<text>(?:(?!^-- ).*\n)+)", re.MULTILINE)


def queries(file_name: str) -> dict[str, str]:
    """Query text by name; each is introduced by ``-- name: purpose``."""
    text = (files("attestor.store") / file_name).read_text("utf-8")
    return {found["name"]: found["text"].strip().rstrip(";") for found in _NAMED.finditer(text)}
