"""Pull roots: named places from which the signer fetches content by a relative path, never above or beside them."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from attestor.content.beneath import open_beneath
from attestor.content.https import HttpsRoot, fetch
from attestor.content.measure import Opened
from attestor.content.threads import in_thread
from attestor.core.errors import Rejected

_MAX_PATH: Final = 4096
_MAX_COMPONENT: Final = 255
_MAX_DEPTH: Final = 32


@dataclass(frozen=True, slots=True)
class DirectoryRoot:
    """A folder of this host. Its own path may lead through links, as its administrator set them; nothing below may."""

    path: Path


class PullRoots:
    """The roots of a deployment by name; ``scratch`` is a private folder for what comes by HTTPS."""

    def __init__(self, roots: Mapping[str, DirectoryRoot | HttpsRoot], *, scratch: Path, max_bytes: int) -> None:
        self._roots = dict(roots)
        self._scratch = scratch
        self._max_bytes = max_bytes

    @asynccontextmanager
    async def open(self, root: str, relative: str) -> AsyncIterator[Opened]:
        """Open one content for reading, for as long as the context lasts.

        Raises ``Missing`` (``content-missing``: the caller may wait for it), ``Rejected`` (``content-outside-root``,
        ``content-not-a-file``, ``content-root-unknown``), ``TooLarge``, ``Unavailable`` (``content-unavailable``).
        """
        place = self._roots.get(root)
        if place is None:
            raise Rejected(
                "content-root-unknown", f"There is no pull root {root[:64]!r}; the deployment file names them."
            )
        parts = components(relative)
        held: list[int] = []
        try:
            if isinstance(place, DirectoryRoot):
                folder = place.path
                await in_thread(lambda _stop: held.append(open_beneath(folder, parts)))
            else:
                await fetch(place, parts, scratch=self._scratch, max_bytes=self._max_bytes, held=held)
            yield Opened(held[0], self._max_bytes)
        finally:
            for fd in held:
                os.close(fd)


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
