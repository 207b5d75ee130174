"""The bytes of an artifact as the signer sees them (port ``ArtifactBytes``): spool, pull roots, hash states."""

import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from attestor.content.inspect import inspect as look_into
from attestor.content.measure import Measured, Opened, measure, snapshot
from attestor.content.roots import PullRoots
from attestor.core.contents import check_contents, packages_of
from attestor.core.hashstate import parse_state
from attestor.core.naming import Kind, Release
from attestor.core.predecessor import Packages
from attestor.core.requests import Content
from attestor.core.strictjson import decode_base64
from attestor.core.wire import HashState, Pull, Upload
from attestor.service.signports import Measure

SPOOL: Final = ".spool"
"""The upload spool as one more root; no configured root can have this name."""
_INSPECTION_SECONDS: Final = 300.0


class Artifacts:
    """See the port for its promises."""

    def __init__(self, roots: PullRoots, scratch: Path) -> None:
        self._roots = roots
        self._scratch = scratch

    async def measure(self, release: Release, content: Content, sha256: bytes, *, inspect: bool) -> Measure:
        match content:
            case HashState(state=stated):
                state = parse_state(decode_base64(stated))
                return Measure(state.length, None, state.digest(), state)
            case Upload():
                root, path = SPOOL, sha256.hex()
            case Pull(root=root, path=path):
                pass
        async with self._roots.open(root, path) as opened:
            if inspect:
                return await self._inspected(release, opened)
            return _measure(await measure(opened))

    async def _inspected(self, release: Release, opened: Opened) -> Measure:
        """Look into a private copy, so that the bytes that were hashed are the bytes that were looked into."""
        copy = self._scratch / secrets.token_hex(16)
        try:
            seen = await snapshot(opened, copy)
            facts = await look_into(copy, deadline_seconds=_INSPECTION_SECONDS)
            check_contents(release, facts)
        finally:
            with suppress(FileNotFoundError):
                copy.unlink()
        return _measure(seen, packages_of(facts) if release.kind is Kind.DATABASE else None)


def _measure(seen: Measured, packages: Packages | None = None) -> Measure:
    return Measure(seen.size, seen.sha256, seen.sha512, seen.hasher, packages)
