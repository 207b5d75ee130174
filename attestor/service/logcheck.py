"""Recompute a whole log from its entries, and hold against that all that it serves: nothing it says of itself is believed."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from attestor.core.errors import Halted, Malformed, Missing, Rejected, Unavailable
from attestor.core.logrules import Finding, Findings, LogRules
from attestor.core.seal import SealRing
from attestor.core.tlog.checkpoint import Checkpoint, open_checkpoint
from attestor.core.tlog.grammar import HASH_BYTES
from attestor.core.tlog.merkle import EMPTY, completed_nodes, leaf_hash
from attestor.core.tlog.note import VerifierKey
from attestor.core.tlog.tiles import BUNDLE, TILE, Tile, decode_bundle
from attestor.service.export import AT_ONCE, Progress, new_tiles
from attestor.service.logports import LogSource


@dataclass(frozen=True, slots=True)
class Report:
    """What a check came to; all is well when there are no findings."""

    origin: str
    size: int
    root: str
    """Lower-case hex, as the checkpoint says it."""
    kinds: dict[str, int]
    """How many entries of each kind were read."""
    findings: tuple[Finding, ...]
    more: int
    """How many further findings there were."""


async def check_log(
    source: LogSource, key: VerifierKey, progress: Progress, *, seals: SealRing | None = None
) -> Report:
    """Check the published tree: signature, every leaf hash, every tile of every level, the root, and every entry's form,
    key and place after those that it rests on; with *seals*, of the policy, also what only a signer may say.

    Raises ``Unavailable`` where the log does not answer, so that nothing is known.
    """
    note = await source.checkpoint()
    if note is None:
        raise Unavailable("log-empty", "The log has published no checkpoint yet; try again later.")
    try:
        checkpoint = open_checkpoint(note, key)
    except Rejected as error:
        return Report(key.name, 0, "", {}, (Finding(error.code, error.sentence),), 0)
    findings = Findings()
    rules = LogRules(findings, seals)
    await _Checking(source, checkpoint, findings, rules).all(progress)
    return Report(
        checkpoint.origin,
        checkpoint.size,
        checkpoint.root.hex(),
        dict(rules.kinds),
        tuple(findings.first),
        findings.more,
    )


class _Checking:
    def __init__(self, source: LogSource, checkpoint: Checkpoint, findings: Findings, rules: LogRules) -> None:
        self._source: Final = source
        self._checkpoint: Final = checkpoint
        self._findings: Final = findings
        self._rules: Final = rules
        self._frontier = EMPTY
        self._upper: defaultdict[int, list[bytes]] = defaultdict(list)
        """By level, the hashes of the tile that is not complete yet."""

    async def all(self, progress: Progress) -> None:
        size = self._checkpoint.size
        tiles = list(new_tiles(0, 0, size))
        for start in range(0, len(tiles), AT_ONCE):
            for tile, bundle, served in await asyncio.gather(*map(self._pair, tiles[start : start + AT_ONCE])):
                await self._next(tile, bundle, served)
            progress(self._frontier.size, size)
        for level, hashes in self._upper.items():
            await self._compare(level, self._frontier.size // TILE**level - len(hashes), hashes)
        if self._frontier.root != self._checkpoint.root:
            self._findings.found(
                "root-differs",
                f"The {size} entries do not come to the root hash of the checkpoint, which the log has signed.",
            )

    async def _pair(self, tile: Tile) -> tuple[Tile, bytes | None, bytes | None]:
        bundle = Tile(BUNDLE, tile.index, tile.width)
        return tile, await self._served(bundle), await self._served(tile)

    async def _served(self, tile: Tile) -> bytes | None:
        try:
            return await self._source.tile(tile)
        except (Missing, Halted) as error:
            self._findings.found(
                "tile-missing", f"{tile.path}, which the checkpoint promises, is not served: {error.sentence}"
            )
            return None

    async def _next(self, tile: Tile, bundle: bytes | None, served: bytes | None) -> None:
        leaves = self._leaves(tile, bundle)
        if leaves is None:
            # What cannot be read is already a finding; what comes after it is still looked at.
            raw = (served or b"").ljust(tile.width * HASH_BYTES, b"\0")[: tile.width * HASH_BYTES]
            leaves = [raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)]
        elif served is not None:
            self._hold(tile, leaves, served)
        nodes = completed_nodes(self._frontier, leaves)
        self._frontier = self._frontier.extended(leaves)
        for node in nodes:
            hashes = self._upper[node.level]
            hashes.append(node.hash)
            if len(hashes) == TILE:
                await self._compare(node.level, node.index + 1 - TILE, hashes)
                hashes.clear()

    def _leaves(self, tile: Tile, bundle: bytes | None) -> list[bytes] | None:
        if bundle is None:
            return None
        try:
            entries = decode_bundle(bundle, tile.width)
        except Malformed as error:
            self._findings.found(error.code, f"{Tile(BUNDLE, tile.index, tile.width).path}: {error.sentence}")
            return None
        for index, entry in enumerate(entries, tile.index * TILE):
            self._rules.read(index, entry)
        return [leaf_hash(entry) for entry in entries]

    async def _compare(self, level: int, first: int, hashes: list[bytes]) -> None:
        if hashes:
            tile = Tile(level, first // TILE, len(hashes))
            served = await self._served(tile)
            if served is not None:
                self._hold(tile, hashes, served)

    def _hold(self, tile: Tile, hashes: list[bytes], served: bytes) -> None:
        if b"".join(hashes) != served:
            place = next(_differences(hashes, served), len(hashes))
            self._findings.found(
                "tile-differs",
                f"{tile.path} is not what its entries come to, from hash {place} of it on (entry {_first_entry(tile, place)}).",
            )


def _differences(hashes: list[bytes], served: bytes) -> Iterator[int]:
    return (place for place, one in enumerate(hashes) if served[place * HASH_BYTES :][:HASH_BYTES] != one)


def _first_entry(tile: Tile, place: int) -> int:
    return int((tile.index * TILE + place) * TILE**tile.level)
