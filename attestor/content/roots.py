"""Pull roots: named places from which the signer fetches content by a relative path, never above or beside them."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from attestor.content.beneath import open_beneath
from attestor.content.https import HttpsRoot, fetch
from attestor.content.measure import Opened
from attestor.content.threads import in_thread
from attestor.core.errors import Rejected
from attestor.core.relative import components


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
