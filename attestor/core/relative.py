"""Relative paths below a pull root: plain names only, refused when asked and again when opened."""

from typing import Final

from attestor.core.errors import Rejected

_MAX_PATH: Final = 4096
_MAX_COMPONENT: Final = 255
_MAX_DEPTH: Final = 32


def components(relative: str) -> list[str]:
    """Split a relative path into plain names, or refuse it with ``content-outside-root``."""
    parts = relative.split("/")
    too_long = len(relative) > _MAX_PATH or len(parts) > _MAX_DEPTH
    if too_long or not all(_is_plain(part) for part in parts):
        raise Rejected(
            "content-outside-root",
            f"The path {relative[:128]!r} is not plain names below its root: no leading, doubled or final slash, "
            "no dot components, no control characters.",
        )
    return parts


def _is_plain(part: str) -> bool:
    if part in {"", ".", ".."} or not part.isprintable():
        return False
    return len(part.encode()) <= _MAX_COMPONENT
